//! One file for each Kafka API: a request of any version in, a response out.
//!
//! Handlers translate between Kafka's wire and the domain; what they decide is little. Errors become codes in
//! [`crate::error_map`] and nowhere else.

pub mod api_versions;
pub mod init_producer_id;
pub mod metadata;
pub mod produce;
