//! Crashes, and what is found afterwards.

use alluvium_common::epoch::{BrokerEpoch, BrokerId};

mod model;
mod scenarios;

/// Partitions are opened in tasks of their own.
#[test]
fn loading_may_move_between_threads() {
    fn is_send(_: &impl Send) {}
    let commits = super::MetadataCommits {
        store: std::sync::Arc::new(alluvium_metadata::store::MemoryStore::new()),
        keys: alluvium_metadata::keys::Keys::new("test"),
    };
    let objects: std::sync::Arc<dyn object_store::ObjectStore> =
        std::sync::Arc::new(object_store::memory::InMemory::new());
    let own = (BrokerId(1), BrokerEpoch(1));
    is_send(&super::load(&commits, &objects, own, Vec::new()));
}
