//! Load on a cluster: clients that find leaders and coordinators, follow them, and go on through every fault.
//!
//! ```text
//! lanes     one producer on one partition each: idempotent, acks=all, acks=1
//! readers   one on each partition through each broker, and through the leader
//! ends      ListOffsets(latest) from leaders, and from brokers that are none
//! groups    members that join, commit, leave, and commit again under the generation before
//! churn     a topic that is created, written, read and deleted again and again under one name
//! ```
//!
//! What they did and saw goes into a [`Recorder`]. An idempotent producer retries until it knows, on whichever broker leads,
//! with the same sequences; the others never retry. [`Load::recover`] waits, after the faults, until everything succeeds.

mod caller;
mod churn;
mod ends;
mod gaps;
mod group;
mod lane;
mod reader;
mod router;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use self::caller::Caller;
pub use self::gaps::Gaps;
pub use self::router::{Broker, Router};
use crate::client::Topic;
use crate::cluster::Cluster;
use crate::history::{HEALED_WITHIN, Partition, Recorder};
use crate::workload::ProducerKind;

/// How long one request may take before the connection is given up.
const REQUEST_PATIENCE: Duration = Duration::from_secs(4);
/// Pause before a client tries again.
const RETRY_AFTER: Duration = Duration::from_millis(30);
/// How long we wait for what has not recovered: longer than allowed, to tell "late" from "never".
const RECOVERY_PATIENCE: Duration = HEALED_WITHIN.saturating_mul(2);

/// A topic that the load uses.
#[derive(Debug, Clone)]
pub struct LoadTopic {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: i32,
    /// Its durability class.
    pub class: &'static str,
}

/// What the load does.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Topics, created at the start.
    pub topics: Vec<LoadTopic>,
    /// One lane for each kind on each partition.
    pub producers: Vec<ProducerKind>,
    /// Pause of a lane between two batches, so that a long run does not fill memory with its history.
    pub pace: Duration,
    /// Requests a lane has in flight at most.
    pub in_flight: usize,
    /// Consumer groups on the first topic. They are coordinated by different brokers, as it comes.
    pub groups: usize,
    /// Members of each group; 0: no group.
    pub members: usize,
    /// Create and delete a topic again and again.
    pub churn: bool,
    /// How long each phase after the faults may take before it is given up.
    pub patience: Duration,
    /// Of every choice that the load makes.
    pub seed: u64,
}

impl LoadOptions {
    /// One topic of class `object` with three partitions, all kinds of clients.
    pub fn new(seed: u64) -> Self {
        Self::of("object", seed)
    }

    /// The same with another class.
    pub fn of(class: &'static str, seed: u64) -> Self {
        Self {
            topics: vec![LoadTopic {
                name: format!("load-{class}"),
                partitions: 3,
                class,
            }],
            producers: vec![
                ProducerKind::Idempotent,
                ProducerKind::All,
                ProducerKind::Leader,
            ],
            pace: Duration::from_millis(10),
            in_flight: 3,
            groups: 1,
            members: 2,
            churn: true,
            patience: RECOVERY_PATIENCE,
            seed,
        }
    }
}

/// What all clients share.
#[derive(Debug, Clone)]
struct Shared {
    router: Arc<Router>,
    recorder: Recorder,
    gaps: Arc<Gaps>,
    /// Counts what must go on: each kind of client names what it has done.
    progress: Arc<watch::Sender<u64>>,
    stopping: watch::Receiver<bool>,
}

impl Shared {
    fn caller(&self) -> Caller {
        Caller::new(Arc::clone(&self.router))
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    fn progressed(&self, what: &str, partition: Option<Partition>) {
        self.gaps.done(what, partition);
        self.progress.send_modify(|count| *count += 1);
    }
}

/// Load that runs in the background.
#[derive(Debug)]
pub struct Load {
    topics: Vec<(Topic, i32)>,
    shared: Shared,
    stop: watch::Sender<bool>,
    patience: Duration,
    lanes: JoinSet<()>,
    others: JoinSet<()>,
}

impl Load {
    /// Creates the topics and starts.
    pub async fn start(cluster: &Cluster, options: &LoadOptions, recorder: &Recorder) -> Self {
        let (stop, stopping) = watch::channel(false);
        let shared = Shared {
            router: Arc::new(Router::new(cluster.endpoints())),
            recorder: recorder.clone(),
            gaps: Arc::default(),
            progress: Arc::new(watch::Sender::new(0)),
            stopping,
        };
        let mut caller = shared.caller();
        let mut topics = Vec::new();
        for topic in &options.topics {
            let created = churn::create_until(&mut caller, &shared, topic).await;
            topics.push((created, topic.partitions));
        }
        let mut load = Self {
            topics,
            shared,
            stop,
            patience: options.patience,
            lanes: JoinSet::new(),
            others: JoinSet::new(),
        };
        load.expect(options);
        load.start_lanes(options);
        load.start_others(options, cluster.nodes().len());
        load
    }

    /// What the load does that never succeeds would else not be missed.
    fn expect(&self, options: &LoadOptions) {
        let gaps = &self.shared.gaps;
        for (place, (topic, partitions)) in self.topics.iter().enumerate() {
            for partition in (0..*partitions).map(|index| topic.partition(index)) {
                let is_in_group = place == 0 && options.members > 0;
                let whats = [
                    ("produce", !options.producers.is_empty()),
                    ("fetch", true),
                    ("list offsets", true),
                    ("commit offset", is_in_group),
                ];
                for (what, _) in whats.iter().filter(|(_, is_done)| *is_done) {
                    gaps.expect(what, Some(partition));
                }
            }
        }
        if options.churn {
            gaps.expect("topics", None);
        }
    }

    fn start_lanes(&mut self, options: &LoadOptions) {
        let mut number = 0;
        for (topic, partitions) in &self.topics {
            for index in 0..*partitions {
                for kind in &options.producers {
                    number += 1;
                    let shared = self.shared.clone();
                    let lane =
                        lane::Lane::new(number, *kind, topic.clone(), index, options, shared);
                    self.lanes.spawn(lane.run());
                }
            }
        }
    }

    fn start_others(&mut self, options: &LoadOptions, brokers: usize) {
        for (topic, partitions) in &self.topics {
            // Reader 0 follows the leader.
            for through in 0..=brokers {
                for index in 0..*partitions {
                    let shared = self.shared.clone();
                    let through = i32::try_from(through).expect("a few brokers");
                    let pinned = (through > 0).then_some(through);
                    let reader = reader::Reader::new(topic.clone(), index, pinned, shared);
                    self.others.spawn(reader.run());
                }
            }
            let shared = self.shared.clone();
            let asking = ends::ask(topic.clone(), *partitions, options.seed, shared);
            self.others.spawn(asking);
        }
        let (topic, partitions) = &self.topics[0];
        for number in 0..options.members * options.groups {
            let shared = self.shared.clone();
            let (group, seed) = (number / options.members, options.seed);
            let member =
                group::Member::new(group, number, topic.clone(), *partitions, seed, shared);
            self.others.spawn(member.run());
        }
        if options.churn {
            let shared = self.shared.clone();
            self.others
                .spawn(churn::run(options.topics[0].class, shared));
        }
    }

    /// Topics with their numbers of partitions.
    pub fn topics(&self) -> &[(Topic, i32)] {
        &self.topics
    }

    /// The longest time without a leader, as producers saw it.
    pub fn gaps(&self) -> &Gaps {
        &self.shared.gaps
    }

    /// Clients learn of brokers that have joined.
    pub fn know(&self, cluster: &Cluster) {
        self.shared.router.know(cluster.endpoints());
    }

    /// Waits until so much more has succeeded, of whatever kind.
    pub async fn progress(&self, count: u64) {
        let mut progress = self.shared.progress.subscribe();
        let wanted = *progress.borrow() + count;
        let reached = progress.wait_for(|have| *have >= wanted);
        timeout(RECOVERY_PATIENCE, reached)
            .await
            .expect("the load goes on")
            .expect("the load runs");
    }

    /// I22: after the faults, waits until everything that the load does has succeeded again, and records how long each
    /// thing took. `meanwhile` is called now and then.
    pub async fn recover(&self, mut meanwhile: impl FnMut()) {
        let began = Instant::now();
        let mut progress = self.shared.progress.subscribe();
        let mut waiting = self.shared.gaps.names();
        while !waiting.is_empty() && began.elapsed() < self.patience {
            meanwhile();
            let gaps = &self.shared.gaps;
            waiting.retain(|name| match gaps.last(name) {
                Some(last) if last > began => {
                    let took = last.duration_since(began);
                    self.shared.recorder.recovered(name.clone(), Some(took));
                    false
                }
                _ => true,
            });
            // Whether something happened or nothing did: the clock decides how long we wait.
            let _either = timeout(RETRY_AFTER, progress.changed()).await;
        }
        for name in waiting {
            self.shared.recorder.recovered(name, None);
        }
    }

    /// Starts nothing more, and waits until the fate of all that was sent is known. Those who cannot find out are
    /// given up.
    pub async fn finish(mut self) {
        self.stop.send_replace(true);
        for clients in [&mut self.lanes, &mut self.others] {
            let ended = async {
                while let Some(ended) = clients.join_next().await {
                    ended.expect("a client that ends well");
                }
            };
            if timeout(self.patience, ended).await.is_err() {
                let left = clients.len();
                let what = format!("{left} clients learn the fate of what they have sent");
                self.shared.recorder.recovered(what, None);
                clients.shutdown().await;
            }
        }
    }

    /// Reads all topics to their ends, from each partition's leader.
    pub async fn read_all(
        topics: &[(Topic, i32)],
        cluster: &Cluster,
        patience: Duration,
        recorder: &Recorder,
    ) {
        let deadline = Instant::now() + patience;
        let router = Arc::new(Router::new(cluster.endpoints()));
        for (topic, partitions) in topics {
            for index in 0..*partitions {
                reader::read_to_the_end(&router, topic, index, deadline, recorder).await;
            }
        }
    }
}
