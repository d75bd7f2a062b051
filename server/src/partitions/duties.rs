//! What the picture of the cluster asks of this broker: pure.

use std::collections::HashSet;

use alluvium_cache::tail::CloseReason;
use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::seeded_bug;
use alluvium_common::topic::TopicPartition;
use alluvium_metadata::model::{TopicRecord, WalHolder};
use alluvium_metadata::view::{Picture, Placed};
use uuid::Uuid;

/// This broker in its present session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Me {
    /// Its number.
    pub broker_id: BrokerId,
    /// Its session.
    pub broker_epoch: BrokerEpoch,
    /// Its data folder.
    pub instance_id: Uuid,
}

impl Me {
    /// The name of its write-ahead log.
    pub fn wal_holder(&self) -> WalHolder {
        WalHolder(self.instance_id)
    }

    /// Whether this session has opened the partition and not given it away.
    pub fn leads(&self, placed: &Placed) -> bool {
        placed.record.open_by() == Some((self.broker_id, self.broker_epoch))
    }

    /// Whether opening the partition loses nothing: no other folder's write-ahead log may hold records of it.
    pub fn may_open(&self, placed: &Placed) -> bool {
        let wal = placed.record.wal;
        if seeded_bug::is("moved-though-wal-set") {
            return true;
        }
        wal.is_none_or(|holder| holder.is(self.instance_id))
    }
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Duties {
    /// To be opened.
    pub open: Vec<TopicPartition>,
    /// To be handed over, and to whom.
    pub hand_over: Vec<(TopicPartition, BrokerId)>,
    /// To be served no longer.
    pub close: Vec<(TopicPartition, CloseReason)>,
    /// Placed here, but another data folder may hold acknowledged records of them.
    pub locked: Vec<TopicPartition>,
}

/// Compares the picture with `led`, the partitions that are open here.
pub fn duties(picture: &Picture, me: &Me, led: &HashSet<TopicPartition>) -> Duties {
    let mut duties = Duties::default();
    for topic in picture.topics.all() {
        for (tp, placed) in partitions_of(picture, topic) {
            if placed.record.leader == me.broker_id {
                duties.consider(tp, placed, me, led.contains(&tp));
            }
        }
    }
    for tp in led {
        if let Some(reason) = reason_to_close(picture, me, *tp) {
            duties.close.push((*tp, reason));
        }
    }
    duties
}

impl Duties {
    fn consider(&mut self, tp: TopicPartition, placed: &Placed, me: &Me, is_open: bool) {
        match placed.record.moving_to {
            Some(target) if is_open && me.leads(placed) && target != me.broker_id => {
                self.hand_over.push((tp, target));
            }
            _ if is_open => {}
            _ if me.may_open(placed) => self.open.push(tp),
            _ => self.locked.push(tp),
        }
    }
}

/// The partitions of a topic that clients may know.
pub fn partitions_of<'a>(
    picture: &'a Picture,
    topic: &TopicRecord,
) -> impl Iterator<Item = (TopicPartition, &'a Placed)> {
    let count = topic.partition_count;
    let partitions = picture.partitions.of(topic.topic_id);
    partitions
        .filter(move |(tp, _)| tp.partition.0 < count)
        .map(|(tp, placed)| (tp, &**placed))
}

fn reason_to_close(picture: &Picture, me: &Me, tp: TopicPartition) -> Option<CloseReason> {
    if picture.topics.with_id(tp.topic_id).is_none() {
        return Some(CloseReason::Deleted);
    }
    let placed = picture.partitions.get(tp);
    let still_mine = placed.is_some_and(|placed| placed.record.leader == me.broker_id);
    (!still_mine).then_some(CloseReason::NotLeader)
}
