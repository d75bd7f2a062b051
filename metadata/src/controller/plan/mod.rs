//! What the controller should change: a pure function of the picture and of how long it has been so.

mod duties;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alluvium_common::epoch::BrokerId;
use alluvium_common::topic::{TopicId, TopicPartition};

use super::standing::{Standing, of_partition};
use crate::model::{TopicRecord, WalHolder};
use crate::view::{Picture, Placed};

pub use duties::{Task, plan_duties};

/// Limits of a plan.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// How long the set of usable brokers must have been the same before loads are made even. Long enough for brokers
    /// that start together to be all there.
    pub rebalance_delay: Duration,
    /// The difference between the most and the least loaded broker that is left alone, in percent of the average; one
    /// duty is always. A move interrupts a partition for about the time of one upload, so small gains do not pay.
    pub rebalance_tolerated_percent: u64,
    /// Moves in flight beyond which a rebalance begins no other. Bounds how much of the cluster is interrupted at once.
    pub moves_in_flight_max: usize,
    /// The same for the moves from and to one broker, which opens and closes them.
    pub moves_per_broker_max: usize,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            rebalance_delay: Duration::from_secs(3),
            rebalance_tolerated_percent: 10,
            moves_in_flight_max: 256,
            moves_per_broker_max: 64,
        }
    }
}

/// What a plan takes from elsewhere than the picture.
pub struct PlanRules<'a> {
    /// Whether partitions of the topic are rather led with records missing than not led.
    pub unclean: &'a dyn Fn(&TopicRecord) -> bool,
    /// What a partition weighs.
    pub weight: &'a dyn Fn(TopicPartition) -> u64,
}

/// What the controller knows beside the picture.
pub struct Circumstances<'a> {
    /// How long the set of usable brokers has been the same.
    pub usable_for: Duration,
    /// The last plan was not done with its rebalance.
    pub rebalancing: bool,
    /// Whether a broker that is not there may well be about to start, so that what it leads is left to it.
    pub expected: &'a dyn Fn(BrokerId) -> bool,
}

/// What should change about duties of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<D> {
    /// Duties that nobody has, and who shall have them.
    pub assignments: Vec<Assignment<D>>,
    /// Duties that their leaders shall hand over.
    pub moves: Vec<Move<D>>,
    /// Duties that nobody can have now.
    pub waiting: Vec<Waiting<D>>,
    /// Moves under way, those of this plan included.
    pub moves_in_flight: usize,
    /// Loads are not even yet; see [`Circumstances::rebalancing`].
    pub rebalancing: bool,
}

/// A duty that another broker shall take up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment<D> {
    /// Which.
    pub duty: D,
    /// Whose it was.
    pub from: BrokerId,
    /// Whose it shall be.
    pub to: BrokerId,
    /// Why.
    pub because: Because,
    /// What the write-ahead log holds of it is given up.
    pub unclean: bool,
}

/// Why a duty is assigned to another broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// Its leader's session is over. To be written only while that is so (F2).
    Gone,
    /// Its leader has a session and has not taken it up. To do so it would have to write the record, so that it is enough if
    /// nobody wrote that meanwhile: a leader whose opening comes too late learns so from its own comparison.
    NotOpened,
}

/// A duty that its leader shall hand over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move<D> {
    /// Which.
    pub duty: D,
    /// Who has it.
    pub from: BrokerId,
    /// To whom; `None`: to nobody, it stays.
    pub to: Option<BrokerId>,
}

/// A duty that nobody can have now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting<D> {
    /// Which.
    pub duty: D,
    /// Whose it was.
    pub leader: BrokerId,
    /// What is waited for.
    pub until: Until,
}

/// What a duty waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The write-ahead log in that data folder: its broker must return.
    WriteAheadLog(WalHolder),
    /// Its leader, which may be about to start.
    LeaderStarts,
    /// Any usable broker.
    UsableBroker,
}

/// What should change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPlan {
    /// About partitions.
    pub partitions: Plan<TopicPartition>,
    /// Topics that have partitions, are published or shall be, and do not exist.
    pub orphans: Vec<TopicId>,
}

/// Plans for a picture.
pub fn plan(
    picture: &Picture,
    options: &PlanOptions,
    rules: &PlanRules<'_>,
    now: &Circumstances<'_>,
) -> ClusterPlan {
    let published = picture.published.keys();
    let published = published.chain(picture.publish_requests.keys());
    let without_topic = |topic_id: &&TopicId| picture.topics.with_id(**topic_id).is_none();
    let mut orphans: BTreeSet<_> = published.filter(without_topic).copied().collect();
    let tasks = picture.partitions.all().map(|(tp, placed)| {
        let topic = picture.topics.with_id(tp.topic_id);
        if topic.is_none() {
            orphans.insert(tp.topic_id);
        }
        Task {
            duty: tp,
            leader: placed.record.leader,
            standing: standing(picture, tp, placed, topic.map(|topic| &**topic), rules),
            weight: (rules.weight)(tp),
        }
    });
    let tasks: Vec<_> = tasks.collect();
    ClusterPlan {
        partitions: plan_duties(&picture.brokers, &tasks, options, now),
        orphans: orphans.into_iter().collect(),
    }
}

/// Partitions of a topic that is not there, or beyond what it has, are about to be seen or to be deleted.
fn standing(
    picture: &Picture,
    tp: TopicPartition,
    placed: &Placed,
    topic: Option<&TopicRecord>,
    rules: &PlanRules<'_>,
) -> Standing {
    match topic {
        Some(topic) if tp.partition.0 < topic.partition_count => {
            of_partition(placed, &picture.brokers, (rules.unclean)(topic))
        }
        _ => Standing::LeftAlone,
    }
}

/// Whether the topic's own settings, or else those of all topics, allow unclean elections. Without either they do not.
pub fn unclean_as_configured(topic: &TopicRecord, defaults: &BTreeMap<String, String>) -> bool {
    const SETTING: &str = "unclean.leader.election.enable";
    let given = topic.configs.get(SETTING).or_else(|| defaults.get(SETTING));
    given.is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests;
