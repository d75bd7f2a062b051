use std::sync::Arc;

use alluvium_common::rand::SeededRandom;
use alluvium_segment::object_key::{ObjectKey, SegmentName};
use uuid::Uuid;

use super::*;
use crate::commit_log::{LogEntry, read_commit_log};
use crate::keys::Keys;
use crate::model::{BrokerRecord, CommitRecord, FoldRecord, Opener, PartitionRecord};
use crate::session::Session;
use crate::store::fault::{Fault, Faults, FaultyStore};
use crate::store::{Compare, MemoryStore, MetadataStore, MetadataStoreExt};
use crate::value;
use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use std::time::Duration;

const LOG: LogId = LogId {
    broker_id: BrokerId(1),
    broker_epoch: BrokerEpoch(5),
};

fn name(id: u128) -> SegmentName {
    SegmentName {
        broker_id: LOG.broker_id,
        broker_epoch: LOG.broker_epoch,
        id: Uuid::from_u128(id),
    }
}

fn commit(seq: u64, footer_length: u32) -> LogEntry {
    let record = CommitRecord {
        object_key: ObjectKey::segment(&name(seq.into())),
        size_bytes: 1 << 20,
        footer_length,
        footer_crc: 3,
    };
    LogEntry::Commit { seq, record }
}

fn fold(first_seq: u64, last_seq: u64, size_bytes: u64) -> FoldRecord {
    FoldRecord {
        object_key: ObjectKey::fold(&name(u128::from(last_seq) << 64 | u128::from(first_seq))),
        size_bytes,
        index_length: 9,
        index_crc: 1,
        first_seq,
        last_seq,
    }
}

/// Commits `count` segments, folding whatever is due after each; returns the log and how often a commit was
/// rewritten, all together.
fn grow(count: u64, footer_length: u32, limits: &FoldLimits) -> (Vec<LogEntry>, u64) {
    let (mut entries, mut rewritten) = (Vec::new(), 0);
    for seq in 0..count {
        entries.push(commit(seq, footer_length));
        while let Some(run) = plan_folds(&entries, limits) {
            assert!(run.len() >= 2 && run.len() <= limits.run_max);
            let (first, last) = (&entries[run.start], &entries[run.end - 1]);
            let (first, last) = (first.first_seq(), last.last_seq());
            let size = (last - first + 1) * u64::from(footer_length) / 2;
            assert!(size <= limits.bytes_max);
            rewritten += last - first + 1;
            entries.splice(run, [LogEntry::Fold(fold(first, last, size))]);
        }
    }
    (entries, rewritten)
}

#[test]
fn the_keys_of_a_log_grow_with_its_logarithm() {
    let limits = FoldLimits {
        fan_in: 8,
        bytes_max: u64::MAX / 4,
        ..FoldLimits::GROWING
    };
    for (commits, levels) in [(7, 1), (500, 3), (30_000, 5)] {
        let (entries, rewritten) = grow(commits, 100, &limits);
        assert!(entries.len() <= 7 * levels, "{commits}: {}", entries.len());
        assert!(
            rewritten <= commits * levels as u64,
            "{commits}: {rewritten}"
        );
        assert_eq!(crate::commit_log::missing_seq(&entries), None);
        assert_eq!(entries.last().map(LogEntry::last_seq), Some(commits - 1));
    }
}

#[test]
fn full_folds_are_left_alone() {
    let limits = FoldLimits {
        fan_in: 8,
        bytes_max: 10_000,
        ..FoldLimits::GROWING
    };
    // A fold holds up to 200 commits of 50 bytes each, so every one is rewritten twice or three times.
    let (entries, rewritten) = grow(20_000, 100, &limits);
    assert!(entries.len() <= 20_000 / 100 + 30, "{}", entries.len());
    assert!(rewritten <= 20_000 * 4, "{rewritten}");
}

#[test]
fn footers_as_large_as_a_fold_are_not_folded_for_ever() {
    let limits = FoldLimits {
        bytes_max: 10_000,
        ..FoldLimits::GROWING
    };
    let entries: Vec<_> = (0..500).map(|seq| commit(seq, 9_000)).collect();
    assert_eq!(plan_folds(&entries, &limits), None);
    assert_eq!(plan_folds(&entries[..63], &FoldLimits::GROWING), None);
}

#[test]
fn a_frozen_log_is_folded_into_one() {
    let mut entries = vec![
        LogEntry::Fold(fold(0, 4095, 90_000)),
        LogEntry::Fold(fold(4096, 4159, 900)),
    ];
    entries.extend((4160..4170).map(|seq| commit(seq, 100)));
    assert_eq!(plan_folds(&entries, &FoldLimits::GROWING), None);
    assert_eq!(plan_folds(&entries, &FoldLimits::FROZEN), Some(0..12));
    let one = [LogEntry::Fold(fold(0, 4169, 91_000))];
    assert_eq!(plan_folds(&one, &FoldLimits::FROZEN), None);
}

async fn put(store: &dyn MetadataStore, keys: &Keys, log: LogId, entry: &LogEntry) {
    let value = match entry {
        LogEntry::Commit { record, .. } => value::encode(record),
        LogEntry::Fold(fold) => value::encode(fold),
        LogEntry::Dropped(dropped) => value::encode(dropped),
    };
    let key = keys.commit(log.broker_id, log.broker_epoch, entry.last_seq());
    store.put(key, value).await.expect("put");
}

async fn entries_from(store: &dyn MetadataStore, keys: &Keys, first_seq: u64) -> Vec<LogEntry> {
    read_commit_log(store, keys, LOG.broker_id, LOG.broker_epoch, first_seq)
        .await
        .expect("no gap")
}

#[tokio::test(start_paused = true)]
async fn a_fold_stands_in_place_of_its_entries_whatever_replies_are_lost() {
    for met in [
        Fault::None,
        Fault::ReplyLost,
        Fault::RequestLost,
        Fault::Refused,
    ] {
        let faults = Faults::new(SeededRandom::new(1));
        let memory: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let store = FaultyStore::new(Arc::clone(&memory), Arc::clone(&faults));
        let keys = Keys::new("test");
        for seq in 0..10 {
            put(&*memory, &keys, LOG, &commit(seq, 9)).await;
        }
        let state = read_log(&store, &keys, LOG).await.expect("read");
        let record = fold(2, 6, 99);
        faults.next([met]);
        let replaced = replace(&store, &keys, &state, 2..7, &record, &[]).await;
        assert_eq!(replaced.expect("answered"), Replaced::Done, "{met:?}");
        let expected: Vec<_> = [commit(0, 9), commit(1, 9), LogEntry::Fold(record)]
            .into_iter()
            .chain((7..10).map(|seq| commit(seq, 9)))
            .collect();
        assert_eq!(entries_from(&*memory, &keys, 0).await, expected);
        // A fold that begins before what is asked for belongs to it.
        assert_eq!(entries_from(&*memory, &keys, 4).await, expected[2..]);
        assert_eq!(entries_from(&*memory, &keys, 7).await, expected[3..]);
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_folders_one_is_refused_where_they_differ() {
    let (store, keys) = (MemoryStore::new(), Keys::new("test"));
    for seq in 0..10 {
        put(&store, &keys, LOG, &commit(seq, 9)).await;
    }
    let state = read_log(&store, &keys, LOG).await.expect("read");
    let inner = replace(&store, &keys, &state, 3..5, &fold(3, 4, 9), &[]).await;
    assert_eq!(inner.expect("answered"), Replaced::Done);
    for (run, record) in [
        (2..4, fold(2, 3, 9)),
        (4..6, fold(4, 5, 9)),
        (3..6, fold(3, 5, 9)),
    ] {
        let late = replace(&store, &keys, &state, run, &record, &[]).await;
        assert_eq!(late.expect("answered"), Replaced::Refused, "{record:?}");
    }
    // One that holds all of the other is as good as before.
    let outer = replace(&store, &keys, &state, 2..6, &fold(2, 5, 9), &[]).await;
    assert_eq!(outer.expect("answered"), Replaced::Done);
    assert_eq!(entries_from(&store, &keys, 0).await.len(), 7);
    let wrong = replace(&store, &keys, &state, 0..2, &fold(0, 2, 9), &[]).await;
    assert!(matches!(wrong, Err(ReplaceError::NotThatRun(_))));
}

#[tokio::test(start_paused = true)]
async fn without_its_fence_nothing_is_folded() {
    let (store, keys) = (MemoryStore::new(), Keys::new("test"));
    for seq in 0..3 {
        put(&store, &keys, LOG, &commit(seq, 9)).await;
    }
    let state = read_log(&store, &keys, LOG).await.expect("read");
    let fence = [Compare::exists("the session")];
    let replaced = replace(&store, &keys, &state, 0..3, &fold(0, 2, 9), &fence).await;
    assert_eq!(replaced.expect("answered"), Replaced::Refused);
    assert_eq!(entries_from(&store, &keys, 0).await.len(), 3);
}

/// A commit that was sent twice arrives a second time after it was folded.
#[tokio::test(start_paused = true)]
async fn late_copies_of_folded_commits_change_nothing() {
    let (store, keys) = (MemoryStore::new(), Keys::new("test"));
    for seq in 0..6 {
        put(&store, &keys, LOG, &commit(seq, 9)).await;
    }
    let state = read_log(&store, &keys, LOG).await.expect("read");
    let first = replace(&store, &keys, &state, 0..4, &fold(0, 3, 9), &[]).await;
    assert_eq!(first.expect("answered"), Replaced::Done);
    let before = entries_from(&store, &keys, 0).await;
    put(&store, &keys, LOG, &commit(1, 9)).await;
    put(&store, &keys, LOG, &commit(2, 9)).await;
    assert_eq!(entries_from(&store, &keys, 0).await, before);
    let state = read_log(&store, &keys, LOG).await.expect("read");
    let again = replace(&store, &keys, &state, 0..3, &fold(0, 5, 9), &[]).await;
    assert_eq!(again.expect("answered"), Replaced::Done);
    let (_, left) = store.list(keys.all_commits()).await.expect("read");
    assert_eq!(left.len(), 1);
}

async fn session(store: &Arc<dyn MetadataStore>, keys: &Keys, id: i32) -> (Session, LogId) {
    let record = BrokerRecord {
        broker_id: BrokerId(id),
        host: "localhost".to_owned(),
        port: 9092,
        rack: None,
        instance_id: Uuid::from_u128(1),
        version: "0".to_owned(),
        started_ms: 0,
        rpc: None,
        draining: false,
        roles: crate::model::Roles::broker(),
    };
    let opened = Session::open(Arc::clone(store), keys, &record, Duration::from_secs(9)).await;
    let opened = opened.expect("session");
    let log = LogId {
        broker_id: opened.broker_id(),
        broker_epoch: opened.broker_epoch(),
    };
    put(&**store, keys, log, &commit(0, 9)).await;
    (opened, log)
}

#[tokio::test(start_paused = true)]
async fn only_logs_that_nothing_can_name_are_dropped() {
    let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
    let keys = Keys::new("test");
    let (over, dead) = session(&store, &keys, 1).await;
    let (over_too, named) = session(&store, &keys, 2).await;
    let (_open, living) = session(&store, &keys, 3).await;
    let tp = TopicPartition::new(TopicId(Uuid::from_u128(7)), PartitionIndex(0));
    // A partition that was handed over names the log of its former leader still.
    let opener = Opener {
        broker_id: named.broker_id,
        broker_epoch: named.broker_epoch,
        first_seq: 0,
        wal: None,
    };
    let record = PartitionRecord::new(named.broker_id)
        .opened(&opener, Offset::ZERO, |_| None)
        .handed_over(living.broker_id, Some(0), true);
    let put = store.put(keys.partition(tp), value::encode(&record)).await;
    put.expect("put");
    // A restore makes logs of a broker that never was.
    let restored = LogId {
        broker_id: BrokerId(-1),
        broker_epoch: BrokerEpoch(-1),
    };
    self::put(&*store, &keys, restored, &commit(0, 9)).await;
    over.close().await.expect("closed");
    over_too.close().await.expect("closed");

    let seen = overview(&*store, &keys).await.expect("read");
    assert_eq!(seen.logs, [restored, dead, named, living].into());
    assert_eq!(seen.sessions, [living].into());
    assert_eq!(unneeded_logs(&seen), [restored, dead]);

    let fence = [Compare::exists("the controller")];
    let refused = drop_unneeded(&*store, &keys, &[dead], &fence).await;
    assert!(refused.expect("answered").refused);
    // Even if it is told to: the living log stays.
    let refused = drop_unneeded(&*store, &keys, &[living], &[]).await;
    assert!(refused.expect("answered").refused);
    let dropped = drop_unneeded(&*store, &keys, &[restored, dead], &[]).await;
    assert_eq!(
        dropped.expect("answered"),
        Dropped {
            logs: 2,
            refused: false
        }
    );
    let seen = overview(&*store, &keys).await.expect("read");
    assert_eq!(seen.logs, [named, living].into());
}
