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

use super::*;

#[test]
fn the_task_can_be_spawned() {
    fn is_send<T: Send>(_: impl FnOnce(Publisher) -> T) {}
    is_send(Publisher::run);
}
