//! Counting what is asked of the object store for each topic.

use std::sync::Arc;

use alluvium_common::object_store::TopicRequests;
use alluvium_metadata::view::ClusterView;
use tokio::task::JoinSet;

use super::Basics;
use crate::broker::Identity;
use crate::usage::{Usage, forget_deleted};

/// Shows the counts of this process in its metrics, from now on.
pub fn count(
    basics: &Basics,
    requests: TopicRequests,
    view: &Arc<ClusterView>,
    identity: &Identity,
    tasks: &mut JoinSet<()>,
) {
    let usage = Usage::new(requests.clone(), Arc::clone(view), identity);
    basics.registry.lock().register_collector(Box::new(usage));
    tasks.spawn(forget_deleted(requests, Arc::clone(view)));
}
