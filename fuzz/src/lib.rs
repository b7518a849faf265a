//! What is fuzzed, built without the rest of the program: that takes two minutes instead of ten.

#[path = "../../src/model/mod.rs"]
pub mod model;
#[path = "../../src/trust/mod.rs"]
pub mod trust;
