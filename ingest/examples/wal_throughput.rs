//! Prints what the write-ahead log does on this machine's disk: MB/s, CPU-seconds per GB, batches per
//! sync and the time to an acknowledgement, for one and for many producers that wait for each batch.
//! A measuring command, not a test (Linux):
//! `cargo run --release -p alluvium-ingest --example wal_throughput -- FOLDER`.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use alluvium_common::epoch::{BrokerEpoch, LeaderEpoch};
use alluvium_common::offset::Offset;
use alluvium_common::rand::SystemRandom;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use alluvium_ingest::wal::{DirDisk, Wal, WalCompletion, WalError, WalOptions, WalSession};
use alluvium_segment::record_batch::{BatchBuilder, BatchHeader, Codec, NO_HEADERS, StoredBatch};
use tokio::time::Instant;
use uuid::Uuid;

/// How long each figure is taken.
const DURATION: Duration = Duration::from_secs(3);

/// Wakes the producer that waits for its batch.
struct Done(mpsc::SyncSender<bool>);

impl WalCompletion for Done {
    fn synced(done: &mut Vec<Self>) {
        for Done(waiter) in done.drain(..) {
            let _ = waiter.send(true);
        }
    }

    fn failed(done: &mut Vec<Self>, error: &WalError) {
        eprintln!("{error}");
        for Done(waiter) in done.drain(..) {
            let _ = waiter.send(false);
        }
    }
}

/// CPU time of the process; the kernel counts it in hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

fn batch(bytes: usize) -> StoredBatch {
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..bytes.div_ceil(1024) {
        builder.push(1, None, Some(&vec![b'x'; bytes.min(1024)]), NO_HEADERS);
    }
    let raw = builder.build().expect("small");
    let header = BatchHeader::decode(&raw).expect("valid");
    StoredBatch::stamp(raw, &header, Offset::ZERO, LeaderEpoch(0)).expect("fits")
}

/// One producer: appends, waits, appends. Answers the time of each wait.
fn produce(wal: &Wal<Done>, batch: &StoredBatch, until: Instant) -> Vec<Duration> {
    let tp = TopicPartition::new(TopicId(Uuid::from_u128(1)), PartitionIndex(0));
    let (sender, answers) = mpsc::sync_channel(1);
    let mut waits = Vec::new();
    while Instant::now() < until {
        let started = Instant::now();
        let slot = wal.append(tp, batch, Done(sender.clone()));
        if !answers.recv().expect("each append is answered") {
            break;
        }
        waits.push(started.elapsed());
        slot.release();
    }
    waits
}

fn measure(folder: &Path, producers: usize, batch_bytes: usize) {
    let disk = Arc::new(DirDisk::open(folder).expect("folder"));
    let session = WalSession {
        broker_epoch: BrokerEpoch(1),
        random: Arc::new(SystemRandom),
    };
    let (wal, recovery) = Wal::<Done>::open(disk, WalOptions::default(), session).expect("healthy");
    recovery.release();
    let batch = batch(batch_bytes);
    let cpu = cpu_seconds();
    let started = Instant::now();
    let until = started + DURATION;
    let mut waits: Vec<_> = std::thread::scope(|scope| {
        let produce = || produce(&wal, &batch, until);
        let threads: Vec<_> = (0..producers).map(|_| scope.spawn(produce)).collect();
        let waits = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        waits.flatten().collect()
    });
    let took = started.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - cpu;
    waits.sort_unstable();
    let gigabytes = (waits.len() * batch.size_bytes()) as f64 / 1e9;
    let percentile = |share: usize| {
        waits
            .get(waits.len() * share / 100)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{producers:>3} producers, {batch_bytes:>6} B: {:>7.1} MB/s, {:>6.2} CPU-s/GB, {:>5.1} batches/sync, ack p50 {:?} p99 {:?}",
        gigabytes * 1e3 / took,
        cpu / gigabytes,
        waits.len() as f64 / wal.stats().syncs.max(1) as f64,
        percentile(50),
        percentile(99),
    );
}

fn main() {
    let folder = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "wal-throughput".to_owned());
    for (producers, batch_bytes) in [
        (1, 1024),
        (1, 16 << 10),
        (64, 1024),
        (8, 64 << 10),
        (8, 1 << 20),
    ] {
        measure(Path::new(&folder), producers, batch_bytes);
    }
}
