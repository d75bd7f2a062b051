//! The cluster as clients are told of it: pure.
//!
//! A partition is led by the broker that *serves* it, which is less than having the duty to: a client that is sent to a
//! broker that has not opened the partition yet would only be sent away. Only a new partition is told to be led before
//! that. Object storage replicates, so the one replica
//! that clients see is the leader.

use alluvium_common::epoch::BrokerId;
use alluvium_metadata::model::{BrokerRecord, TopicRecord};
use alluvium_metadata::view::Picture;
use alluvium_protocol::ErrorCode;

use crate::broker::Broker;

/// On the wire: no broker.
pub const NOBODY: i32 = -1;

/// The brokers that clients may connect to.
pub fn brokers(picture: &Picture) -> impl Iterator<Item = &BrokerRecord> {
    picture.brokers.all().map(|live| &live.record)
}

/// The elected controller, if it lives.
pub fn controller_id(picture: &Picture) -> i32 {
    let elected = picture.controller.map(|controller| controller.broker_id);
    let live = elected.filter(|elected| picture.brokers.get(*elected).is_some());
    live.map_or(NOBODY, |elected| elected.0)
}

/// A partition as clients are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionShape {
    /// NONE, or LEADER_NOT_AVAILABLE.
    pub error: ErrorCode,
    /// Who serves it.
    pub leader: Option<BrokerId>,
    /// The epoch of its youngest opening; -1 before the first.
    pub leader_epoch: i32,
    /// Whose duty it is to lead.
    pub replicas: Vec<i32>,
    /// The leader, if it leads.
    pub isr: Vec<i32>,
    /// The one whose duty it is, when it is not there.
    pub offline: Vec<i32>,
}

impl PartitionShape {
    /// The leader on the wire.
    pub fn leader_id(&self) -> i32 {
        self.leader.map_or(NOBODY, |leader| leader.0)
    }
}

/// The partition of that index, whether it is served or not.
pub fn partition(picture: &Picture, topic: &TopicRecord, index: i32) -> PartitionShape {
    let placed = Broker::partition(topic, index).and_then(|tp| picture.partitions.get(tp));
    let Some(placed) = placed else {
        return PartitionShape {
            error: ErrorCode::LeaderNotAvailable,
            leader: None,
            leader_epoch: -1,
            replicas: Vec::new(),
            isr: Vec::new(),
            offline: Vec::new(),
        };
    };
    let duty = placed.record.leader;
    let is_offline = picture.brokers.get(duty).is_none();
    // A new partition is about to be opened. As in Kafka it has a leader from the start: some clients (kafkajs) take one
    // partition without a leader for a failure of the whole answer, even when it is of a topic they never heard of.
    let is_new = placed.record.leader_epoch.0 < 0 && !is_offline;
    let serving = placed.serving(&picture.brokers).map(|(leader, _)| leader);
    let leader = serving.or(is_new.then_some(duty));
    PartitionShape {
        error: match leader {
            Some(_) => ErrorCode::None,
            None => ErrorCode::LeaderNotAvailable,
        },
        leader,
        leader_epoch: placed.record.leader_epoch.0,
        replicas: vec![duty.0],
        isr: leader.iter().map(|leader| leader.0).collect(),
        offline: if is_offline { vec![duty.0] } else { Vec::new() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::cluster_testing::TestCluster;

    #[tokio::test(start_paused = true)]
    async fn leaders_are_those_who_serve() {
        let cluster = TestCluster::new().await;
        cluster.broker(1).await;
        let two = cluster.broker(2).await;
        let topic = cluster.topic("t", 5).await;
        cluster.served(&topic, 0, 2).await;
        cluster.placed(&topic, 1, 2).await;
        // Once opened, in a session that is over.
        cluster.served(&topic, 2, 2).await;
        cluster.placed(&topic, 3, 9).await;
        cluster.ended(2).await;
        let again = cluster.broker(2).await;
        assert!(again > two);
        cluster.served(&topic, 0, 2).await;
        let picture = cluster.picture().await;
        let shape = |index| partition(&picture, &topic, index);

        let served = shape(0);
        assert_eq!((served.error, served.leader_id()), (ErrorCode::None, 2));
        assert_eq!((served.replicas, served.isr), (vec![2], vec![2]));
        assert_eq!((served.leader_epoch, served.offline), (1, vec![]));

        let new = shape(1);
        assert_eq!((new.error, new.leader_id()), (ErrorCode::None, 2));
        assert_eq!(new.leader_epoch, -1, "before it is opened");
        assert_eq!((new.replicas, new.isr), (vec![2], vec![2]));
        assert_eq!(new.offline, Vec::<i32>::new(), "its broker is there");

        let stale = shape(2);
        assert_eq!((stale.leader_id(), stale.leader_epoch), (NOBODY, 0));
        assert_eq!((shape(3).leader_id(), shape(3).offline), (NOBODY, vec![9]));
        assert_eq!((shape(4).leader_id(), shape(4).replicas), (NOBODY, vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_controller_that_is_gone_is_none() {
        let cluster = TestCluster::new().await;
        cluster.broker(1).await;
        assert_eq!(controller_id(&*cluster.picture().await), NOBODY);
        cluster.controller(1).await;
        assert_eq!(controller_id(&*cluster.picture().await), 1);
        cluster.ended(1).await;
        assert_eq!(controller_id(&*cluster.picture().await), NOBODY);
    }
}
