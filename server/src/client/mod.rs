//! A small Kafka client for our own commands and tests.
//!
//! It does what they need and no more: requests in the newest version both sides know, to the brokers that they concern,
//! after leaders and coordinators that move. Applications use one of Kafka's clients.

mod bootstrap;
mod cluster;
mod connection;
mod leaders;
mod retries;
#[cfg(test)]
mod tests;
mod tiers;

use alluvium_protocol::ErrorCode;

pub use bootstrap::Bootstrap;
pub use cluster::{Call, Cluster};
pub use connection::{ClientError, Connection};
pub use leaders::{EARLIEST, LATEST, Leaders, PartitionAnswer};
pub use retries::Retries;
pub use tiers::{Asked, PartitionTiers, Tiers, TopicTiers};

/// Turns an error code of the broker into an error that names `what` it is about.
///
/// # Errors
/// The code is one.
pub fn check(code: i16, what: &str) -> Result<(), ClientError> {
    retries::refused(ErrorCode::from(code), what).map_or(Ok(()), Err)
}

/// Whether a failure may pass by itself, or elsewhere.
pub fn passes(error: &ClientError) -> bool {
    retries::passes(error)
}
