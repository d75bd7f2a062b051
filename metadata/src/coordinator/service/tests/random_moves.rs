//! Shards that move back and forth under commits, with brokers that hear of it late, freeze, lose their sessions, and
//! a store whose answers are lost. I14: a committed offset read back is never older than the last acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use alluvium_common::rand::{Random, SeededRandom, SharedRandom};
use tokio::task::JoinSet;

use super::super::*;
use super::cluster::*;
use super::world::group_shard;
use crate::model::CoordinatorRecord;
use crate::store::fault::{FaultRates, Faults, FaultyStore};
use crate::store::{MetadataStoreExt, Revision};
use crate::value;

const BROKERS: i32 = 3;
const GROUPS: [&str; 5] = ["g", "orders", "a/b", "größe", "123456789"];
const RUN: Duration = Duration::from_secs(20);

/// What a client knows of its group's offset.
#[derive(Default)]
struct Known {
    acknowledged: AtomicI64,
    asked: AtomicI64,
}

struct Run {
    cluster: Cluster,
    brokers: Vec<parking_lot::Mutex<Broker>>,
    faults: Vec<Arc<Faults>>,
    known: Vec<Known>,
    random: Arc<SeededRandom>,
    is_over: AtomicBool,
    acknowledged: AtomicU64,
    reads: AtomicU64,
    refused: AtomicU64,
}

impl Run {
    async fn new(seed: u64) -> Self {
        let cluster = Cluster::new();
        let random = SeededRandom::new(seed);
        let (mut brokers, mut faults) = (Vec::new(), Vec::new());
        for id in 1..=BROKERS {
            let (broker, of_store) = start_broker(&cluster, id, random.clone()).await;
            brokers.push(parking_lot::Mutex::new(broker));
            faults.push(of_store);
        }
        Self {
            cluster,
            brokers,
            faults,
            known: GROUPS.map(|_| Known::default()).into(),
            random,
            is_over: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn any_broker(&self) -> Broker {
        self.brokers[self.below(BROKERS as u64) as usize]
            .lock()
            .clone()
    }

    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::SeqCst)
    }

    async fn pause(&self, up_to_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.below(up_to_ms))).await;
    }

    /// One commit after the other, each of a higher offset, to whoever takes it.
    async fn commit(&self, group: usize) {
        let known = &self.known[group];
        for offset in 1.. {
            known.asked.store(offset, Ordering::SeqCst);
            while self.goes_on() {
                match self.any_broker().commit(GROUPS[group], offset).await {
                    Ok(()) => {
                        known.acknowledged.store(offset, Ordering::SeqCst);
                        self.acknowledged.fetch_add(1, Ordering::SeqCst);
                        break;
                    }
                    Err(
                        GroupError::NotCoordinator
                        | GroupError::CoordinatorNotAvailable
                        | GroupError::CoordinatorLoadInProgress,
                    ) => self.pause(30).await,
                    Err(other) => panic!("{other:?}"),
                }
            }
            if !self.goes_on() {
                return;
            }
            self.pause(20).await;
        }
    }

    async fn read(&self, group: usize) {
        while self.goes_on() {
            let broker = self.any_broker();
            let at_least = self.known[group].acknowledged.load(Ordering::SeqCst);
            match broker.fetch(GROUPS[group]).await {
                Ok(found) => {
                    let at_most = self.known[group].asked.load(Ordering::SeqCst);
                    let found = found.unwrap_or(0);
                    let allowed = at_least..=at_most;
                    assert!(allowed.contains(&found), "{found} is not in {allowed:?}");
                    self.reads.fetch_add(1, Ordering::SeqCst);
                }
                Err(_) => {
                    self.refused.fetch_add(1, Ordering::SeqCst);
                }
            }
            self.pause(10).await;
        }
    }

    /// The controller, brokers that see its records sooner or later, and misfortune.
    async fn trouble(&self) {
        while self.goes_on() {
            self.pause(200).await;
            let group = GROUPS[self.below(GROUPS.len() as u64) as usize];
            let shard = group_shard(&group.into());
            let index = self.below(BROKERS as u64) as usize;
            match self.below(10) {
                0 => self.faults[index].away_for(Duration::from_millis(self.below(3000))),
                1 => self.replace_session(index).await,
                2 => self.any_broker().groups.close_shard(shard),
                _ => self.give(shard, index).await,
            }
        }
    }

    async fn give(&self, shard: GroupShard, index: usize) {
        let broker = self.brokers[index].lock().clone();
        let id = broker.session.broker_id().0;
        let revision = self.cluster.assign(shard, id).await;
        // Not found out by those who had it before, except by trying.
        let _may_fail = broker.open(shard, revision).await;
    }

    /// What is open goes on in the belief of its old session.
    async fn replace_session(&self, index: usize) {
        let session = self.cluster.session(index as i32 + 1).await;
        self.brokers[index].lock().session = session;
    }

    /// What a broker does about shards that stop.
    async fn reopen(&self, index: usize) {
        loop {
            let broker = self.brokers[index].lock().clone();
            let stopped = broker.groups.stopped().await;
            let broker = self.brokers[index].lock().clone();
            let key = self.cluster.keys.group_coordinator(stopped.shard);
            let found = self.cluster.store.get(key).await.expect("reads");
            if let Some(revision) = found.and_then(|kv| names(&kv, &broker)) {
                let _may_fail = broker.open(stopped.shard, revision).await;
            }
        }
    }

    /// Everybody finds every acknowledged commit once the trouble is over.
    async fn settle(&self) {
        for faults in &self.faults {
            faults.set_rates(FaultRates::default());
            faults.back();
        }
        for (group, known) in GROUPS.iter().zip(&self.known) {
            let broker = self.any_broker();
            self.cluster
                .give(group_shard(&(*group).into()), &broker)
                .await;
            let found = broker.fetch(group).await.expect("served").unwrap_or(0);
            assert!(
                found >= known.acknowledged.load(Ordering::SeqCst),
                "{group}"
            );
            assert!(found <= known.asked.load(Ordering::SeqCst), "{group}");
        }
    }
}

async fn start_broker(cluster: &Cluster, id: i32, random: SharedRandom) -> (Broker, Arc<Faults>) {
    let faults = Faults::new(random);
    faults.set_rates(FaultRates {
        refused: 10,
        reply_lost: 40,
        request_lost: 20,
        delayed: 200,
        delay_max: Duration::from_millis(50),
    });
    let store = FaultyStore::new(cluster.store.clone(), faults.clone());
    (cluster.broker_over(id, Arc::new(store)).await, faults)
}

fn names(kv: &crate::store::KeyValue, broker: &Broker) -> Option<Revision> {
    let record: CoordinatorRecord = value::decode(&kv.value).expect("readable");
    (record.broker == broker.session.broker_id()).then_some(kv.mod_revision)
}

async fn run(seed: u64) {
    let run = Arc::new(Run::new(seed).await);
    let mut tasks = JoinSet::new();
    let mut helpers = JoinSet::new();
    for group in 0..GROUPS.len() {
        let (writer, reader) = (run.clone(), run.clone());
        tasks.spawn(async move { writer.commit(group).await });
        tasks.spawn(async move { reader.read(group).await });
    }
    for index in 0..BROKERS as usize {
        let run = run.clone();
        helpers.spawn(async move { run.reopen(index).await });
    }
    let trouble = run.clone();
    tasks.spawn(async move { trouble.trouble().await });
    tokio::time::sleep(RUN).await;
    run.is_over.store(true, Ordering::SeqCst);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    helpers.shutdown().await;
    run.settle().await;
    let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    let (acknowledged, reads) = (count(&run.acknowledged), count(&run.reads));
    assert!(acknowledged > 500, "seed {seed}: {acknowledged} commits");
    assert!(reads > 500, "seed {seed}: {reads} reads");
    assert!(count(&run.refused) > 500, "seed {seed}: too little trouble");
}

#[tokio::test(start_paused = true)]
async fn no_offset_read_is_older_than_the_last_acknowledged() {
    for seed in 0..6 {
        run(seed).await;
    }
}
