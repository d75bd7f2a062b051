//! Publishing in a small world: brokers that write real segments, a bucket and a metadata store that fail, and a model of
//! every record.

mod backlog;
mod batches;
mod broker;
mod compactors;
mod faults;
mod leaves;
mod lies;
mod manifests;
mod model;
mod pace;
mod pictures;
mod plan;
mod published;
mod random;
mod rounds;
mod shards;
mod steps;
mod world;

use std::time::Duration;

use alluvium_common::topic::TopicId;
use alluvium_metadata::compaction::CompactionShard;
use alluvium_segment::manifest::Manifest;

use super::plan::{ReadyPartition, TopicWork, ready};
use super::*;
use crate::manifests::read_manifest;

#[test]
fn the_task_can_be_spawned() {
    fn is_send<T: Send>(_: impl FnOnce(Publisher) -> T) {}
    is_send(Publisher::run);
}
