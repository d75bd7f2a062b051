//! What a cleaned partition may look like (I21).

use std::collections::{BTreeMap, BTreeSet};

use alluvium_segment::record_batch::Record;
use bytes::Bytes;

use super::super::time::CleanTime;
use super::world::World;

/// A record that was published.
#[derive(Debug, Clone)]
struct Known {
    record: Record,
    /// When the first cleaning that covered it was done, if one was.
    covered_ms: Option<i64>,
    /// Whether it was there the last time.
    is_there: bool,
}

/// All that was ever published of one partition.
#[derive(Debug, Default)]
pub struct Model {
    known: Vec<Known>,
    log_start: i64,
    /// Offsets that once were the last.
    lasts: BTreeSet<i64>,
}

impl Model {
    pub fn publish(&mut self, records: &[Record]) {
        let known = records.iter().map(|record| Known {
            record: record.clone(),
            covered_ms: None,
            is_there: true,
        });
        self.known.extend(known);
        let last = records.last().map(|record| record.offset.get());
        self.lasts.extend(last);
    }

    pub fn delete_before(&mut self, log_start: i64) {
        self.log_start = log_start;
    }

    /// Compares with what is stored. `time`: of the cleaning that was just done, if one was.
    pub async fn check(
        &mut self,
        world: &World,
        partition: i32,
        time: CleanTime,
        retention_ms: i64,
    ) {
        let stored = world.stored(partition).await;
        let clean_end = world.clean_state(partition).next_offset;
        self.note(&stored);
        self.materialized(&stored);
        self.tombstones(time, retention_ms);
        self.dirty_only_replaced(clean_end.get());
        let removed_before = world.clean_state(partition).removed_before;
        let mut behind = self
            .known
            .iter()
            .filter(|one| one.record.offset >= removed_before);
        assert!(behind.all(|one| one.is_there), "nothing behind is touched");
        self.latest_only(clean_end.get());
        if let Some(last) = self.known.last() {
            let is_readable = last.record.offset.get() >= self.log_start;
            assert!(last.is_there || !is_readable, "the last record stays");
        }
        for one in &mut self.known {
            if one.record.offset < clean_end && one.covered_ms.is_none() {
                one.covered_ms = Some(time.latest_ms);
            }
        }
    }

    /// Nothing but what was published, unchanged, each once and in order; and nothing comes back.
    fn note(&mut self, stored: &[Record]) {
        let mut stored = stored.iter().peekable();
        for one in &mut self.known {
            let found = stored.next_if(|record| record.offset == one.record.offset);
            assert!(one.is_there || found.is_none(), "came back: {one:?}");
            one.is_there = found.is_some();
            if let Some(found) = found {
                assert_eq!(*found, one.record);
            }
        }
        assert_eq!(stored.next(), None, "never published");
    }

    /// Who reads all of it comes to the same latest values.
    fn materialized(&self, stored: &[Record]) {
        let table = |records: &mut dyn Iterator<Item = &Record>| {
            let mut table: BTreeMap<Bytes, Bytes> = BTreeMap::new();
            for record in records.filter(|one| one.offset.get() >= self.log_start) {
                match (&record.key, &record.value) {
                    (Some(key), Some(value)) => table.insert(key.clone(), value.clone()),
                    (Some(key), None) => table.remove(key),
                    _ => None,
                };
            }
            table
        };
        let published = table(&mut self.known.iter().map(|one| &one.record));
        assert_eq!(table(&mut stored.iter()), published);
    }

    /// The latest tombstone of a key goes only when its time is over.
    fn tombstones(&self, time: CleanTime, retention_ms: i64) {
        let mut latest = BTreeMap::new();
        for one in &self.known {
            latest.insert(one.record.key.clone(), one.record.offset);
        }
        for one in self.known.iter().filter(|one| one.record.value.is_none()) {
            let record = &one.record;
            let is_latest = record.key.is_some() && latest[&record.key] == record.offset;
            if is_latest && !one.is_there && record.offset.get() >= self.log_start {
                let covered_ms = one.covered_ms.expect("a cleaning saw it before");
                let lived_ms = time.earliest_ms - covered_ms;
                assert!(lived_ms >= retention_ms, "{lived_ms}: {record:?}");
            }
        }
    }

    /// Of what is dirty, only what has a later record of its key may be gone: a cleaning may have come half of its way.
    fn dirty_only_replaced(&self, clean_end: i64) {
        let mut later = BTreeSet::new();
        let dirty = self.known.iter().rev();
        for one in dirty.take_while(|one| one.record.offset.get() >= clean_end) {
            let record = &one.record;
            let is_replaced = record.key.as_ref().is_none_or(|key| later.contains(key));
            let may_go = is_replaced || record.offset.get() < self.log_start;
            assert!(one.is_there || may_go, "gone: {one:?}");
            later.extend(record.key.clone());
        }
    }

    /// Of what is clean, no key is there twice, and nothing without a key but what was the last when it was cleaned.
    fn latest_only(&self, clean_end: i64) {
        let mut seen = BTreeMap::new();
        let mut without = 0;
        for one in self.known.iter().filter(|one| one.is_there) {
            let record = &one.record;
            if record.offset.get() >= clean_end {
                continue;
            }
            match &record.key {
                None => {
                    without += 1;
                    let was_last = self.lasts.contains(&record.offset.get());
                    assert!(was_last && without == 1, "without a key: {record:?}");
                }
                Some(key) => {
                    let twice = seen.insert(key.clone(), record.offset);
                    assert_eq!(twice, None, "{key:?} is there twice");
                }
            }
        }
    }

    /// Offsets of what is there.
    pub fn there(&self) -> Vec<i64> {
        let there = self.known.iter().filter(|one| one.is_there);
        there.map(|one| one.record.offset.get()).collect()
    }
}
