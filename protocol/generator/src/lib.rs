//! Generates `protocol/src/messages` from Kafka's message schemas.
//!
//! [`schema`] reads the JSON, `model` decides what each field is in Rust and on the wire, `emit` writes the
//! code, `output` joins everything into files and formats them.

mod api_keys;
mod emit;
mod model;
mod names;
mod output;
pub mod schema;
pub mod versions;

pub use output::{format_all, generate};
