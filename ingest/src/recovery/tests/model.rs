//! Random producers, faults and crashes against a simple model.
//!
//! Whatever happens, at every moment and after every crash:
//! - what was acknowledged is read back, once, at the offset that was told (I2, I10, I11);
//! - what failed definitely is never read (I4);
//! - what was read once stays as it was (I1);
//! - a producer's batches stand in the order of their sequences, without a gap (I9).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alluvium_common::error::Outcome;
use alluvium_common::object_store::Operation;
use alluvium_common::object_store::fault::{Fault, FaultRule};
use alluvium_common::rand::{Random, SeededRandom};
use alluvium_metadata::topic_config::Durability;
use futures::FutureExt;

use crate::ack::AppendTicket;
use crate::error::AppendError;
use crate::pipeline::testing::*;
use crate::seams::WalState;
use crate::validate::TopicRules;

const PARTITIONS: i32 = 3;
const PRODUCERS: usize = 4;
const STEPS: usize = 250;
const SEEDS: u64 = 40;
/// Kafka's limit for idempotent producers.
const IN_FLIGHT_MAX: usize = 5;

/// An idempotent producer writing to one partition.
struct Producer {
    id: i64,
    partition: i32,
    /// By sequence: not acknowledged yet, oldest first.
    in_flight: Vec<(i32, u32, Option<AppendTicket>)>,
    next_sequence: i32,
    /// Acknowledged: sequence, count, base offset.
    acknowledged: Vec<(i32, u32, i64)>,
}

impl Producer {
    fn tag(&self, sequence: i32) -> String {
        format!("p{}s{sequence}", self.id)
    }
}

struct Run {
    seed: u64,
    random: Arc<SeededRandom>,
    world: Arc<World>,
    rig: Option<Rig>,
    producers: Vec<Producer>,
    /// Batches without a producer id that wait for their answer.
    plain: Vec<(i32, String, AppendTicket)>,
    next_tag: u64,
    acknowledged: BTreeMap<(i32, String), i64>,
    failed: Vec<String>,
    seen: BTreeMap<(i32, i64), String>,
    crashes: u32,
}

impl Run {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let rig = Rig::start(&world, Self::options());
        for partition in 0..PARTITIONS {
            rig.create(partition, TopicRules::default());
        }
        let producers = (0..PRODUCERS).map(|id| Producer {
            id: id as i64,
            partition: id as i32 % PARTITIONS,
            in_flight: Vec::new(),
            next_sequence: 0,
            acknowledged: Vec::new(),
        });
        Self {
            seed,
            random: SeededRandom::new(seed),
            world,
            rig: Some(rig),
            producers: producers.collect(),
            plain: Vec::new(),
            next_tag: 0,
            acknowledged: BTreeMap::new(),
            failed: Vec::new(),
            seen: BTreeMap::new(),
            crashes: 0,
        }
    }

    fn options() -> RigOptions {
        RigOptions {
            auto_sync: false,
            // Small, so that tails are evicted and spilled.
            tail_bytes: 4096,
            ..RigOptions::default()
        }
    }

    fn rig(&self) -> &Rig {
        self.rig.as_ref().expect("running")
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    async fn step(&mut self) {
        match self.below(100) {
            0..35 => self.produce(),
            35..45 => self.repeat(),
            45..50 => self.produce_with_a_gap(),
            50..58 => self.produce_plain(),
            58..72 => self.rig().wal.sync(),
            72..85 => tokio::time::sleep(Duration::from_millis(self.below(400))).await,
            85..89 => self.change_class(),
            89..92 => self.change_faults(),
            92 => tokio::time::sleep(Duration::from_secs(11)).await,
            93 => self.rig().wal.fail(),
            94..97 => self.crash().await,
            _ => self.read().await,
        }
        self.collect();
    }

    fn produce(&mut self) {
        let pick = self.below(PRODUCERS as u64) as usize;
        let count = 1 + self.below(3) as u32;
        let in_flight = &self.producers[pick].in_flight;
        // What failed goes first: a batch in front of it would be out of order, or, for a producer that
        // the partition does not know, would take its place (Kafka accepts any first sequence).
        if in_flight.len() >= IN_FLIGHT_MAX || in_flight.iter().any(|(_, _, t)| t.is_none()) {
            return;
        }
        let sequence = self.producers[pick].next_sequence;
        let ticket = match self.send(pick, sequence, count) {
            Ok(ticket) => Some(ticket),
            // Refused before anything happened: the client tries the same again, later.
            Err(error) => {
                let refused = matches!(error, AppendError::Storage { .. });
                assert!(refused, "seed {}: {error}", self.seed);
                assert_eq!(error.outcome(), Outcome::NotDone);
                None
            }
        };
        let producer = &mut self.producers[pick];
        producer.in_flight.push((sequence, count, ticket));
        producer.next_sequence += count as i32;
    }

    fn send(&self, pick: usize, sequence: i32, count: u32) -> Result<AppendTicket, AppendError> {
        let producer = &self.producers[pick];
        let tag = producer.tag(sequence);
        let records = idempotent(producer.id, 0, sequence, &tag, count);
        self.rig().append(producer.partition, &records)
    }

    /// A retry of something in flight, or of something acknowledged shortly before.
    fn repeat(&mut self) {
        let pick = self.below(PRODUCERS as u64) as usize;
        let recent = self.producers[pick].acknowledged.iter().rev().take(5);
        let recent: Vec<_> = recent.copied().collect();
        if self.below(2) == 0 && !recent.is_empty() && self.producers[pick].in_flight.is_empty() {
            let (sequence, count, base) = recent[self.below(recent.len() as u64) as usize];
            let mut ticket = match self.send(pick, sequence, count) {
                Ok(ticket) => ticket,
                Err(error) => panic!("seed {}: a recent duplicate: {error}", self.seed),
            };
            if let Some(told) = (&mut ticket).now_or_never() {
                assert_eq!(told.expect("durable").base_offset.get(), base);
            }
            return;
        }
        self.retry(pick);
    }

    /// As a client does after a time-out: everything in flight again, in order.
    fn retry(&mut self, pick: usize) {
        for at in 0..self.producers[pick].in_flight.len() {
            let (sequence, count, _) = self.producers[pick].in_flight[at];
            match self.send(pick, sequence, count) {
                Ok(ticket) => self.producers[pick].in_flight[at].2 = Some(ticket),
                Err(error) => {
                    assert_eq!(error.outcome(), Outcome::NotDone);
                    break;
                }
            }
        }
    }

    fn produce_with_a_gap(&mut self) {
        let pick = self.below(PRODUCERS as u64) as usize;
        let producer = &self.producers[pick];
        if producer.acknowledged.is_empty() {
            return;
        }
        let tag = format!("gap{}", self.next_tag);
        let sequence = producer.next_sequence + 1000;
        let records = idempotent(producer.id, 0, sequence, &tag, 1);
        let refused = self.rig().append(producer.partition, &records);
        let error = refused.expect_err("a gap");
        assert_eq!(error.outcome(), Outcome::NotDone, "seed {}", self.seed);
        self.next_tag += 1;
        self.failed.push(tag);
    }

    fn produce_plain(&mut self) {
        let partition = self.below(PARTITIONS as u64) as i32;
        let tag = format!("plain{}", self.next_tag);
        self.next_tag += 1;
        match self.rig().append(partition, &batch(&tag, 2)) {
            Ok(ticket) => self.plain.push((partition, tag, ticket)),
            Err(_) => self.failed.push(tag),
        }
    }

    fn change_class(&mut self) {
        let partition = self.below(PARTITIONS as u64) as i32;
        let durability = match self.below(2) {
            0 => Durability::Local,
            _ => Durability::Object,
        };
        let rules = TopicRules {
            durability,
            ..TopicRules::default()
        };
        self.rig().pipeline.set_rules(&tp(partition), rules);
    }

    fn change_faults(&mut self) {
        let plan = &self.world.plan;
        plan.heal();
        let metadata = &self.world.metadata;
        let per_mille = self.below(3) * 300;
        metadata.fail_per_mille.store(per_mille, Ordering::SeqCst);
        let per_mille = self.below(3) * 300;
        metadata.lose_per_mille.store(per_mille, Ordering::SeqCst);
        let faults = [
            Fault::LoseReply,
            Fault::Hang,
            Fault::Delay(Duration::from_millis(700)),
            Fault::Refuse {
                status: 500,
                code: "InternalError",
            },
        ];
        for fault in faults {
            if self.below(2) == 0 {
                plan.add(FaultRule {
                    per_mille: 300,
                    ..FaultRule::always(Operation::Put, fault)
                });
            }
        }
    }

    fn collect(&mut self) {
        let mut answers = Vec::new();
        for producer in &mut self.producers {
            // A client takes answers in order; one that failed is sent again later.
            while let Some((sequence, count, ticket)) = producer.in_flight.first_mut() {
                let Some(told) = ticket.as_mut().and_then(|ticket| ticket.now_or_never()) else {
                    break;
                };
                match told {
                    Ok(appended) => {
                        let base = appended.base_offset.get();
                        answers.push((
                            producer.partition,
                            format!("p{}s{sequence}", producer.id),
                            base,
                        ));
                        producer.acknowledged.push((*sequence, *count, base));
                        producer.in_flight.remove(0);
                    }
                    Err(error) => {
                        assert_eq!(error.outcome(), Outcome::Unknown);
                        *ticket = None;
                    }
                }
            }
        }
        for (partition, tag, base) in answers {
            self.acknowledged.insert((partition, tag), base);
        }
        for (partition, tag, mut ticket) in std::mem::take(&mut self.plain) {
            match (&mut ticket).now_or_never() {
                None => self.plain.push((partition, tag, ticket)),
                Some(Ok(appended)) => {
                    let base = appended.base_offset.get();
                    self.acknowledged.insert((partition, tag), base);
                }
                Some(Err(error)) => assert_eq!(error.outcome(), Outcome::Unknown),
            }
        }
    }

    async fn crash(&mut self) {
        self.crashes += 1;
        let rig = self.rig.take().expect("running");
        let queued = rig.wal.queued() as u64;
        let survivors = self.below(queued + 1) as usize;
        rig.crash(survivors).await;
        self.collect();
        // Nobody answers any more: clients only know that they do not know.
        self.plain.clear();
        for producer in &mut self.producers {
            for (_, _, ticket) in &mut producer.in_flight {
                *ticket = None;
            }
        }
        let (rig, _) = Rig::recover(&self.world, Self::options(), &TopicRules::default()).await;
        self.rig = Some(rig);
        self.read().await;
    }

    /// Reads everything and compares it with what was read and told before.
    async fn read(&mut self) {
        let seed = self.seed;
        for partition in 0..PARTITIONS {
            let mut sequences: BTreeMap<String, i64> = BTreeMap::new();
            let batches = self.rig().read(partition).await;
            let end = batches.last().map_or(0, |batch| batch.next_offset().get());
            let found: BTreeMap<i64, String> = tags(&batches).into_iter().collect();
            assert_eq!(found.len(), batches.len(), "seed {seed}");
            for batch in &batches {
                let tag = tag_of(batch);
                if let Some((producer, sequence)) = tag
                    .split_once('s')
                    .filter(|_| tag.starts_with('p') && !tag.starts_with("plain"))
                {
                    let sequence: i64 = sequence.parse().expect("a number");
                    let expected = sequences.entry(producer.to_owned()).or_insert(0);
                    assert_eq!(sequence, *expected, "seed {seed}: {tag} is out of order");
                    *expected += batch.next_offset().get() - batch.base_offset().get();
                }
            }
            for ((_, offset), tag) in self.seen.range((partition, 0)..=(partition, i64::MAX)) {
                assert_eq!(
                    found.get(offset),
                    Some(tag),
                    "seed {seed}: seen before at {offset}"
                );
            }
            for ((_, tag), base) in self
                .acknowledged
                .iter()
                .filter(|((p, _), _)| *p == partition)
            {
                assert_eq!(
                    found.get(base),
                    Some(tag),
                    "seed {seed}: acknowledged at {base} of {end}"
                );
            }
            for (offset, tag) in found {
                assert!(!self.failed.contains(&tag), "seed {seed}: {tag} had failed");
                self.seen.insert((partition, offset), tag);
            }
        }
    }

    /// Faults end; every producer gets its answers without anybody's help (I22).
    async fn settle(&mut self) {
        self.world.plan.heal();
        self.world
            .metadata
            .fail_per_mille
            .store(0, Ordering::SeqCst);
        self.world
            .metadata
            .lose_per_mille
            .store(0, Ordering::SeqCst);
        if *self.rig().wal.state.lock() == WalState::Failed {
            self.crash().await;
        }
        for _ in 0..20 {
            for pick in 0..PRODUCERS {
                let unanswered = self.producers[pick]
                    .in_flight
                    .iter()
                    .any(|(_, _, t)| t.is_none());
                if unanswered {
                    self.retry(pick);
                }
            }
            self.rig().wal.sync();
            tokio::time::sleep(Duration::from_secs(2)).await;
            self.collect();
        }
        for producer in &self.producers {
            let left = &producer.in_flight;
            assert!(
                left.is_empty(),
                "seed {}: {left:?} of {}",
                self.seed,
                producer.id
            );
        }
        assert!(self.plain.is_empty(), "seed {}", self.seed);
        self.read().await;
        assert!(self.rig().pipeline.flush().await);
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.read().await;
        assert_eq!(
            self.rig().pipeline.stats().budget_used_bytes,
            0,
            "seed {}",
            self.seed
        );
        assert_eq!(self.world.disk.frames().len(), 0, "seed {}", self.seed);
    }
}

#[test]
fn acknowledged_batches_survive_everything() {
    let (mut acknowledged, mut crashes) = (0, 0);
    for seed in 0..SEEDS {
        // Shown when the test fails, or hangs.
        println!("seed {seed}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut run = Run::new(seed);
            for _ in 0..STEPS {
                run.step().await;
            }
            run.settle().await;
            acknowledged += run.acknowledged.len();
            crashes += run.crashes;
        });
    }
    assert!(
        acknowledged > 1000 && crashes > 100,
        "{acknowledged} batches, {crashes} crashes"
    );
}
