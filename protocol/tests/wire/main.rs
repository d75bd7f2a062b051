//! The generated messages against other descriptions of the same bytes.
//!
//! [`schema_bytes`] makes valid messages by walking Kafka's schemas, without the generated code; `round_trip`
//! and `garbage` are properties over them, `kafka_protocol` and `golden` compare with other implementations.

#![allow(
    clippy::unwrap_used,
    reason = "a failed helper of a test is a failed test"
)]

mod codec;
mod garbage;
mod golden;
mod kafka_protocol;
mod round_trip;
mod schema_bytes;
mod tables;
