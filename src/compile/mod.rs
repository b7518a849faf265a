//! compile
pub mod report;
