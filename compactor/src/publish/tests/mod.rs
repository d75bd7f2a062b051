//! Publishing in a small world: brokers that write real segments, a bucket and a metadata store that fail, and a model of
//! every record.

mod batches;
mod broker;
mod compactors;
mod model;
mod published;
mod rounds;
mod world;

use super::*;

#[test]
fn the_task_can_be_spawned() {
    fn is_send<T: Send>(_: impl FnOnce(Publisher) -> T) {}
    is_send(Publisher::run);
}
