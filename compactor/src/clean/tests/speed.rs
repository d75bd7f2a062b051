//! How fast it goes: `cargo test --release -p alluvium-compactor --lib clean::tests::speed -- --ignored --nocapture`.

use alluvium_common::rand::{Random, SeededRandom};
use alluvium_segment::record_batch::Record;
use alluvium_table::TableOptions;
use bytes::Bytes;

use super::world::*;
use crate::clean::CleanOptions;

const RECORDS: i64 = 2_000_000;
const FILES: i64 = 8;
const VALUE_BYTES: usize = 200;

#[tokio::test]
#[ignore = "a measurement"]
async fn records_per_second() {
    for keys in [1_000, 1_000_000, 1_000_000_000] {
        let mut world = World::new(1, 1, &[("cleanup.policy", "compact")]).await;
        world.options.table = TableOptions::default();
        world.options.table_bytes = 256 << 20;
        world.options.clean = CleanOptions::default();
        world.restart();
        let random = SeededRandom::new(2);
        let words: Vec<u8> = (0..64 << 10)
            .map(|_| b'a' + random.below(16) as u8)
            .collect();
        let words = Bytes::from(words);
        let per_file = RECORDS / FILES;
        for file in 0..FILES {
            let records = (file * per_file..(file + 1) * per_file).map(|at| {
                let from = random.below((words.len() - VALUE_BYTES) as u64) as usize;
                Record {
                    offset: offset(at),
                    timestamp: START_MS,
                    key: Some(Bytes::from(format!("user-{:012}", random.below(keys)))),
                    value: Some(words.slice(from..from + VALUE_BYTES)),
                    headers: Vec::new(),
                }
            });
            let part = (records.collect(), (file + 1) * per_file);
            world.publish([(0, part)].into()).await;
        }
        let bytes: u64 = world
            .manifest()
            .tables()
            .iter()
            .map(|table| table.size_bytes)
            .sum();
        let began = tokio::time::Instant::now();
        world.clean(at(START_MS)).await;
        let took = began.elapsed().as_secs_f64();
        let left: u64 = world
            .manifest()
            .tables()
            .iter()
            .map(|table| table.size_bytes)
            .sum();
        println!(
            "{keys} keys: {:.0} records/s, {:.1} MB/s of table files; {} MB became {} MB",
            RECORDS as f64 / took,
            bytes as f64 / took / 1e6,
            bytes / 1_000_000,
            left / 1_000_000
        );
    }
}
