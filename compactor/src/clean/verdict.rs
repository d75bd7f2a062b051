//! Which records stay.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use alluvium_common::seeded_bug;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::record_batch::Record;
use alluvium_table::raw_bytes;

use super::cover::Covered;
use super::map::OffsetMap;

/// What a cleaning knows. It is asked about each record of each file once.
pub struct Verdict {
    map: OffsetMap,
    partitions: BTreeMap<PartitionIndex, Judged>,
}

/// A partition that is cleaned.
pub struct Judged {
    /// What is known of it.
    pub covered: Covered,
    /// Records below the covered end that were asked about.
    pub records: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Records of these that go.
    pub removed_records: AtomicU64,
    /// Their bytes.
    pub removed_bytes: AtomicU64,
    /// Tombstones that were dirty and stay.
    pub new_tombstones: AtomicU64,
}

impl Verdict {
    /// Of what the map says about these partitions.
    pub fn new(map: OffsetMap, covered: Vec<Covered>) -> Self {
        let judged = covered.into_iter().map(|covered| {
            let judged = Judged {
                records: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
                removed_records: AtomicU64::new(0),
                removed_bytes: AtomicU64::new(0),
                new_tombstones: AtomicU64::new(0),
                covered,
            };
            (judged.covered.dirt.partition, judged)
        });
        Self {
            partitions: judged.collect(),
            map,
        }
    }

    /// The partitions that are cleaned.
    pub fn partitions(&self) -> &BTreeMap<PartitionIndex, Judged> {
        &self.partitions
    }

    /// Keys that the map knows.
    pub fn keys(&self) -> usize {
        self.map.len()
    }

    /// Whether a record stays.
    pub fn keeps(&self, partition: PartitionIndex, record: &Record) -> bool {
        let Some(judged) = self.partitions.get(&partition) else {
            return true;
        };
        let covered = &judged.covered;
        if record.offset >= covered.end {
            return true;
        }
        let stays = Some(record.offset) == covered.last || self.is_wanted(covered, record);
        judged.count(record, stays);
        stays
    }

    /// As Kafka decides: the latest of its key, unless it is a tombstone whose time is over. What has no key goes: it was
    /// written while the topic was not compacted, and nobody can say that it is the latest of anything.
    fn is_wanted(&self, covered: &Covered, record: &Record) -> bool {
        if record.offset < covered.dirt.log_start {
            return false;
        }
        let Some(key) = &record.key else {
            return false;
        };
        let latest = self.map.latest(covered.dirt.partition, key);
        let is_latest = match seeded_bug::is("cleaning-loses-latest") {
            true => latest.is_none_or(|latest| record.offset > latest),
            false => latest.is_none_or(|latest| record.offset >= latest),
        };
        let is_over = match seeded_bug::is("tombstone-removed-early") {
            true => true,
            false => record.offset < covered.dirt.horizon,
        };
        is_latest && (record.value.is_some() || !is_over)
    }
}

impl Judged {
    fn count(&self, record: &Record, stays: bool) {
        let add = |to: &AtomicU64, count| to.fetch_add(count, Ordering::Relaxed);
        let bytes = raw_bytes(record) as u64;
        add(&self.records, 1);
        add(&self.bytes, bytes);
        if !stays {
            add(&self.removed_records, 1);
            add(&self.removed_bytes, bytes);
        } else if record.value.is_none() && record.offset >= self.covered.dirt.from {
            add(&self.new_tombstones, 1);
        }
    }
}
