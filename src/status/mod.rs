//! What we owe the people who wrote the objects: conditions and events. Every replica compiles; the one that holds the
//! lease writes.

mod conditions;
mod events;
pub mod lease;
pub mod writer;

/// Names us as the owner of what is written, and in events.
const MANAGER: &str = "portcullis";
