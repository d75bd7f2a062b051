//! Leaders for partitions that do not exist yet.

use std::ops::Range;

use alluvium_common::epoch::BrokerId;
use alluvium_common::topic::TopicId;

use super::{Loads, bearer};
use crate::view::{LiveBroker, Picture};

/// Chooses leaders for the partitions `partitions` of a topic, in their order.
///
/// The partitions of the topic, those that it has already included, are spread evenly over the usable brokers; what
/// cannot be even goes to the brokers that have least in all, racks in turn. Without a usable broker any live one
/// will do, without a live one `own`, the broker that asks.
///
/// Any broker asks, of a picture that may be a little old. So that topics created at the same time do not all begin
/// at the same broker, brokers count as equally loaded when they differ by less than what a rebalance would mend, and
/// the topic's id says which of them comes first.
pub fn place_new(
    picture: &Picture,
    own: BrokerId,
    topic_id: TopicId,
    partitions: Range<i32>,
) -> Vec<BrokerId> {
    let mut loads = Loads::over(candidates(picture));
    if loads.is_empty() {
        return partitions.map(|_| own).collect();
    }
    for (tp, placed) in picture.partitions.all() {
        let broker_id = bearer(placed, &picture.brokers);
        if tp.topic_id != topic_id {
            loads.weigh(broker_id, 1);
        } else if !partitions.contains(&tp.partition.0) {
            loads.add(broker_id, topic_id, 1);
        }
    }
    let step = loads.total() / u64::try_from(loads.len()).unwrap_or(u64::MAX) / 10;
    let start = crc32c::crc32c(topic_id.0.as_bytes()) as usize;
    let leaders = partitions.map(|_| {
        let chosen = loads.least_of_group(topic_id, step, start).unwrap_or(own);
        loads.add(chosen, topic_id, 1);
        chosen
    });
    leaders.collect()
}

/// The usable brokers, or, if there is none, all that live.
fn candidates(picture: &Picture) -> Vec<&LiveBroker> {
    let brokers = &picture.brokers;
    let live: Vec<_> = brokers.all().map(|live| &**live).collect();
    let usable = |live: &&LiveBroker| brokers.is_usable(live.record.broker_id);
    let usable: Vec<_> = live.iter().copied().filter(usable).collect();
    if usable.is_empty() { live } else { usable }
}
