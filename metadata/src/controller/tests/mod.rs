//! Controllers at work on a store that may fail.

mod elections;
mod orphans;
mod unclean;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::clock::ManualClock;
use alluvium_common::rand::SeededRandom;
use alluvium_common::topic::TopicPartition;

use super::plan::unclean_as_configured;
use super::testing::{broker, keys, opened, topic, tp};
use super::*;
use crate::model::{BrokerRecord, PartitionRecord};
use crate::store::fault::{Faults, FaultyStore};
use crate::store::{MemoryStore, MetadataStoreExt, Revision};
use crate::value;

const TTL: Duration = Duration::from_secs(9);

/// The store, and brokers' way to it, each of which may fail.
struct World {
    memory: Arc<MemoryStore>,
}

/// A broker with its session and picture.
struct Node {
    store: Arc<dyn MetadataStore>,
    faults: Arc<Faults>,
    session: Arc<Session>,
    view: Arc<ClusterView>,
}

impl World {
    fn new() -> Self {
        Self {
            memory: Arc::new(MemoryStore::new()),
        }
    }

    async fn node(&self, broker_id: i32) -> Node {
        self.node_of(&broker(broker_id)).await
    }

    async fn node_of(&self, record: &BrokerRecord) -> Node {
        let faults = Faults::new(SeededRandom::new(1));
        let faulty = FaultyStore::new(self.memory.clone(), Arc::clone(&faults));
        let store: Arc<dyn MetadataStore> = Arc::new(faulty);
        let session = Session::open(Arc::clone(&store), &keys(), record, TTL).await;
        let view = ClusterView::open(Arc::clone(&store), keys()).await;
        Node {
            session: Arc::new(session.unwrap()),
            view: Arc::new(view.unwrap()),
            store,
            faults,
        }
    }

    async fn put(&self, tp: TopicPartition, record: &PartitionRecord) -> Revision {
        let put = self.memory.put(keys().partition(tp), value::encode(record));
        put.await.unwrap()
    }

    /// A topic whose partitions those brokers have opened.
    async fn served(&self, number: u128, leaders: &[&Node]) {
        for (index, node) in (0..).zip(leaders) {
            let (broker_id, epoch) = (node.session.broker_id(), node.session.broker_epoch());
            self.put(tp(number, index), &opened(broker_id.0, epoch))
                .await;
        }
        self.create_topic(number, i32::try_from(leaders.len()).unwrap())
            .await;
    }

    async fn create_topic(&self, number: u128, partitions: i32) {
        let record = topic(number, partitions);
        let put = self
            .memory
            .put(keys().topic(&record.name), value::encode(&record));
        put.await.unwrap();
    }

    async fn record(&self, tp: TopicPartition) -> PartitionRecord {
        let kv = self.memory.get(keys().partition(tp)).await.unwrap();
        value::decode(&kv.unwrap().value).unwrap()
    }

    /// Who leads the partitions of a topic.
    async fn leaders(&self, number: u128) -> Vec<i32> {
        let range = keys().partitions_of(tp(number, 0).topic_id);
        let (_, kvs) = self.memory.list(range).await.unwrap();
        let records = kvs.iter().map(|kv| value::decode(&kv.value).unwrap());
        records
            .map(|record: PartitionRecord| record.leader.0)
            .collect()
    }

    /// Waits until the partitions of a topic are led so.
    async fn until_led_by(&self, number: u128, expected: &[i32]) {
        let expected = expected.to_vec();
        until(async || self.leaders(number).await == expected).await;
    }
}

impl Node {
    fn controller(&self) -> Controller {
        self.controller_with(ControllerOptions::default())
    }

    fn controller_with(&self, options: ControllerOptions) -> Controller {
        let topics = TopicWriter::new(
            Arc::clone(&self.store),
            keys(),
            Arc::clone(&self.session),
            ManualClock::at(0),
            SeededRandom::new(1),
        );
        let parts = ControllerParts {
            store: Arc::clone(&self.store),
            keys: keys(),
            session: Arc::clone(&self.session),
            view: Arc::clone(&self.view),
            orphans: Arc::new(topics),
            allow_unclean: Arc::new(|topic| unclean_as_configured(topic, &Default::default())),
        };
        Controller::start(parts, options)
    }
}

/// Waits, with time standing still but for this, until that is so.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..6_000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not so within a minute");
}

/// Waits until the controller says so of itself.
async fn shows(controller: &Controller, condition: impl Fn(&ControllerStatus) -> bool) {
    until(async || condition(&controller.status().borrow())).await;
}

/// Waits until one of them is elected, and says which.
async fn elected(controllers: &[&Controller]) -> usize {
    let mut found = None;
    until(async || {
        found = controllers.iter().position(|one| one.is_controller());
        found.is_some()
    })
    .await;
    found.unwrap()
}
