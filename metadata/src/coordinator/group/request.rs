//! Requests and their results, in domain types. Kafka's -1 is `None` here, an empty member id means
//! "none yet".

use std::time::Duration;

use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_common::topic::{TopicName, TopicPartition};
use bytes::Bytes;

use super::error::GroupError;
use super::ids::{GroupId, InstanceId, MemberId};

/// A way of assigning partitions that a member supports, with the member's metadata for it (for
/// consumers: the subscription). Both are opaque to the coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// For consumers the assignor's name, such as `range`.
    pub name: String,
    /// Passed on to the leader.
    pub metadata: Bytes,
}

/// JoinGroup.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    /// The group to join; created when the member id is empty.
    pub group_id: GroupId,
    /// Empty for a member that has no id yet.
    pub member_id: MemberId,
    /// Set for a static member.
    pub instance_id: Option<InstanceId>,
    /// For people who describe the group, and a part of generated member ids.
    pub client_id: String,
    /// For people who describe the group.
    pub client_host: String,
    /// How long the member may be silent.
    pub session_timeout: Duration,
    /// How long a rebalance waits for the member; version 0 has none and takes the session time-out.
    pub rebalance_timeout: Duration,
    /// `consumer`, `connect` and the like; all members agree on it.
    pub protocol_type: String,
    /// In the member's order of preference.
    pub protocols: Vec<Protocol>,
    /// Version 4 and later: a new dynamic member is given an id and told to come again (KIP-394).
    pub require_known_member_id: bool,
    /// Version 9 and later: a returning static leader may be told not to assign (KIP-814).
    pub supports_skip_assignment: bool,
    /// Why the client joins, for logs (KIP-800).
    pub reason: Option<String>,
}

/// A member as the leader is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// The member.
    pub member_id: MemberId,
    /// Set for a static member.
    pub instance_id: Option<InstanceId>,
    /// Its metadata for the chosen protocol.
    pub metadata: Bytes,
}

/// A successful JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The generation joined.
    pub generation: i32,
    /// The group's protocol type.
    pub protocol_type: Option<String>,
    /// The protocol chosen for this generation.
    pub protocol: Option<String>,
    /// The member that assigns.
    pub leader: MemberId,
    /// The member id of the one that joined.
    pub member_id: MemberId,
    /// All members, for the leader only.
    pub members: Vec<JoinedMember>,
    /// The leader keeps the assignment there is (KIP-814).
    pub skip_assignment: bool,
}

/// A JoinGroup that failed, with the member id to answer with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinFailure {
    /// Why.
    pub error: GroupError,
    /// Empty, or the id to join with in case of [`GroupError::MemberIdRequired`].
    pub member_id: MemberId,
}

/// What JoinGroup is answered with.
pub type JoinResult = Result<Joined, JoinFailure>;

/// SyncGroup.
#[derive(Debug, Clone)]
pub struct SyncRequest {
    /// The group.
    pub group_id: GroupId,
    /// The generation the member joined.
    pub generation: i32,
    /// The member.
    pub member_id: MemberId,
    /// Set for a static member.
    pub instance_id: Option<InstanceId>,
    /// Version 5 and later: must be the group's.
    pub protocol_type: Option<String>,
    /// Version 5 and later: must be the group's.
    pub protocol: Option<String>,
    /// From the leader only: what each member gets.
    pub assignments: Vec<(MemberId, Bytes)>,
}

/// A successful SyncGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// The group's protocol type.
    pub protocol_type: Option<String>,
    /// The group's protocol.
    pub protocol: Option<String>,
    /// What the member was assigned; opaque, possibly empty.
    pub assignment: Bytes,
}

/// What SyncGroup is answered with.
pub type SyncResult = Result<Synced, GroupError>;

/// Heartbeat.
#[derive(Debug, Clone)]
pub struct HeartbeatRequest {
    /// The group.
    pub group_id: GroupId,
    /// The generation the member believes in.
    pub generation: i32,
    /// The member.
    pub member_id: MemberId,
    /// Set for a static member.
    pub instance_id: Option<InstanceId>,
}

/// One member of a LeaveGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeavingMember {
    /// The member; empty when an administrator removes a static member by its instance id.
    pub member_id: MemberId,
    /// Set for a static member.
    pub instance_id: Option<InstanceId>,
    /// Why, for logs (KIP-800).
    pub reason: Option<String>,
}

/// LeaveGroup; version 0 to 2 have exactly one member.
#[derive(Debug, Clone)]
pub struct LeaveRequest {
    /// The group.
    pub group_id: GroupId,
    /// Who leaves.
    pub members: Vec<LeavingMember>,
}

/// What LeaveGroup is answered with: one result per member, in the order of the request.
pub type LeaveResult = Result<Vec<Result<(), GroupError>>, GroupError>;

/// One partition of an OffsetCommit.
#[derive(Debug, Clone)]
pub struct OffsetToCommit {
    /// The topic's name; kept beside the offset, so that groups can be shown without looking topics up.
    pub topic: TopicName,
    /// The partition.
    pub partition: TopicPartition,
    /// The committed offset; Kafka accepts and keeps -1 too.
    pub offset: Option<Offset>,
    /// Leader epoch of the last consumed record.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The client's own words.
    pub metadata: String,
}

/// OffsetCommit.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// The group; the empty name is allowed, as in Kafka.
    pub group_id: GroupId,
    /// The generation; `None` from consumers that assign partitions themselves, and from tools.
    pub generation: Option<i32>,
    /// The member; empty likewise.
    pub member_id: MemberId,
    /// Set for a static member.
    pub instance_id: Option<InstanceId>,
    /// Versions 2 to 4: replaces `offsets.retention.minutes` for these offsets.
    pub retention: Option<Duration>,
    /// What to commit; when a partition stands twice, the later one counts.
    pub offsets: Vec<OffsetToCommit>,
}

/// What OffsetCommit and OffsetDelete are answered with: one result per partition, in the order of
/// the request.
pub type PartitionsResult = Result<Vec<Result<(), GroupError>>, GroupError>;

/// OffsetDelete.
#[derive(Debug, Clone)]
pub struct OffsetDeleteRequest {
    /// The group.
    pub group_id: GroupId,
    /// What to delete; a partition without a committed offset is a success.
    pub partitions: Vec<(TopicName, TopicPartition)>,
}
