//! A small Kafka client for our own commands and tests.
//!
//! It does what they need and no more: one connection, requests in the newest version both sides know, and
//! pipelining for those who want it. Applications use one of Kafka's clients.

mod connection;
mod metadata;

pub use connection::{ClientError, Connection};
pub use metadata::{EARLIEST, LATEST, check};
