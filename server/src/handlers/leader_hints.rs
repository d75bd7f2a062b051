//! KIP-951: an answer that says "not the leader" says who is, and where.

use std::collections::BTreeSet;

use alluvium_common::epoch::BrokerId;
use alluvium_metadata::model::{BrokerRecord, TopicRecord};
use alluvium_metadata::view::Picture;
use alluvium_protocol::ErrorCode;

use crate::shape;

/// The leader of a partition, as a hint names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderHint {
    /// The broker; -1 when there is none.
    pub leader_id: i32,
    /// Its epoch.
    pub leader_epoch: i32,
}

/// The hints of one response.
pub struct LeaderHints<'a> {
    picture: &'a Picture,
    me: BrokerId,
    named: BTreeSet<BrokerId>,
}

impl<'a> LeaderHints<'a> {
    /// None yet, in a response of `me`.
    pub fn new(picture: &'a Picture, me: BrokerId) -> Self {
        Self {
            picture,
            me,
            named: BTreeSet::new(),
        }
    }

    /// The hint that belongs to an answer of that code, if one does.
    pub fn hint(
        &mut self,
        code: i16,
        topic: Option<&TopicRecord>,
        index: i32,
    ) -> Option<LeaderHint> {
        let denies = code == ErrorCode::NotLeaderOrFollower.code();
        if !denies && code != ErrorCode::FencedLeaderEpoch.code() {
            return None;
        }
        let shape = shape::partition(self.picture, topic?, index);
        // Who has just said that it does not lead, because it is behind its own picture or cannot prove its session, sends
        // nobody back to itself; nor to a broker that has yet to open the partition.
        let leader = shape.leader.filter(|_| shape.leader_epoch >= 0);
        let leader = leader.filter(|leader| !denies || *leader != self.me);
        self.named.extend(leader);
        Some(LeaderHint {
            leader_id: leader.map_or(shape::NOBODY, |leader| leader.0),
            leader_epoch: leader.map_or(-1, |_| shape.leader_epoch),
        })
    }

    /// The brokers named, each once.
    pub fn endpoints(&self) -> impl Iterator<Item = &'a BrokerRecord> {
        let named = self.named.iter();
        named.filter_map(|id| Some(&self.picture.brokers.get(*id)?.record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::cluster_testing::TestCluster;

    #[tokio::test(start_paused = true)]
    async fn every_leader_is_named_and_its_address_told_once() {
        let cluster = TestCluster::new().await;
        for id in 1..=3 {
            cluster.broker(id).await;
        }
        let topic = cluster.topic("t", 5).await;
        for (index, leader) in [(0, 2), (1, 3), (2, 2), (3, 1)] {
            cluster.served(&topic, index, leader).await;
        }
        cluster.placed(&topic, 4, 2).await;
        let picture = cluster.picture().await;
        let mut hints = LeaderHints::new(&picture, BrokerId(1));
        let not_leader = ErrorCode::NotLeaderOrFollower.code();
        let mut told = |code, index| {
            let hint = hints.hint(code, Some(&topic), index)?;
            Some((hint.leader_id, hint.leader_epoch))
        };
        assert_eq!(told(not_leader, 0), Some((2, 0)));
        assert_eq!(told(not_leader, 1), Some((3, 0)));
        assert_eq!(told(not_leader, 2), Some((2, 0)));
        assert_eq!(told(not_leader, 3), Some((-1, -1)), "not to itself");
        assert_eq!(told(not_leader, 4), Some((-1, -1)), "not open yet");
        assert_eq!(told(ErrorCode::None.code(), 0), None);
        let named: Vec<_> = hints.endpoints().map(|broker| &*broker.host).collect();
        assert_eq!(named, ["broker2.test", "broker3.test"]);

        // Who knows an older epoch of this very leader learns the new one.
        let mut hints = LeaderHints::new(&picture, BrokerId(1));
        let fenced = hints.hint(ErrorCode::FencedLeaderEpoch.code(), Some(&topic), 3);
        assert_eq!(fenced.map(|hint| hint.leader_id), Some(1));
        assert!(hints.hint(not_leader, None, 0).is_none());
    }
}
