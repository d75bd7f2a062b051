//! Which broker coordinates what.

use alluvium_common::epoch::BrokerId;
use alluvium_metadata::view::Picture;

/// The coordinator of a group; `None` while it has none. Groups are coordinated by the broker that is asked, `me`, as
/// long as its session stands.
pub fn coordinator_of(picture: &Picture, me: BrokerId, _group_id: &str) -> Option<BrokerId> {
    let live = picture.brokers.get(me)?;
    Some(live.record.broker_id)
}
