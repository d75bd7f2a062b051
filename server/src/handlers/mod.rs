//! One file for each Kafka API: a request of any version in, a response out.
//!
//! Handlers translate between Kafka's wire and the domain; what they decide is little. Errors become codes in
//! [`crate::error_map`] and nowhere else.

pub mod api_versions;
pub mod delete_groups;
pub mod describe_groups;
pub mod find_coordinator;
#[cfg(test)]
mod group_testing;
mod group_words;
pub mod heartbeat;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod produce;
pub mod sync_group;
