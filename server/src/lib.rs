//! The `alluvium` server: configuration, wiring, listeners, one handler file for each Kafka API, and the
//! command line.
//!
//! The way of a Produce request: [`network`] cuts it out of the byte stream, [`dispatch`] finds its handler,
//! `handlers::produce` hands its batches to the pipeline of the ingest crate and answers when they are durable.

pub mod audit;
pub mod broker;
pub mod cli;
pub mod client;
pub mod config;
pub mod data_folder;
pub mod dispatch;
pub mod error_map;
pub mod followers;
pub mod group_shards;
pub mod handlers;
pub mod http;
pub mod metrics;
pub mod network;
pub mod partitions;
pub mod placement_service;
pub mod publication_service;
pub mod published;
pub mod repair;
pub mod restore;
pub mod rpc;
pub mod shape;
pub mod tiers;
pub mod topic_service;
pub mod usage;
pub mod wiring;
