//! Prints MB per CPU-second of what the write and read path do to every byte. A measuring command,
//! not a test: `cargo run --release -p alluvium-segment --example throughput` (Linux).

use std::hint::black_box;

use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use alluvium_segment::record_batch::{
    BatchBuilder, BatchHeader, Codec, DecodeLimits, NO_HEADERS, StoredBatch, check_crc,
    check_records, split,
};
use alluvium_segment::segment_object::{
    EncodeOptions, SegmentEntry, SegmentHeader, decode_block, encode,
};
use alluvium_segment::wal_frame::{FrameHeader, encode_head};
use bytes::Bytes;
use uuid::Uuid;

/// Bytes handled per figure: enough for the clock's resolution, little enough for a short wait.
const BYTES: usize = 512 << 20;

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos = stat
        .split(' ')
        .next()
        .and_then(|field| field.parse::<f64>().ok());
    nanos.expect("nanoseconds on a CPU") / 1e9
}

fn measure(what: &str, bytes_per_run: usize, mut run: impl FnMut()) {
    run();
    let runs = (BYTES / bytes_per_run).max(1);
    let started = cpu_seconds();
    (0..runs).for_each(|_| run());
    let took = cpu_seconds() - started;
    let megabytes = (runs * bytes_per_run) as f64 / 1e6;
    println!("{what:<44} {:>8.0} MB per CPU-second", megabytes / took);
}

/// JSON events as services log them, about 1 KiB each.
fn json_value(number: u64, state: &mut u64) -> Vec<u8> {
    let mut out = String::new();
    while out.len() < 900 {
        *state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let noise = *state >> 33;
        out.push_str(&format!(
            "{{\"event\":{number},\"user_id\":\"u-{noise:08x}\",\"path\":\"/api/v1/orders/{}\",\
             \"status\":{},\"latency_us\":{},\"region\":\"eu-central-1\"}}",
            noise % 5_000,
            [200, 200, 200, 404, 500][(noise % 5) as usize],
            noise % 90_000,
        ));
    }
    out.into_bytes()
}

fn noise_value(_: u64, state: &mut u64) -> Vec<u8> {
    let next = || {
        *state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (*state >> 56) as u8
    };
    std::iter::repeat_with(next).take(1024).collect()
}

fn batches(value: fn(u64, &mut u64) -> Vec<u8>, count: usize, records: u64) -> Vec<StoredBatch> {
    let mut state = 1;
    let mut next = 0;
    let one = |_| {
        let mut builder = BatchBuilder::new(Codec::None);
        for number in 0..records {
            builder.push(1, None, Some(&value(number, &mut state)), NO_HEADERS);
        }
        let raw = builder.build().expect("small");
        let header = BatchHeader::decode(&raw).expect("valid");
        let base = Offset::new(next).expect("positive");
        next += records as i64;
        StoredBatch::stamp(raw, &header, base, LeaderEpoch(0)).expect("fits")
    };
    (0..count).map(one).collect()
}

fn tp() -> TopicPartition {
    TopicPartition::new(TopicId(Uuid::from_u128(1)), PartitionIndex(0))
}

fn measure_segment(kind: &str, batches: &[StoredBatch], level: Option<i32>) {
    let header = SegmentHeader {
        broker_id: BrokerId(1),
        broker_epoch: BrokerEpoch(1),
        created_ms: 0,
    };
    let options = EncodeOptions {
        zstd_level: level,
        ..EncodeOptions::default()
    };
    let tp = tp();
    let entry = |batch: &StoredBatch| SegmentEntry {
        tp,
        batch: batch.clone(),
    };
    let entries = || batches.iter().map(entry).collect::<Vec<_>>();
    let bytes: usize = batches.iter().map(StoredBatch::size_bytes).sum();
    let encoded = encode(&header, entries(), &options).expect("contiguous");
    let ratio = bytes as f64 / encoded.size_bytes as f64;
    let level = level.map_or("off".to_owned(), |level| level.to_string());
    measure(
        &format!("segment encode, {kind}, zstd {level} ({ratio:.1}x)"),
        bytes,
        || {
            black_box(encode(&header, entries(), &options).expect("contiguous"));
        },
    );
    let object: Bytes = encoded.chunks.concat().into();
    measure(
        &format!("segment decode, {kind}, zstd {level}"),
        bytes,
        || {
            for block in &encoded.footer.partitions[0].blocks {
                let start = block.position as usize;
                let stored = object.slice(start..start + block.stored_length as usize);
                let raw = decode_block(block, stored).expect("valid");
                black_box(split(&raw).count());
            }
        },
    );
}

fn main() {
    let limits = DecodeLimits::default();
    let json = batches(json_value, 2_000, 16);
    let whole: Vec<_> = json.iter().map(StoredBatch::to_bytes).collect();
    let bytes: usize = whole.iter().map(Bytes::len).sum();
    measure("batch checksum, 16 records of 1 KiB", bytes, || {
        whole.iter().for_each(|raw| check_crc(raw).expect("valid"));
    });
    measure("batch walk, 16 records of 1 KiB", bytes, || {
        for raw in &whole {
            let header = BatchHeader::decode(raw).expect("valid");
            black_box(check_records(&header, raw, &limits).expect("valid"));
        }
    });
    let small = batches(|number, _| number.to_be_bytes().repeat(12), 500, 100);
    let whole: Vec<_> = small.iter().map(StoredBatch::to_bytes).collect();
    let small_bytes: usize = whole.iter().map(Bytes::len).sum();
    measure("batch walk, 100 records of 96 bytes", small_bytes, || {
        for raw in &whole {
            let header = BatchHeader::decode(raw).expect("valid");
            black_box(check_records(&header, raw, &limits).expect("valid"));
        }
    });
    measure("WAL frame heads, 16 KiB batches", bytes, || {
        for batch in &json {
            let header = FrameHeader {
                broker_epoch: BrokerEpoch(1),
                sequence: 1,
                synced_position: 0,
                tp: tp(),
                batch_bytes: batch.size_bytes() as u32,
            };
            black_box(encode_head(7, &header, batch));
        }
    });
    let noise = batches(noise_value, 2_000, 16);
    measure_segment("noise", &noise, Some(1));
    for level in [None, Some(1), Some(-1), Some(-3), Some(-7)] {
        measure_segment("JSON", &json, level);
    }
}
