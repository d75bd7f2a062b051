//! The MetadataStore seam, typed cluster state, sessions, commits, leadership, coordinators.

pub mod coordinator;
pub mod store;
pub mod topic_config;
