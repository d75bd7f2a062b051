//! What can be seen of a group: ListGroups, DescribeGroups, OffsetFetch.

use alluvium_common::topic::TopicPartition;
use bytes::Bytes;

use super::classic::ClassicGroup;
use super::ids::{GroupId, InstanceId, MemberId};
use super::record::OffsetRecord;
use super::state::GroupState;

/// One line of ListGroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// The group.
    pub group_id: GroupId,
    /// Empty for a group that only keeps offsets.
    pub protocol_type: String,
    /// Its state.
    pub state: GroupState,
}

/// One group of DescribeGroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// The group.
    pub group_id: GroupId,
    /// Its state.
    pub state: GroupState,
    /// Empty for a group that only keeps offsets.
    pub protocol_type: String,
    /// The protocol in use; empty unless the group is stable.
    pub protocol: String,
    /// The members; their metadata is empty unless the group is stable.
    pub members: Vec<MemberDescription>,
}

/// One member of a [`GroupDescription`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDescription {
    /// The member.
    pub member_id: MemberId,
    /// Set for a static member.
    pub instance_id: Option<InstanceId>,
    /// As the client named itself.
    pub client_id: String,
    /// Where it came from.
    pub client_host: String,
    /// Its metadata for the protocol in use.
    pub metadata: Bytes,
    /// What it was assigned last, as far as it was not taken away since.
    pub assignment: Bytes,
}

/// Committed offsets, of all partitions or of those asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedOffsets {
    /// In order of topic id and partition, or in the order of the request; `None` where nothing was
    /// committed.
    pub partitions: Vec<(TopicPartition, Option<OffsetRecord>)>,
}

impl ClassicGroup {
    pub fn listing(&self) -> GroupListing {
        GroupListing {
            group_id: self.id.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            state: self.state,
        }
    }

    pub fn description(&self) -> GroupDescription {
        let protocol = match self.state {
            GroupState::Stable => self.protocol.as_deref(),
            _ => None,
        };
        let describe = |member: &super::member::Member| MemberDescription {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: member.metadata(protocol),
            assignment: member.assignment.clone(),
        };
        GroupDescription {
            group_id: self.id.clone(),
            state: self.state,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: protocol.unwrap_or_default().to_owned(),
            members: self.members.values().map(describe).collect(),
        }
    }

    pub fn fetch_offsets(&self, partitions: Option<&[TopicPartition]>) -> FetchedOffsets {
        let is_dead = self.state == GroupState::Dead;
        let of = |partition: &TopicPartition| match is_dead {
            true => None,
            false => self.offsets.get(partition).cloned(),
        };
        let partitions = match partitions {
            Some(asked) => asked.iter().map(|p| (*p, of(p))).collect(),
            None if is_dead => Vec::new(),
            None => self
                .offsets
                .iter()
                .map(|(partition, offset)| (*partition, Some(offset.clone())))
                .collect(),
        };
        FetchedOffsets { partitions }
    }
}
