//! Background work: publish, join, clean, retain, delete.
//!
//! So far: [`publish`] makes table files of what is committed, [`clean`] keeps the latest record per key of compacted topics
//! in these, [`fold`] keeps commit logs short, [`snapshot`] copies the metadata into the bucket. What publishing and cleaning
//! read and write keeps to a [`pace`].

pub mod clean;
pub mod fold;
pub mod leaves;
pub mod log_keeper;
pub mod manifests;
pub mod pace;
pub mod publish;
mod put;
pub mod reclaim;
pub mod retain;
mod rewrite;
pub mod snapshot;
mod tables;
mod topic_manifest;
