//! What is stored of a group. The byte layout is `coordinator::stored`'s business.

use std::time::Duration;

use alluvium_common::clock::TimestampMs;
use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicName;
use bytes::Bytes;

use super::ids::{InstanceId, MemberId};

/// A group at the start of a stable generation, or when it became empty. A group is loaded from it
/// as it was then: whatever happened since (a rebalance under way) is not stored, and its members
/// find out by ILLEGAL_GENERATION, as in Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRecord {
    /// The generation; after loading it goes on from here.
    pub generation: i32,
    /// The members' common protocol type; `None` in a group that only ever kept offsets.
    pub protocol_type: Option<String>,
    /// The protocol of the generation; `None` in an empty group.
    pub protocol: Option<String>,
    /// The leader of the generation; `None` in an empty group.
    pub leader: Option<MemberId>,
    /// When the group entered its state: the retention of an empty group's offsets counts from here.
    pub state_since_ms: TimestampMs,
    /// The members with what they were assigned.
    pub members: Vec<MemberRecord>,
}

/// One member of a [`GroupRecord`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRecord {
    /// The member.
    pub member_id: MemberId,
    /// Set for a static member.
    pub instance_id: Option<InstanceId>,
    /// As the client named itself.
    pub client_id: String,
    /// Where the client came from.
    pub client_host: String,
    /// As the member asked for.
    pub session_timeout: Duration,
    /// As the member asked for.
    pub rebalance_timeout: Duration,
    /// The member's metadata for the group's protocol.
    pub subscription: Bytes,
    /// What the leader gave it.
    pub assignment: Bytes,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetRecord {
    /// The topic's name at the time; an id has one name for ever.
    pub topic: TopicName,
    /// The offset; `None` where a client committed -1.
    pub offset: Option<Offset>,
    /// Leader epoch of the last consumed record.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The client's own words.
    pub metadata: String,
    /// When it was committed.
    pub commit_ms: TimestampMs,
    /// When it expires, where the commit itself said so (OffsetCommit versions 2 to 4).
    pub expire_ms: Option<TimestampMs>,
}
