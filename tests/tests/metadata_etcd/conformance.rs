//! The suite of the seam, each case on an etcd of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use alluvium_metadata::store::conformance::{Harness, run};
use alluvium_metadata::store::{EtcdOptions, MetadataStore};
use alluvium_tests::etcd::{ClusterOptions, EtcdCluster, skipped};
use async_trait::async_trait;
use parking_lot::Mutex;

/// Stores that one case uses at the same time, at most.
const STORES_OF_A_CASE: usize = 3;

struct Fresh {
    options: ClusterOptions,
    prefix: &'static str,
    /// The etcds of the last stores; older ones are not used any more.
    clusters: Mutex<VecDeque<EtcdCluster>>,
}

impl Fresh {
    fn new(options: ClusterOptions, prefix: &'static str) -> Self {
        Self {
            options,
            prefix,
            clusters: Mutex::default(),
        }
    }
}

#[async_trait]
impl Harness for Fresh {
    async fn store(&self) -> Arc<dyn MetadataStore> {
        let cluster = self.options.clone().start().await;
        let options = EtcdOptions {
            prefix: self.prefix.into(),
            ..cluster.options()
        };
        let store = cluster.store_with(&options).await;
        let mut clusters = self.clusters.lock();
        clusters.push_back(cluster);
        if clusters.len() > STORES_OF_A_CASE {
            clusters.pop_front();
        }
        Arc::new(store)
    }

    /// etcd looks for leases that ended twice a second.
    fn ttl(&self) -> Duration {
        Duration::from_secs(2)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_member_conforms() {
    if !skipped() {
        run(&Fresh::new(ClusterOptions::single(), "")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_conform_below_a_prefix() {
    if !skipped() {
        run(&Fresh::new(ClusterOptions::three(), "/some/prefix")).await;
    }
}
