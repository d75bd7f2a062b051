//! Prints MB per CPU-second of writing tables and of rebuilding batches from them, and how small they get. A measuring
//! command, not a test: `cargo run --release -p alluvium-table --example throughput` (Linux).

use std::hint::black_box;

use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::record_batch::{
    BatchBuilder, BatchHeader, Codec, DecodeLimits, NO_HEADERS, StoredBatch,
};
use alluvium_table::{FinishedTable, TableFile, TableOptions, TableWriter};
use bytes::{Bytes, BytesMut};

/// Bytes handled per figure: enough for the clock's resolution, little enough for a short wait.
const BYTES: usize = 512 << 20;
/// Record bytes of a table: several row groups.
const TABLE_BYTES: usize = 128 << 20;

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
    println!("{what:<64} {:>6.0} MB per CPU-second", megabytes / took);
}

/// SplitMix64: the same events at every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Small numbers are more frequent, as with users and pages.
    fn skewed(&mut self, bound: u64) -> u64 {
        let (one, other) = (self.below(bound), self.below(bound));
        one * other / bound
    }
}

const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Mobile",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:127.0) Firefox/127.0",
    "okhttp/4.12.0",
];

/// An event as a shop's front end logs it, about 300 bytes.
fn event(number: u64, noise: &mut Noise) -> Vec<u8> {
    let kinds = [
        "page_view",
        "page_view",
        "click",
        "search",
        "add_to_cart",
        "purchase",
    ];
    let pages = ["product", "product", "category", "search", "checkout"];
    let event = format!(
        "{{\"id\":\"{:016x}\",\"ts\":{},\"type\":\"{}\",\"user_id\":{},\"session\":\"s-{:08x}\",\
         \"url\":\"https://shop.example.com/{}/{}\",\"agent\":\"{}\",\"country\":\"{}\",\
         \"latency_ms\":{:.2},\"price\":{}.{:02}}}",
        noise.next(),
        1_750_000_000_000 + number * 3 + noise.below(40),
        kinds[noise.below(6) as usize],
        noise.skewed(200_000),
        noise.below(20_000) * 214_013,
        pages[noise.below(5) as usize],
        noise.skewed(20_000),
        AGENTS[noise.skewed(4) as usize],
        ["DE", "DE", "US", "US", "FR", "GB", "PL", "JP"][noise.below(8) as usize],
        noise.skewed(90_000) as f64 / 100.0,
        noise.skewed(300),
        [0, 49, 95, 99, 99][noise.below(5) as usize],
    );
    event.into_bytes()
}

/// 1 KiB, half of it noise.
fn half_noise(number: u64, noise: &mut Noise) -> Vec<u8> {
    let mut value = Vec::with_capacity(1024);
    while value.len() < 512 {
        value.extend_from_slice(&noise.next().to_le_bytes());
    }
    while value.len() < 1024 {
        value.extend_from_slice(format!("attribute-{}=unchanged;", number % 8).as_bytes());
    }
    value
}

/// Makes the value of a record by its number.
type MakeValue = fn(u64, &mut Noise) -> Vec<u8>;

struct Input {
    kind: &'static str,
    batches: Vec<StoredBatch>,
    value_bytes: usize,
    record_bytes: usize,
    records: usize,
}

fn input(kind: &'static str, value: MakeValue, codec: Codec) -> Input {
    let mut noise = Noise(1);
    let mut input = Input {
        kind,
        batches: Vec::new(),
        value_bytes: 0,
        record_bytes: 0,
        records: 0,
    };
    let mut number = 0;
    while input.record_bytes < TABLE_BYTES {
        let mut builder = BatchBuilder::new(codec);
        let base = Offset::new(number as i64).expect("positive");
        while builder.size_bytes() < 100_000 {
            let key = noise.skewed(200_000).to_string();
            let value = value(number, &mut noise);
            let timestamp = 1_750_000_000_000 + number as i64 * 3;
            builder.push(timestamp, Some(key.as_bytes()), Some(&value), NO_HEADERS);
            input.value_bytes += value.len();
            input.records += 1;
            number += 1;
        }
        input.record_bytes += builder.size_bytes();
        let raw = builder.build().expect("small");
        let header = BatchHeader::decode(&raw).expect("valid");
        let batch = StoredBatch::stamp(raw, &header, base, LeaderEpoch(0));
        input.batches.push(batch.expect("fits"));
    }
    input
}

fn write(input: &Input, options: &TableOptions) -> (Bytes, FinishedTable) {
    let limits = DecodeLimits::default();
    let mut writer = TableWriter::new(options).expect("options");
    let begun = writer.begin_partition(PartitionIndex(0), Offset::ZERO);
    begun.expect("first");
    let mut file = BytesMut::new();
    for batch in &input.batches {
        let pushed = writer.push_batch(batch, Offset::ZERO, &limits);
        pushed.expect("in order");
        writer
            .take_bytes()
            .iter()
            .for_each(|chunk| file.extend_from_slice(chunk));
    }
    let end = input.batches.last().expect("some").next_offset();
    writer.end_partition(end).expect("open");
    let finished = writer.finish().expect("complete");
    let chunks = finished.chunks.iter();
    chunks.for_each(|chunk| file.extend_from_slice(chunk));
    (file.freeze(), finished)
}

fn read(file: &Bytes, table: &TableFile) -> usize {
    let mut got = 0;
    for stripe in 0..table.stripes().len() {
        let ranges = table.ranges(stripe);
        let slice =
            |range: &std::ops::Range<u64>| file.slice(range.start as usize..range.end as usize);
        let bytes: Vec<_> = ranges.iter().map(slice).collect();
        got += bytes.iter().map(Bytes::len).sum::<usize>();
        black_box(table.rebuild(stripe, &bytes, &|_| LeaderEpoch(0))).expect("whole");
    }
    got
}

fn measure_table(input: &Input, options: &TableOptions) {
    let (file, finished) = write(input, options);
    let tail = finished.table.tail_range();
    let tail = file.slice(tail.start as usize..);
    let table = TableFile::open(&finished.table, tail).expect("whole");
    let name = format!("{}, zstd {}", input.kind, options.zstd_level);
    let got = read(&file, &table);
    println!(
        "{name}: {} bytes a value, {:.2} value bytes per stored byte, {} stripes, {:.2}x of the file read for all, tail {} KiB, {} KiB in memory",
        input.value_bytes / input.records,
        input.value_bytes as f64 / file.len() as f64,
        table.stripes().len(),
        got as f64 / file.len() as f64,
        finished.table.tail_length >> 10,
        table.memory_bytes() >> 10,
    );
    measure(&format!("  write ({name})"), input.record_bytes, || {
        black_box(write(input, options));
    });
    measure(&format!("  rebuild ({name})"), input.record_bytes, || {
        read(&file, &table);
    });
}

fn main() {
    let only = std::env::args().nth(1);
    let inputs: [(&str, MakeValue, Codec); 4] = [
        ("events", event, Codec::None),
        ("half noise", half_noise, Codec::None),
        ("events in lz4 batches", event, Codec::Lz4),
        ("events in zstd batches", event, Codec::Zstd),
    ];
    for (kind, value, codec) in inputs {
        if only.as_deref().is_some_and(|only| only != kind) {
            continue;
        }
        let input = input(kind, value, codec);
        for zstd_level in [1, 3] {
            let options = TableOptions {
                zstd_level,
                ..TableOptions::default()
            };
            measure_table(&input, &options);
        }
    }
}
