//! Anything that may happen, in any order, from a seed.

use alluvium_common::object_store::Operation;
use alluvium_common::object_store::fault::{Fault, FaultRule};
use alluvium_common::offset::Offset;
use alluvium_common::rand::{Random, SeededRandom};
use alluvium_common::topic::TopicPartition;
use alluvium_metadata::session::Session;
use alluvium_metadata::store::fault::FaultRates;

use super::batches::BatchSpec;
use super::compactors::{SMALL, eager};
use super::world::World;
use super::*;
use crate::leaves::LeafLimits;
use crate::publish::bounds::Bounds;

const SEEDS: std::ops::Range<u64> = 0..20;
const EVENTS: usize = 80;

struct Chaos {
    seed: u64,
    random: Arc<SeededRandom>,
    world: World,
    /// Of `world.brokers`, those whose session lasts.
    live: Vec<usize>,
    publishers: Vec<(Arc<Session>, Publisher)>,
    topics: usize,
    next_id: i32,
}

impl Chaos {
    async fn new(seed: u64) -> Self {
        let mut chaos = Self {
            seed,
            random: SeededRandom::new(seed),
            world: World::new(seed).await,
            live: Vec::new(),
            publishers: Vec::new(),
            topics: 0,
            next_id: 1,
        };
        for _ in 0..2 {
            chaos.new_broker().await;
        }
        chaos.new_topic().await;
        chaos.new_publisher().await;
        chaos
    }

    fn below(&self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn any_live(&self) -> usize {
        self.live[self.below(self.live.len())]
    }

    fn any_partition(&self) -> TopicPartition {
        let all: Vec<_> = self.world.leaders.keys().copied().collect();
        all[self.below(all.len())]
    }

    fn id(&mut self) -> i32 {
        self.next_id += 1;
        self.next_id
    }

    async fn new_broker(&mut self) {
        let id = self.id();
        let broker = self.world.broker(id).await;
        self.live.push(broker);
    }

    async fn new_topic(&mut self) {
        self.topics += 1;
        let (name, leader) = (format!("t{}", self.topics), self.any_live());
        let partitions = 1 + self.below(3) as i32;
        self.world.topic(&name, partitions, leader).await;
    }

    async fn new_publisher(&mut self) {
        let id = self.id();
        let session = self.world.session(id).await;
        let mut options = eager();
        options.table_bytes = 5_000 << self.below(4);
        options.limits.bytes_max = 2_000 << self.below(6);
        options.limits.bytes_min = 1 << self.below(13);
        options.limits.age_max = Duration::from_millis(500);
        let below = |bound| 1 + self.world.random.below(bound) as usize;
        options.leaves = LeafLimits {
            tables: below(12),
            spans: below(30),
            kept: below(4),
        };
        let bounds = Bounds {
            backlog_blocks: 5 << self.below(8),
            ..SMALL
        };
        let publisher = self.world.bounded(&session, options, bounds);
        self.publishers.push((session, publisher));
    }

    async fn event(&mut self) {
        match self.below(30) {
            0..=9 => {
                for _ in 0..self.below(6) {
                    let batch = BatchSpec::any(&*self.random);
                    let batch = match self.below(40) {
                        0 if !batch.is_control => batch.with_raw_header(),
                        _ => batch,
                    };
                    let tp = self.any_partition();
                    self.world.produce(tp, batch);
                }
                let broker = self.any_live();
                self.world.seal(broker).await;
            }
            10..=16 => {
                let number = self.below(self.publishers.len().max(1));
                if let Some((_, publisher)) = self.publishers.get_mut(number) {
                    // Now and then with a picture that is behind.
                    if self.random.below(4) > 0 {
                        self.world.catch_up().await;
                    }
                    publisher.round().await;
                    // What is named by the manifest that counts, in leaves or not, stays.
                    publisher.with.graves.delete_due().await;
                }
            }
            17 => self.world.seal_all().await,
            18 | 19 => {
                let (tp, to) = (self.any_partition(), self.any_live());
                self.world.hand_over(tp, to).await;
            }
            20 => {
                let broker = self.any_live();
                self.world.fold(broker).await;
            }
            21 if self.live.len() > 1 => {
                let place = self.below(self.live.len());
                let dead = self.live.remove(place);
                let heir = self.any_live();
                self.world.kill(dead, heir).await;
                self.new_broker().await;
            }
            22 => {
                let tp = self.any_partition();
                let end = self.world.model.end(tp).get() as u64;
                let to = Offset::new(self.random.below(end + 1) as i64).expect("not negative");
                self.world.set_log_start(tp, to).await;
            }
            23 if self.topics < 6 => self.new_topic().await,
            24 => {
                let (topic, leader) = (self.any_partition().topic_id, self.any_live());
                self.world.add_partition(topic, leader).await;
            }
            25 if self.world.topics.len() > 1 => {
                let topic = self.any_partition().topic_id;
                self.world.delete_topic(topic).await;
            }
            26 if self.publishers.len() < 3 => self.new_publisher().await,
            27 => {
                let number = self.below(self.publishers.len().max(1));
                if number < self.publishers.len() {
                    let (session, _) = self.publishers.remove(number);
                    session.close().await.expect("closed");
                }
            }
            28 => self.fail(),
            29 => self.heal(),
            _ => self.world.clock.advance_ms(100),
        }
    }

    fn fail(&self) {
        let faults = [
            (Operation::Get, Fault::FlipBit),
            (Operation::Get, Fault::CutBody(100)),
            (Operation::Put, Fault::LoseReply),
            (Operation::Upload, Fault::LoseReply),
            (
                Operation::Upload,
                Fault::Refuse {
                    status: 500,
                    code: "InternalError",
                },
            ),
        ];
        for (operation, fault) in faults {
            self.world.bucket_faults.add(FaultRule {
                per_mille: 100,
                ..FaultRule::always(operation, fault)
            });
        }
        self.world.store_faults.set_rates(FaultRates {
            refused: 50,
            reply_lost: 50,
            request_lost: 50,
            ..FaultRates::default()
        });
    }

    fn heal(&self) {
        self.world.bucket_faults.heal();
        self.world.store_faults.set_rates(FaultRates::default());
    }

    /// Everything works again: what is committed gets published.
    async fn end(mut self) {
        self.heal();
        self.world.seal_all().await;
        self.new_publisher().await;
        self.world.clock.advance_ms(1_000);
        let publishers = self.publishers.iter_mut();
        let mut publishers: Vec<_> = publishers.map(|(_, publisher)| publisher).collect();
        self.world.settle(&mut publishers).await;
        self.world.check_all().await;
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_what_is_committed_is_published_once_and_in_order() {
    for seed in SEEDS {
        // Shown when the test fails: `SEEDS` of one repeats it.
        println!("seed {seed}");
        let mut chaos = Chaos::new(seed).await;
        let mut ends = BTreeMap::new();
        for _ in 0..EVENTS {
            chaos.event().await;
        }
        for topic_id in chaos.world.topics.keys() {
            chaos.world.check_topic(*topic_id).await;
        }
        for tp in chaos.world.leaders.keys() {
            ends.insert(*tp, chaos.world.published_end(*tp).await);
        }
        for _ in 0..EVENTS {
            chaos.event().await;
        }
        for tp in chaos.world.leaders.keys() {
            let before = ends.get(tp).copied().unwrap_or(0);
            let now = chaos.world.published_end(*tp).await;
            assert!(now >= before, "seed {}: {tp:?} went back", chaos.seed);
        }
        chaos.end().await;
    }
}
