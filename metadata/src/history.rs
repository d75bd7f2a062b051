//! Forgets the history of the metadata store, which etcd keeps until it is told.
//!
//! Every so often a **mark** is made: which revision was the newest at which time. What is older than the newest mark
//! that has reached the retention is compacted. Times are monotonic and this process's own, so that a new controller keeps
//! history for a whole retention before it forgets any.
//!
//! History is wanted by watches that were cut off and by reads of several pages; whoever falls behind it reads anew, so
//! the retention decides about work and not about safety. Compaction is of the whole etcd: clusters that share one
//! should be given the same retention. The revision compacted to is some minutes old, so no watch that works starts there
//! (etcd before 3.4.34 and 3.5.16 forgets deletions of that very revision, see `store/etcd/watch.rs`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use alluvium_common::error::ErrorKind;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;
use tracing::{error, warn};

use crate::keys::Keys;
use crate::store::{KeyRange, MetadataStore, RangeRequest, Revision, StoreError, StoreSpace};

/// Marks in a retention: history is kept for up to this part longer than asked for.
const MARKS_PER_RETENTION: u32 = 5;
/// Shortest and longest time between two marks.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What is known of the store's space.
#[derive(Debug, Clone, Default)]
pub struct HistoryMetrics {
    compactions: Counter,
    size: Gauge,
    in_use: Gauge,
    quota: Gauge,
    no_space: Gauge,
    keys: Gauge,
    key_bytes: Gauge<u64, AtomicU64>,
}

impl HistoryMetrics {
    /// Registers the metrics, all beginning with `metadata_store_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("metadata_store");
        registry.register(
            "history_compactions",
            "Times that this process had the history of the metadata store forgotten",
            metrics.compactions.clone(),
        );
        let gauges = [
            (
                "size",
                "Size of the metadata store's database",
                &metrics.size,
            ),
            (
                "in_use",
                "Part of the database that holds something",
                &metrics.in_use,
            ),
            (
                "quota",
                "Size at which the database refuses writes; 0: not told",
                &metrics.quota,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
        }
        registry.register(
            "no_space",
            "1 while the metadata store refuses writes for want of space",
            metrics.no_space.clone(),
        );
        registry.register("keys", "Keys of this cluster", metrics.keys.clone());
        registry.register_with_unit(
            "keys",
            "Keys and values of this cluster",
            Unit::Bytes,
            metrics.key_bytes.clone(),
        );
        metrics
    }

    fn show(&self, space: &StoreSpace) {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.size.set(signed(space.size_bytes));
        self.in_use.set(signed(space.in_use_bytes));
        self.quota.set(signed(space.quota_bytes.unwrap_or(0)));
        self.no_space.set(i64::from(space.is_exhausted));
    }
}

/// Which revision was the newest when. Pure.
#[derive(Debug)]
pub struct Marks {
    retention: Duration,
    marks: VecDeque<(Revision, Instant)>,
}

impl Marks {
    /// Keeps at least `retention`.
    pub fn new(retention: Duration) -> Self {
        Self {
            retention,
            marks: VecDeque::new(),
        }
    }

    /// Adds a mark. Returns the revision to compact to, if one has become old enough.
    pub fn add(&mut self, newest: Revision, now: Instant) -> Option<Revision> {
        self.marks.push_back((newest, now));
        let mut old = None;
        while let Some((revision, at)) = self.marks.front()
            && now.duration_since(*at) >= self.retention
        {
            old = Some(*revision);
            self.marks.pop_front();
        }
        old
    }
}

/// Keeps the store's history short and its space in view. Never ends; drop it to end it.
#[derive(Debug)]
pub struct HistoryKeeper {
    store: Arc<dyn MetadataStore>,
    keys: Keys,
    marks: Marks,
    metrics: HistoryMetrics,
    /// Last compacted to.
    compacted: Revision,
    exhausted: bool,
}

impl HistoryKeeper {
    /// Keeps at least `retention` of history.
    pub fn new(
        store: Arc<dyn MetadataStore>,
        keys: Keys,
        retention: Duration,
        metrics: HistoryMetrics,
    ) -> Self {
        Self {
            store,
            keys,
            marks: Marks::new(retention),
            metrics,
            compacted: Revision::NONE,
            exhausted: false,
        }
    }

    /// Works until it is dropped. Every broker makes marks, so that a new controller has some; only the controller
    /// compacts, and counts the cluster's keys.
    pub async fn run(mut self, is_controller: impl Fn() -> bool + Send) {
        let pause = (self.marks.retention / MARKS_PER_RETENTION).clamp(PAUSE.0, PAUSE.1);
        loop {
            if let Err(error) = self.round(is_controller()).await {
                warn!(%error, "the history of the metadata store could not be looked after; it is tried again");
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One mark, and what follows from it.
    pub async fn round(&mut self, is_controller: bool) -> Result<(), StoreError> {
        self.look_at_space().await?;
        let request = RangeRequest::new(KeyRange::key(self.keys.cluster()));
        let newest = self.store.range(request).await?.revision;
        let old = self.marks.add(newest, Instant::now());
        if !is_controller {
            return Ok(());
        }
        self.count_keys().await?;
        let Some(revision) = old.filter(|revision| *revision > self.compacted) else {
            return Ok(());
        };
        match self.store.compact(revision).await {
            Ok(()) => {
                self.metrics.compactions.inc();
            }
            // By a controller before this one, by etcd itself, or by our own call whose reply was lost.
            Err(StoreError::Compacted { .. }) => {}
            Err(error) if error.kind() == ErrorKind::Retry => return Err(error),
            Err(error) => {
                warn!(%error, "the metadata store does not forget its history; it grows until it is full")
            }
        }
        self.compacted = revision;
        Ok(())
    }

    async fn look_at_space(&mut self) -> Result<(), StoreError> {
        let Some(space) = self.store.space().await? else {
            return Ok(());
        };
        self.metrics.show(&space);
        let became = space.is_exhausted && !self.exhausted;
        self.exhausted = space.is_exhausted;
        if became {
            error!(
                size_bytes = space.size_bytes,
                in_use_bytes = space.in_use_bytes,
                quota_bytes = space.quota_bytes,
                "etcd has used up its space and refuses writes: nothing can be acknowledged, reads go on. \
                 Where much less is in use than its size, compact and defragment every member (etcdctl compact, \
                 etcdctl defrag); else start etcd with a larger --quota-backend-bytes. Then end the alarm: \
                 etcdctl alarm disarm"
            );
        }
        Ok(())
    }

    async fn count_keys(&self) -> Result<(), StoreError> {
        let (mut keys, mut bytes) = (0, 0);
        let mut rest = Some(self.keys.all());
        while let Some(range) = rest {
            let page = self.store.range(RangeRequest::new(range.clone())).await?;
            keys += page.kvs.len() as i64;
            let sizes = page.kvs.iter().map(|kv| kv.key.len() + kv.value.len());
            bytes += sizes.sum::<usize>() as u64;
            rest = page.continuation(&range);
        }
        self.metrics.keys.set(keys);
        self.metrics.key_bytes.set(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, MetadataStoreExt, WatchError, WatchRequest};

    const RETENTION: Duration = Duration::from_secs(300);

    #[tokio::test(start_paused = true)]
    async fn the_newest_of_the_old_marks_is_compacted_to() {
        let mut marks = Marks::new(RETENTION);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(marks.add(Revision(10), at(0)), None);
        assert_eq!(marks.add(Revision(20), at(60)), None);
        assert_eq!(marks.add(Revision(30), at(299)), None);
        assert_eq!(marks.add(Revision(40), at(300)), Some(Revision(10)));
        // After a pause, of several only the last.
        assert_eq!(marks.add(Revision(50), at(599)), Some(Revision(30)));
        assert_eq!(marks.add(Revision(60), at(600)), Some(Revision(40)));
    }

    async fn oldest(store: &dyn MetadataStore) -> Option<Revision> {
        let request = WatchRequest::new(KeyRange::all()).from(Revision(1));
        let mut watch = store.watch(request).await.expect("watch");
        match watch.next().await {
            Err(WatchError::Compacted { compacted, .. }) => Some(compacted),
            _ => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn history_is_kept_for_the_retention_and_no_longer() {
        let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let metrics = HistoryMetrics::default();
        let keys = Keys::new("test");
        let keeper = |metrics: &HistoryMetrics| {
            HistoryKeeper::new(Arc::clone(&store), keys.clone(), RETENTION, metrics.clone())
        };
        let (mut controller, mut other) = (keeper(&metrics), keeper(&HistoryMetrics::default()));
        let mut written = Vec::new();
        for minute in 0..12 {
            written.push(store.put(keys.cluster(), "x").await.expect("put"));
            other.round(false).await.expect("round");
            if minute < 5 {
                assert_eq!(oldest(&*store).await, None, "minute {minute}");
            }
            controller.round(true).await.expect("round");
            if minute >= 5 {
                assert_eq!(oldest(&*store).await, Some(written[minute - 5]));
            }
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        assert_eq!(metrics.compactions.get(), 7);
        assert_eq!(metrics.keys.get(), 1);
        assert_eq!(metrics.key_bytes.get(), keys.cluster().len() as u64 + 1);
    }
}
