//! Behaviour on a healthy disk, and helpers for the other tests.

mod crash;
mod faults;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::epoch::{BrokerEpoch, LeaderEpoch};
use alluvium_common::offset::Offset;
use alluvium_common::rand::SeededRandom;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use alluvium_segment::record_batch::{BatchBuilder, BatchHeader, Codec, NO_HEADERS, StoredBatch};
use parking_lot::{Condvar, Mutex};
use uuid::Uuid;

use super::sim_disk::SimDisk;
use super::*;

/// What completions have told, by the batches' base offsets.
#[derive(Default)]
pub(super) struct Told {
    pub synced: Mutex<Vec<i64>>,
    pub failed: Mutex<Vec<(i64, WalError)>>,
    changed: Condvar,
}

impl Told {
    /// Waits until `count` batches were confirmed or refused.
    pub fn wait(&self, count: usize) {
        let mut synced = self.synced.lock();
        while synced.len() + self.failed.lock().len() < count {
            let waited = self.changed.wait_for(&mut synced, Duration::from_secs(20));
            assert!(!waited.timed_out(), "completions are missing");
        }
    }
}

pub(super) struct Done {
    id: i64,
    told: Arc<Told>,
}

impl WalCompletion for Done {
    fn synced(done: &mut Vec<Self>) {
        for done in done.drain(..) {
            done.told.synced.lock().push(done.id);
            done.told.changed.notify_all();
        }
    }

    fn failed(done: &mut Vec<Self>, error: &WalError) {
        for done in done.drain(..) {
            let synced = done.told.synced.lock();
            done.told.failed.lock().push((done.id, error.clone()));
            done.told.changed.notify_all();
            drop(synced);
        }
    }
}

pub(super) fn tp() -> TopicPartition {
    TopicPartition::new(TopicId(Uuid::from_u128(1)), PartitionIndex(0))
}

/// A batch whose base offset is `id`.
pub(super) fn batch(id: i64, value_bytes: usize) -> StoredBatch {
    let mut builder = BatchBuilder::new(Codec::None);
    let value = vec![id as u8; value_bytes];
    builder.push(id, None, Some(&value), NO_HEADERS);
    let raw = builder.build().expect("small");
    let header = BatchHeader::decode(&raw).expect("valid");
    let base = Offset::new(id).expect("positive");
    StoredBatch::stamp(raw, &header, base, LeaderEpoch(0)).expect("fits")
}

pub(super) fn options() -> WalOptions {
    WalOptions {
        file_bytes: 16 << 10,
        first_file_bytes: 8 << 10,
        limit_bytes: 256 << 10,
        group_bytes_max: 6 << 10,
    }
}

pub(super) fn session(epoch: i64) -> WalSession {
    WalSession {
        broker_epoch: BrokerEpoch(epoch),
        random: SeededRandom::new(epoch as u64),
    }
}

pub(super) fn open(disk: &SimDisk, epoch: i64) -> (Wal<Done>, WalRecovery) {
    try_open(disk, epoch).expect("healthy")
}

pub(super) fn try_open(
    disk: &SimDisk,
    epoch: i64,
) -> Result<(Wal<Done>, WalRecovery), WalOpenError> {
    Wal::open(Arc::new(disk.clone()), options(), session(epoch))
}

pub(super) fn append(wal: &Wal<Done>, told: &Arc<Told>, batch: &StoredBatch) -> Arc<WalSlot> {
    let id = batch.base_offset().get();
    let told = Arc::clone(told);
    wal.append(tp(), batch, Done { id, told })
}

/// Waits on a condition that another thread brings about.
pub(super) fn eventually(condition: impl Fn() -> bool) {
    let patience = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < patience, "never happened");
        std::thread::yield_now();
    }
}

fn ids(recovery: &WalRecovery) -> Vec<i64> {
    let frames = recovery.all();
    frames.iter().map(|f| f.batch.base_offset().get()).collect()
}

#[test]
fn what_is_synced_is_recovered_in_order_and_read_back() {
    let disk = SimDisk::new(1);
    let told = Arc::new(Told::default());
    let (wal, recovery) = open(&disk, 1);
    assert_eq!(recovery.frame_count(), 0);
    recovery.release();
    let batches: Vec<_> = (0..100).map(|id| batch(id, 500)).collect();
    let slots: Vec<_> = batches.iter().map(|b| append(&wal, &told, b)).collect();
    told.wait(100);
    assert_eq!(*told.synced.lock(), (0..100).collect::<Vec<_>>());
    for (slot, batch) in slots.iter().zip(&batches) {
        assert_eq!(&slot.read().expect("synced"), batch);
    }
    drop((wal, slots));

    let (_wal, recovery) = open(&disk.crash(), 2);
    let frames = recovery.all();
    assert_eq!(recovery.frame_count(), 100);
    for (index, (frame, batch)) in frames.iter().zip(&batches).enumerate() {
        assert_eq!((&frame.batch, frame.tp), (batch, tp()));
        assert_eq!(frame.broker_epoch, BrokerEpoch(1));
        assert_eq!(frame.sequence, index as u64 + 1);
        assert_eq!(&frame.slot.read().expect("kept"), batch);
    }
}

#[test]
fn sequences_go_on_after_recovery() {
    let disk = SimDisk::new(2);
    for epoch in 1..4 {
        let told = Arc::new(Told::default());
        let (wal, recovery) = open(&disk, epoch);
        let expected: Vec<i64> = (1..epoch).collect();
        assert_eq!(ids(&recovery), expected);
        append(&wal, &told, &batch(epoch, 10));
        told.wait(1);
    }
    let (_wal, recovery) = open(&disk, 9);
    let frames = recovery.all();
    let sequences: Vec<_> = frames.iter().map(|frame| frame.sequence).collect();
    assert_eq!(sequences, [1, 2, 3]);
}

#[test]
fn released_files_are_recycled_and_unreleased_ones_stay() {
    released_files_are_recycled(options());
}

#[test]
fn files_of_a_size_that_is_no_multiple_of_a_block_are_recycled_too() {
    released_files_are_recycled(WalOptions {
        file_bytes: (12 << 10) + 1,
        first_file_bytes: (8 << 10) - 1,
        ..options()
    });
}

fn released_files_are_recycled(options: WalOptions) {
    let disk = SimDisk::new(3);
    let told = Arc::new(Told::default());
    let (wal, _) = Wal::open(Arc::new(disk.clone()), options, session(1)).expect("healthy");
    let mut count = 0;
    let mut fill = |files: u64| {
        let target = wal.stats().files_used + files;
        let mut slots = Vec::new();
        while wal.stats().files_used < target {
            slots.push(append(&wal, &told, &batch(count, 3_000)));
            count += 1;
            told.wait(count as usize);
        }
        slots
    };
    let first = fill(3);
    let second = fill(3);
    let all = wal.pinned_bytes();
    second.iter().for_each(|slot| slot.release());
    drop(second);
    // Files leave in order: the older, unreleased ones hold the younger.
    assert_eq!(wal.pinned_bytes(), all);
    let read_later = Arc::clone(&first[0]);
    first.iter().for_each(|slot| slot.release());
    drop(first);
    // A reader still holds the first.
    assert_eq!(wal.pinned_bytes(), all);
    assert_eq!(read_later.read().expect("held"), batch(0, 3_000));
    drop(read_later);
    eventually(|| wal.pinned_bytes() <= 2 * (16 << 10));
    eventually(|| disk.names().iter().any(|name| name.starts_with("spare-")));
    let third = fill(6);
    let files: BTreeSet<_> = disk.names().into_iter().collect();
    assert!(files.len() <= 10, "{files:?}");
    drop((wal, third));
}

#[test]
fn dropped_slots_release_nothing() {
    let disk = SimDisk::new(4);
    let told = Arc::new(Told::default());
    let (wal, _) = open(&disk, 1);
    for id in 0..40 {
        drop(append(&wal, &told, &batch(id, 1_000)));
    }
    told.wait(40);
    drop(wal);
    let (_wal, recovery) = open(&disk, 2);
    assert_eq!(ids(&recovery), (0..40).collect::<Vec<_>>());
}

#[test]
fn recovered_files_stay_until_released() {
    let disk = SimDisk::new(5);
    let told = Arc::new(Told::default());
    let (wal, _) = open(&disk, 1);
    append(&wal, &told, &batch(7, 100));
    told.wait(1);
    drop(wal);
    let (wal, recovery) = open(&disk, 2);
    drop((recovery, wal));
    let (wal, recovery) = open(&disk, 3);
    assert_eq!(ids(&recovery), [7]);
    recovery.release();
    drop(wal);
    let (_wal, recovery) = open(&disk, 4);
    assert_eq!(recovery.frame_count(), 0);
}

#[test]
fn a_clean_end_leaves_no_file_to_scan() {
    let disk = SimDisk::new(6);
    let told = Arc::new(Told::default());
    let (wal, _) = open(&disk, 1);
    let slots: Vec<_> = (0..30)
        .map(|id| append(&wal, &told, &batch(id, 2_000)))
        .collect();
    slots.iter().for_each(|slot| slot.release());
    told.wait(30);
    drop((slots, wal));
    let names = disk.names();
    assert!(
        names.iter().all(|name| name.starts_with("spare-")),
        "{names:?}"
    );
}

#[test]
fn one_group_is_one_sync() {
    let disk = SimDisk::new(7);
    let told = Arc::new(Told::default());
    let (wal, _) = open(&disk, 1);
    for id in 0..200 {
        append(&wal, &told, &batch(id, 10));
    }
    told.wait(200);
    let stats = wal.stats();
    assert_eq!(stats.frames, 200);
    assert!(stats.syncs < 200, "{stats:?}");
}

#[test]
fn a_batch_larger_than_a_file_gets_a_file_of_its_own() {
    let disk = SimDisk::new(8);
    let told = Arc::new(Told::default());
    let (wal, _) = open(&disk, 1);
    let batches = [batch(0, 10), batch(1, 50_000), batch(2, 10)];
    let slots: Vec<_> = batches.iter().map(|b| append(&wal, &told, b)).collect();
    told.wait(3);
    assert_eq!(*told.synced.lock(), [0, 1, 2]);
    assert_eq!(slots[1].read().expect("synced"), batches[1]);
    drop((wal, slots));
    let (_wal, recovery) = open(&disk.crash(), 2);
    assert_eq!(ids(&recovery), [0, 1, 2]);
}

#[test]
fn a_real_folder_works_too() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("direct");
    goes_through(|| DirDisk::open(&path).expect("folder"));
    // As on a file system that does not take direct writes.
    let path = folder.path().join("buffered");
    goes_through(|| {
        DirDisk::open(&path)
            .expect("folder")
            .without_direct_writes()
    });
}

fn goes_through(disk: impl Fn() -> DirDisk) {
    let disk = || Arc::new(disk());
    let told = Arc::new(Told::default());
    let (wal, _) = Wal::open(disk(), options(), session(1)).expect("empty");
    let batches: Vec<_> = (0..50).map(|id| batch(id, 1_000)).collect();
    let slots: Vec<_> = batches.iter().map(|b| append(&wal, &told, b)).collect();
    told.wait(50);
    assert_eq!(slots[40].read().expect("synced"), batches[40]);
    drop((wal, slots));
    let (wal, recovery) = Wal::<Done>::open(disk(), options(), session(2)).expect("healthy");
    let frames = recovery.all();
    assert!(frames.iter().map(|frame| &frame.batch).eq(&batches));
    drop(frames);
    recovery.release();
    drop(wal);
    let (_wal, recovery) = Wal::<Done>::open(disk(), options(), session(3)).expect("healthy");
    assert_eq!(recovery.frame_count(), 0);
}
