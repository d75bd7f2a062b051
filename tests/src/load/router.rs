//! Who leads which partition, as clients learn it: from Metadata, and from the errors themselves (KIP-951).

use std::collections::HashMap;

use alluvium::config::Endpoint;
use alluvium_protocol::messages::metadata_request::MetadataRequestTopic;
use alluvium_protocol::messages::{MetadataRequest, MetadataResponse};
use alluvium_protocol::{ErrorCode, StrBytes};
use parking_lot::Mutex;
use tokio::time::timeout;
use uuid::Uuid;

use super::REQUEST_PATIENCE;
use crate::client::Client;
use crate::history::Partition;

/// Topics are named by id from here on.
const METADATA_BY_ID: i16 = 12;

/// A broker as clients know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its number.
    pub id: i32,
    /// Where it listens.
    pub endpoint: Endpoint,
}

/// What is known about a partition's leader.
#[derive(Debug, Clone)]
struct Known {
    leader: Broker,
    leader_epoch: i32,
}

/// Shared by all clients of a load.
#[derive(Debug)]
pub struct Router {
    bootstrap: Mutex<Vec<Endpoint>>,
    leaders: Mutex<HashMap<Partition, Known>>,
    /// Which broker is asked first next time.
    turn: Mutex<usize>,
}

/// What Metadata says of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// This one leads it.
    Leader(Broker),
    /// Nobody says who leads it.
    Nobody,
    /// There is no such topic.
    NoTopic,
}

impl Router {
    /// Clients that know these addresses.
    pub fn new(bootstrap: Vec<Endpoint>) -> Self {
        Self {
            bootstrap: Mutex::new(bootstrap),
            leaders: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    /// Other addresses.
    pub fn know(&self, bootstrap: Vec<Endpoint>) {
        *self.bootstrap.lock() = bootstrap;
    }

    /// All addresses, beginning with another one each time.
    pub(super) fn in_turn(&self) -> Vec<Endpoint> {
        let mut endpoints = self.bootstrap.lock().clone();
        let mut turn = self.turn.lock();
        *turn += 1;
        let count = endpoints.len().max(1);
        endpoints.rotate_left(*turn % count);
        endpoints
    }

    /// A broker by its number: brokers of a test are numbered in the order of their addresses.
    pub(super) fn broker(&self, id: i32) -> Option<Broker> {
        let place = usize::try_from(id).ok()?.checked_sub(1)?;
        let endpoint = self.bootstrap.lock().get(place)?.clone();
        Some(Broker { id, endpoint })
    }

    /// Who leads `partition`, as far as anybody knows.
    pub async fn leader(&self, partition: Partition) -> Found {
        if let Some(known) = self.leaders.lock().get(&partition) {
            return Found::Leader(known.leader.clone());
        }
        for endpoint in self.in_turn() {
            let Ok(Some(answer)) = timeout(REQUEST_PATIENCE, ask(&endpoint, partition.topic)).await
            else {
                continue;
            };
            match self.learn(partition, &answer) {
                // Another broker may know more.
                Found::Nobody => {}
                found => return found,
            }
        }
        Found::Nobody
    }

    fn learn(&self, partition: Partition, answer: &MetadataResponse) -> Found {
        let Some(topic) = answer
            .topics
            .iter()
            .find(|topic| topic.topic_id == partition.topic)
        else {
            return Found::Nobody;
        };
        if ErrorCode::from(topic.error_code) == ErrorCode::UnknownTopicId {
            return Found::NoTopic;
        }
        let found = topic
            .partitions
            .iter()
            .find(|found| found.partition_index == partition.index);
        let Some((found, leader)) = found.and_then(|found| {
            let brokers = answer.brokers.iter();
            let leader = brokers
                .filter(|broker| broker.node_id == found.leader_id)
                .find_map(|broker| address(broker.node_id, &broker.host, broker.port))?;
            Some((found, leader))
        }) else {
            return Found::Nobody;
        };
        self.remember(partition, leader.clone(), found.leader_epoch);
        Found::Leader(leader)
    }

    fn remember(&self, partition: Partition, leader: Broker, leader_epoch: i32) {
        let known = Known {
            leader,
            leader_epoch,
        };
        self.leaders.lock().insert(partition, known);
    }

    /// `broker` turned out not to lead it, or not to be there.
    pub fn forget(&self, partition: Partition, broker: i32) {
        let mut leaders = self.leaders.lock();
        if leaders
            .get(&partition)
            .is_some_and(|known| known.leader.id == broker)
        {
            leaders.remove(&partition);
        }
    }

    /// A broker that does not lead it says who does, and where that one is.
    pub(super) fn hint(&self, partition: Partition, leader: Option<Broker>, leader_epoch: i32) {
        let leaders = self.leaders.lock();
        let known = leaders.get(&partition);
        let is_older = known.is_some_and(|known| known.leader_epoch > leader_epoch);
        drop(leaders);
        if let (Some(leader), false) = (leader, is_older) {
            self.remember(partition, leader, leader_epoch);
        }
    }
}

pub(super) fn address(id: i32, host: &StrBytes, port: i32) -> Option<Broker> {
    let endpoint = Endpoint {
        host: host.as_str().to_owned(),
        port: u16::try_from(port).ok()?,
    };
    Some(Broker { id, endpoint })
}

async fn ask(endpoint: &Endpoint, topic: Uuid) -> Option<MetadataResponse> {
    let mut client = Client::try_connect(endpoint).await.ok()?;
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            topic_id: topic,
            name: None,
        }]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    client.try_call(&request, METADATA_BY_ID).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: Partition = Partition {
        topic: Uuid::from_u128(7),
        index: 0,
    };

    /// Ports of brokers are their numbers.
    fn broker(id: i32) -> Option<Broker> {
        address(id, &"127.0.0.1".into(), id)
    }

    async fn leader(router: &Router) -> Found {
        router.leader(PARTITION).await
    }

    fn found(id: i32) -> Found {
        Found::Leader(broker(id).expect("an address"))
    }

    #[tokio::test]
    async fn hints_are_followed_forward_only() {
        let router = Router::new(Vec::new());
        assert_eq!(leader(&router).await, Found::Nobody);
        router.hint(PARTITION, broker(2), 5);
        assert_eq!(leader(&router).await, found(2));
        router.hint(PARTITION, broker(1), 4);
        assert_eq!(leader(&router).await, found(2), "an older leader's word");
        router.hint(PARTITION, broker(3), 6);
        assert_eq!(leader(&router).await, found(3));
        router.hint(PARTITION, None, 7);
        assert_eq!(leader(&router).await, found(3), "a leader without address");
    }

    #[tokio::test]
    async fn only_the_broker_that_failed_is_forgotten() {
        let router = Router::new(Vec::new());
        router.hint(PARTITION, broker(2), 5);
        router.forget(PARTITION, 1);
        assert_eq!(leader(&router).await, found(2));
        router.forget(PARTITION, 2);
        assert_eq!(leader(&router).await, Found::Nobody);
    }

    #[test]
    fn metadata_names_leaders_and_topics_that_are_gone() {
        use alluvium_protocol::messages::metadata_response::{
            MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
        };
        let router = Router::new(Vec::new());
        let mut answer = MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: 2,
                host: "127.0.0.1".into(),
                port: 2,
                ..MetadataResponseBroker::default()
            }],
            topics: vec![MetadataResponseTopic {
                topic_id: PARTITION.topic,
                partitions: vec![MetadataResponsePartition {
                    leader_id: 2,
                    leader_epoch: 1,
                    ..MetadataResponsePartition::default()
                }],
                ..MetadataResponseTopic::default()
            }],
            ..MetadataResponse::default()
        };
        assert_eq!(router.learn(PARTITION, &answer), found(2));
        answer.topics[0].partitions[0].leader_id = -1;
        assert_eq!(router.learn(PARTITION, &answer), Found::Nobody);
        answer.topics[0].error_code = ErrorCode::UnknownTopicId.code();
        assert_eq!(router.learn(PARTITION, &answer), Found::NoTopic);
    }

    #[test]
    fn brokers_are_asked_in_turn_and_found_by_number() {
        let endpoints: Vec<_> = (1..=3)
            .filter_map(broker)
            .map(|broker| broker.endpoint)
            .collect();
        let router = Router::new(endpoints.clone());
        let firsts: Vec<_> = (0..3).map(|_| router.in_turn().remove(0).port).collect();
        assert_eq!(firsts, [2, 3, 1]);
        assert_eq!(router.broker(3), broker(3));
        assert_eq!((router.broker(0), router.broker(4)), (None, None));
    }
}
