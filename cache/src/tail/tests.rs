use std::io;
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_segment::record_batch::{BatchBuilder, BatchHeader, Codec, NO_HEADERS, StoredBatch};

use super::*;
use crate::metrics::TailMetrics;

fn offset(value: i64) -> Offset {
    Offset::new(value).expect("not negative")
}

/// A batch of `records` records of 100 bytes each, all with `timestamp`.
fn batch(base: i64, records: usize, timestamp: i64) -> StoredBatch {
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..records {
        builder.push(timestamp, None, Some(&[7; 100]), NO_HEADERS);
    }
    let raw = builder.build().expect("a small batch");
    let header = BatchHeader::decode(&raw).expect("just built");
    StoredBatch::stamp(raw, &header, offset(base), LeaderEpoch(3)).expect("fits")
}

struct FakeWal(StoredBatch);

impl SpilledBatch for FakeWal {
    fn read(&self) -> io::Result<StoredBatch> {
        Ok(self.0.clone())
    }
    fn size_bytes(&self) -> usize {
        self.0.size_bytes()
    }
}

fn spill(batch: &StoredBatch) -> Option<Arc<dyn SpilledBatch>> {
    Some(Arc::new(FakeWal(batch.clone())))
}

fn budget(limit_bytes: usize) -> Arc<TailBudget> {
    TailBudget::new(limit_bytes, TailMetrics::default())
}

fn open(next: i64, budget: &Arc<TailBudget>) -> Arc<PartitionTail> {
    let start = TailStart {
        log_start: offset(0),
        next_offset: offset(next),
        leader_epoch: LeaderEpoch(3),
    };
    PartitionTail::open(start, budget)
}

/// Ten batches of ten records from `base` on, readable.
fn filled(base: i64, budget: &Arc<TailBudget>, with_spill: bool) -> Arc<PartitionTail> {
    let tail = open(base, budget);
    for index in 0..10 {
        let batch = batch(base + 10 * index, 10, 1000 + index);
        let spill = if with_spill { spill(&batch) } else { None };
        tail.append(batch, spill).expect("in order");
    }
    tail.advance_high_watermark(offset(base + 100));
    tail
}

fn bases(read: TailRead) -> Vec<i64> {
    match read {
        TailRead::Batches { batches, .. } => batches
            .iter()
            .map(|batch| batch.load().expect("loads").base_offset().get())
            .collect(),
        TailRead::Below { tail_start } => panic!("below {tail_start}"),
        TailRead::Closed(reason) => panic!("closed {reason:?}"),
    }
}

fn below(tail: &PartitionTail, from: i64) -> Option<i64> {
    match tail.read(offset(from), tail.offsets().log_end, usize::MAX, true) {
        TailRead::Below { tail_start } => Some(tail_start.get()),
        _ => None,
    }
}

#[test]
fn reads_from_the_batch_that_contains_the_offset() {
    let tail = filled(100, &budget(usize::MAX), false);
    let size = batch(0, 10, 0).size_bytes();
    let read = |from: i64, upto: i64, max| bases(tail.read(offset(from), offset(upto), max, false));
    assert_eq!(read(117, 200, 3 * size), [110, 120, 130]);
    assert_eq!(read(117, 200, 3 * size - 1), [110, 120]);
    assert_eq!(read(180, 195, usize::MAX), [180], "nothing above the limit");
    assert_eq!(read(200, 200, usize::MAX), [0; 0], "the end is empty");
    assert_eq!(read(100, 200, size - 1), [0; 0], "nothing fits");
    let one = tail.read(offset(100), offset(200), 1, true);
    assert_eq!(bases(one), [100], "at least one, whatever its size");
    assert_eq!(below(&tail, 99), Some(100));
}

#[test]
fn bodies_are_passed_on_without_a_copy() {
    let tail = open(0, &budget(usize::MAX));
    let batch = batch(0, 1, 0);
    let address = batch.body().as_ptr();
    tail.append(batch, None).expect("in order");
    let TailRead::Batches { batches, .. } = tail.read(offset(0), offset(1), 1 << 20, true) else {
        panic!("a batch is there");
    };
    assert_eq!(
        batches[0].load().expect("in memory").body().as_ptr(),
        address
    );
}

#[test]
fn refuses_batches_out_of_order_and_after_closing() {
    let budget = budget(usize::MAX);
    let tail = filled(0, &budget, false);
    let (base, log_end) = (offset(101), offset(100));
    assert_eq!(
        tail.append(batch(101, 1, 0), None),
        Err(AppendRefused::NotAtEnd { base, log_end })
    );
    tail.close(CloseReason::Deleted);
    tail.close(CloseReason::NotLeader);
    assert_eq!(budget.resident_bytes(), 0);
    assert_eq!(
        tail.append(batch(100, 1, 0), None),
        Err(AppendRefused::Closed(CloseReason::Deleted))
    );
    assert_eq!(
        budget.resident_bytes(),
        0,
        "refused batches are not charged"
    );
    assert!(matches!(
        tail.read(offset(0), offset(1), 1, true),
        TailRead::Closed(CloseReason::Deleted)
    ));
}

#[test]
fn offsets_only_grow_and_stay_ordered() {
    let tail = open(10, &budget(usize::MAX));
    tail.append(batch(10, 10, 0), None).expect("in order");
    tail.advance_high_watermark(offset(99));
    assert_eq!(
        tail.offsets().high_watermark,
        offset(20),
        "not beyond the log end"
    );
    tail.advance_high_watermark(offset(15));
    assert_eq!(tail.offsets().high_watermark, offset(20));
    tail.append(batch(20, 10, 0), None).expect("in order");
    assert_eq!(
        tail.set_log_start(offset(25)),
        offset(20),
        "not beyond the high watermark"
    );
    assert_eq!(tail.set_log_start(offset(5)), offset(20));
    assert_eq!(
        below(&tail, 19),
        Some(20),
        "batches below the log start are gone"
    );
}

#[test]
fn the_oldest_uploaded_leave_first() {
    let size = batch(0, 10, 0).size_bytes();
    let budget = budget(25 * size);
    let (old, young) = (filled(0, &budget, false), filled(0, &budget, false));
    old.set_uploaded(offset(50));
    young.set_uploaded(offset(80));
    old.set_uploaded(offset(100));
    assert_eq!(budget.resident_bytes(), 20 * size);
    let third = filled(0, &budget, false);
    assert_eq!(below(&old, 0), Some(50), "the oldest 5 of 10 went");
    assert_eq!(below(&young, 0), None);
    third.append(batch(100, 10, 0), None).expect("in order");
    assert_eq!((below(&young, 0), below(&old, 0)), (Some(10), Some(50)));
    drop(third);
    assert_eq!(budget.resident_bytes(), 14 * size);
}

#[test]
fn what_key_compaction_replaced_is_given_up_once_it_is_uploaded() {
    let budget = budget(usize::MAX);
    let tail = filled(0, &budget, true);
    let all = budget.resident_bytes();
    tail.give_up_below(offset(55));
    assert_eq!(below(&tail, 0), None, "no segment holds any of it");
    tail.set_uploaded(offset(40));
    tail.give_up_below(offset(55));
    assert_eq!(below(&tail, 39), Some(40), "what is not uploaded stays");
    tail.set_uploaded(offset(100));
    tail.give_up_below(offset(55));
    assert_eq!(below(&tail, 59), Some(60), "the batch that holds 54 too");
    assert_eq!(
        bases(tail.read(offset(60), offset(80), usize::MAX, true)),
        [60, 70]
    );
    assert_eq!(budget.resident_bytes(), all * 4 / 10);
}

#[test]
fn what_nothing_else_holds_stays() {
    let budget = budget(1);
    let tail = filled(0, &budget, false);
    let size = batch(0, 10, 0).size_bytes();
    assert_eq!(budget.resident_bytes(), 10 * size);
    assert_eq!(below(&tail, 0), None);
    tail.set_uploaded(offset(100));
    assert_eq!((budget.resident_bytes(), below(&tail, 0)), (0, Some(100)));
}

#[test]
fn durable_batches_spill_and_come_back_from_the_log() {
    let size = batch(0, 10, 0).size_bytes();
    let budget = budget(4 * size);
    let tail = open(0, &budget);
    for index in 0..8 {
        let batch = batch(10 * index, 10, 0);
        let spill = spill(&batch);
        tail.append(batch, spill).expect("in order");
        if index < 4 {
            tail.advance_high_watermark(offset(10 * index + 10));
        }
    }
    assert_eq!(
        budget.resident_bytes(),
        4 * size,
        "the durable half was spilled"
    );
    let read = tail.read(offset(0), offset(80), usize::MAX, true);
    assert_eq!(bases(read), [0, 10, 20, 30, 40, 50, 60, 70]);
    tail.advance_high_watermark(offset(80));
    let last = batch(80, 10, 0);
    tail.append(last.clone(), spill(&last)).expect("in order");
    assert_eq!(
        budget.resident_bytes(),
        4 * size,
        "asked again once durable"
    );
}

#[test]
fn upload_releases_the_write_ahead_log() {
    let size = batch(0, 10, 0).size_bytes();
    let budget = budget(8 * size);
    let tail = open(0, &budget);
    let mut pins = Vec::new();
    for index in 0..10 {
        let batch = batch(10 * index, 10, 0);
        let wal = Arc::new(FakeWal(batch.clone()));
        pins.push(Arc::downgrade(&wal));
        tail.append(batch, Some(wal)).expect("in order");
        tail.advance_high_watermark(offset(10 * index + 10));
    }
    assert!(pins.iter().all(|pin| pin.strong_count() == 1));
    tail.set_uploaded(offset(95));
    let pinned = pins.iter().filter(|pin| pin.strong_count() > 0).count();
    assert_eq!(pinned, 1, "only the batch not wholly uploaded pins the log");
    assert_eq!(
        below(&tail, 0),
        Some(20),
        "the two spilled ones need not be remembered"
    );
}

#[test]
fn timestamps_are_found() {
    let tail = filled(0, &budget(usize::MAX), false);
    let found = |timestamp, from, upto| {
        let (start, found) = tail.first_at_or_after(timestamp, offset(from), offset(upto));
        assert_eq!(start, offset(0));
        found.map(|batch| batch.load().expect("in memory").base_offset().get())
    };
    assert_eq!(found(0, 0, 100), Some(0));
    assert_eq!(found(1004, 0, 100), Some(40));
    assert_eq!(found(1004, 0, 49), None);
    assert_eq!(found(1010, 0, 100), None);
    assert_eq!(found(0, 41, 100), Some(40));
    assert_eq!(tail.largest_timestamp(offset(100), i64::MAX), Some(1009));
    assert_eq!(tail.largest_timestamp(offset(100), 1009), Some(1008));
    assert_eq!(tail.largest_timestamp(offset(49), i64::MAX), Some(1003));
    assert_eq!(tail.largest_timestamp(offset(9), i64::MAX), None);
}

#[test]
fn an_idle_tail_is_small() {
    let bytes = size_of::<PartitionTail>();
    assert!(bytes <= 256, "{bytes} bytes");
}

async fn is_ready(waiter: &ReadWaiter) -> bool {
    tokio::time::timeout(Duration::from_millis(1), waiter.ready())
        .await
        .is_ok()
}

#[tokio::test(start_paused = true)]
async fn wakes_when_enough_is_readable_and_names_who_moved() {
    let budget = budget(usize::MAX);
    let size = batch(0, 10, 0).size_bytes();
    let tails: Vec<_> = (0..200).map(|_| open(0, &budget)).collect();
    let waiter = ReadWaiter::new(tails.len(), 2 * size);
    let registrations: Vec<_> = (0..)
        .zip(&tails)
        .map(|(key, tail)| tail.wait(&waiter, key, tail.offsets()))
        .collect();
    tails[70].append(batch(0, 10, 0), None).expect("in order");
    assert!(!is_ready(&waiter).await, "not readable yet");
    tails[70].advance_high_watermark(offset(10));
    assert!(!is_ready(&waiter).await, "half of what it wants");
    tails[130].append(batch(0, 10, 0), None).expect("in order");
    tails[130].advance_high_watermark(offset(10));
    assert!(is_ready(&waiter).await);
    assert_eq!(waiter.take(1), [70, 130]);
    assert!(!is_ready(&waiter).await, "taken");
    tails[3].close(CloseReason::NotLeader);
    assert!(is_ready(&waiter).await);
    assert_eq!(waiter.take(1), [3]);
    drop(registrations);
    tails[9].append(batch(0, 10, 0), None).expect("in order");
    tails[9].advance_high_watermark(offset(10));
    assert!(!is_ready(&waiter).await, "no longer registered");
    assert_eq!(Arc::strong_count(&waiter), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_missed_between_read_and_registration() {
    let tail = open(0, &budget(usize::MAX));
    let seen = tail.offsets();
    tail.append(batch(0, 10, 0), None).expect("in order");
    tail.advance_high_watermark(offset(10));
    let waiter = ReadWaiter::new(1, 1);
    let _registration = tail.wait(&waiter, 0, seen);
    assert!(is_ready(&waiter).await);

    let seen = tail.offsets();
    tail.set_log_start(offset(10));
    let waiter = ReadWaiter::new(1, usize::MAX);
    let _registration = tail.wait(&waiter, 0, seen);
    assert!(
        is_ready(&waiter).await,
        "a moved log start is worth waking for"
    );
}

#[tokio::test]
async fn wakes_across_threads() {
    let tail = open(0, &budget(usize::MAX));
    let waiter = ReadWaiter::new(1, 1);
    let _registration = tail.wait(&waiter, 0, tail.offsets());
    let writer = {
        let tail = Arc::clone(&tail);
        std::thread::spawn(move || {
            tail.append(batch(0, 1, 0), None).expect("in order");
            tail.advance_high_watermark(offset(1));
        })
    };
    waiter.ready().await;
    assert_eq!(tail.offsets().high_watermark, offset(1));
    writer.join().expect("no panic");
}

#[test]
fn a_log_that_follows_another_skips_what_segments_hold() {
    let budget = budget(usize::MAX);
    let tail = filled(0, &budget, false);
    tail.skip_to(offset(50));
    assert_eq!((tail.uploaded(), tail.start()), (offset(50), offset(0)));
    tail.skip_to(offset(300));
    let offsets = tail.offsets();
    assert_eq!(offsets.log_end, offset(300));
    assert_eq!(offsets.high_watermark, offset(100), "nobody was told yet");
    assert_eq!(budget.resident_bytes(), 0, "nothing stands before a gap");
    assert_eq!(below(&tail, 299), Some(300));
    tail.advance_high_watermark(offset(300));
    tail.append(batch(300, 10, 1), None).expect("at the end");
    tail.skip_to(offset(200));
    assert_eq!(tail.offsets().log_end, offset(310), "never back");
}
