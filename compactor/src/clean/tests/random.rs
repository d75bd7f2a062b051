//! I21 against a model: whatever is published, cleaned and joined when, and however little memory there is.

use std::collections::BTreeMap;

use alluvium_common::rand::{Random, SeededRandom};
use alluvium_segment::record_batch::{Record, RecordHeader};
use bytes::Bytes;

use super::model::Model;
use super::world::*;

/// Enough for every kind of thing to happen often; some seconds.
const SEEDS: u64 = 16;

struct Run {
    world: World,
    random: std::sync::Arc<SeededRandom>,
    models: Vec<Model>,
    ends: Vec<i64>,
    log_starts: Vec<i64>,
    keys: u64,
    retention_ms: i64,
    now_ms: i64,
}

impl Run {
    async fn new(seed: u64) -> Self {
        let random = SeededRandom::new(seed);
        let partitions = 1 + random.below(3) as i32;
        let pick = |from: &[i64]| from[random.below(from.len() as u64) as usize];
        let retention_ms = pick(&[0, 10, 5_000, 100_000]);
        let policy = ["compact", "compact,delete"][random.below(2) as usize];
        let ratio = ["0", "0.3", "0.5", "0.9"][random.below(4) as usize];
        let configs = [
            ("cleanup.policy", policy),
            ("delete.retention.ms", &retention_ms.to_string()),
            ("min.cleanable.dirty.ratio", ratio),
            ("min.compaction.lag.ms", &pick(&[0, 0, 3_000]).to_string()),
            (
                "max.compaction.lag.ms",
                &pick(&[4_000, i64::MAX]).to_string(),
            ),
        ];
        let mut world = World::new(seed, partitions, &configs).await;
        world.options.table.raw_headers = random.below(2) == 0;
        let map_keys = pick(&[1, 3, 20, 10_000]) as usize;
        world.options.clean.cover_bytes = pick(&[1, 10_000, i64::MAX]) as u64;
        let run_bytes = pick(&[1, 4_000, i64::MAX]) as u64;
        Self {
            world: world.with(map_keys, run_bytes),
            models: (0..partitions).map(|_| Model::default()).collect(),
            ends: vec![0; partitions as usize],
            log_starts: vec![0; partitions as usize],
            keys: pick(&[1, 5, 40, 1_000_000]) as u64,
            now_ms: START_MS,
            retention_ms,
            random,
        }
    }

    fn record(&self, at: i64) -> Record {
        let random = &self.random;
        let key = random.below(self.keys);
        let padding = "p".repeat(random.below(60) as usize);
        let headers = (0..random.below(2)).map(|_| RecordHeader {
            key: Bytes::from_static(match self.world.options.table.raw_headers {
                true => b"\xff",
                false => b"h",
            }),
            value: None,
        });
        Record {
            offset: offset(at),
            timestamp: match random.below(20) {
                0 => -1,
                _ => self.now_ms - random.below(2_000) as i64,
            },
            key: (random.below(50) > 0).then(|| Bytes::from(format!("key {key}"))),
            value: (random.below(4) > 0).then(|| Bytes::from(format!("{at}{padding}"))),
            headers: headers.collect(),
        }
    }

    async fn publish(&mut self) -> BTreeMap<i32, (Vec<Record>, i64)> {
        let mut parts = BTreeMap::new();
        for partition in 0..self.models.len() {
            if self.random.below(4) == 0 {
                continue;
            }
            let mut records = Vec::new();
            let mut at = self.ends[partition];
            for _ in 0..1 + self.random.below(40) {
                at += i64::from(self.random.below(8) == 0);
                records.push(self.record(at));
                at += 1;
            }
            self.ends[partition] = at;
            self.models[partition].publish(&records);
            parts.insert(partition as i32, (records, at));
        }
        self.world.publish(parts.clone()).await;
        parts
    }

    async fn check(&mut self, time: super::super::time::CleanTime) {
        for (partition, model) in (0..).zip(&mut self.models) {
            if self.ends[partition as usize] > 0 {
                model
                    .check(&self.world, partition, time, self.retention_ms)
                    .await;
            }
        }
    }

    async fn act(&mut self) {
        match self.random.below(10) {
            0..=3 => drop(self.publish().await),
            4..=6 => {
                let time = at(self.now_ms);
                let steps = 1 + self.random.below(6);
                for _ in 0..steps {
                    let done = self.world.step(time).await;
                    let done = done.unwrap_or_else(|error| {
                        // What was joined in between is to be cleaned anew.
                        assert!(matches!(error, crate::publish::PublishError::Superseded));
                        false
                    });
                    self.check(time).await;
                    if !done {
                        break;
                    }
                }
            }
            7 if !self.world.manifests.is_empty() => self.world.join().await,
            8 if self.random.below(3) == 0 => {
                let partition = self.random.below(self.models.len() as u64) as usize;
                let (from, to) = (self.log_starts[partition], self.ends[partition]);
                let log_start = from + self.random.below((to - from + 1) as u64) as i64;
                self.log_starts[partition] = log_start;
                self.models[partition].delete_before(log_start);
                self.world.set_log_start(partition as i32, log_start).await;
            }
            8 => self.world.restart(),
            _ => self.now_ms += 1 + self.random.below(5_000) as i64,
        }
    }
}

#[tokio::test]
async fn whatever_happens_the_latest_of_each_key_is_there() {
    let (mut cleaned, mut partial) = (0, 0);
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut run = Run::new(seed).await;
        for _ in 0..40 {
            run.act().await;
        }
        let clean = &run.world.seams.metrics.clean;
        (cleaned, partial) = (
            cleaned + clean.passes.get(),
            partial + clean.partial_passes.get(),
        );
    }
    assert!(
        cleaned > 3 * SEEDS && partial > SEEDS,
        "{cleaned} {partial}"
    );
}

/// With room for all keys, nothing is there that need not be.
#[tokio::test]
async fn with_enough_memory_exactly_what_is_needed_is_there() {
    for seed in 100..120 {
        println!("seed {seed}");
        let mut run = Run::new(seed).await;
        run.world
            .set_topic(
                run.models.len() as i32,
                &[
                    ("cleanup.policy", "compact"),
                    ("min.cleanable.dirty.ratio", "0"),
                    ("delete.retention.ms", "0"),
                ],
            )
            .await;
        run.retention_ms = 0;
        run.world = run.world.with(100_000, u64::MAX);
        let mut expected: Vec<Vec<Record>> = vec![Vec::new(); run.models.len()];
        for _ in 0..6 {
            let before = run.ends.clone();
            let new = run.publish().await;
            run.world.clean(at(run.now_ms)).await;
            run.check(at(run.now_ms)).await;
            run.now_ms += 1;
            for (partition, (records, _)) in new {
                let was = before[partition as usize];
                let expected = &mut expected[partition as usize];
                // Those that the cleaning before saw.
                expected.retain(|old| old.value.is_some());
                expected.extend(records);
                *expected = latest_only(expected);
                let stored = run.world.stored(partition).await;
                assert_eq!(stored, *expected, "partition {partition} from {was} on");
            }
        }
    }
}

fn latest_only(records: &[Record]) -> Vec<Record> {
    let is_latest = |(at, record): &(usize, &Record)| {
        let later = &records[at + 1..];
        later.is_empty()
            || (record.key.is_some() && later.iter().all(|later| later.key != record.key))
    };
    let latest = records.iter().enumerate().filter(is_latest);
    latest.map(|(_, record)| record.clone()).collect()
}
