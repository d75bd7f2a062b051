//! Requests of the classic protocol, and our own way to share partitions.

use alluvium_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use alluvium_protocol::messages::join_group_response::JoinGroupResponseMember;
use alluvium_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use alluvium_protocol::messages::{FindCoordinatorRequest, JoinGroupRequest, SyncGroupRequest};
use alluvium_protocol::{ErrorCode, Request, StrBytes};
use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::load::caller::Caller;
use crate::load::router::{Broker, address};

pub(super) const JOIN_VERSION: i16 = 5;
pub(super) const SYNC_VERSION: i16 = 3;
const FIND_COORDINATOR_VERSION: i16 = 4;
const PROTOCOL: &str = "in-turn";
/// A member that is silent for so long is gone.
const SESSION_TIMEOUT_MS: i32 = 3_000;
/// Members have so long to join again.
const REBALANCE_TIMEOUT_MS: i32 = 3_000;

/// Any request.
pub(super) trait Call: Request {}
impl<R: Request> Call for R {}

pub(super) fn join_request(group: &str, member: &StrBytes) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: StrBytes::copy_of(group),
        session_timeout_ms: SESSION_TIMEOUT_MS,
        rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
        member_id: member.clone(),
        group_instance_id: None,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: PROTOCOL.into(),
            metadata: Bytes::new(),
        }],
        reason: None,
    }
}

pub(super) fn sync_request(
    group: &str,
    generation: i32,
    member: &StrBytes,
    assignments: Vec<SyncGroupRequestAssignment>,
) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: StrBytes::copy_of(group),
        generation_id: generation,
        member_id: member.clone(),
        assignments,
        ..SyncGroupRequest::default()
    }
}

/// Partitions in turn to the members, by their ids.
pub(super) fn shares(
    members: &[JoinGroupResponseMember],
    partitions: i32,
) -> Vec<SyncGroupRequestAssignment> {
    let mut ids: Vec<_> = members.iter().map(|member| &member.member_id).collect();
    ids.sort_by_key(|id| id.to_string());
    let share = |place: usize| {
        let mut share = BytesMut::new();
        let indexes = (0..partitions).skip(place).step_by(ids.len());
        indexes.for_each(|index| share.put_i32(index));
        share.freeze()
    };
    ids.iter()
        .enumerate()
        .map(|(place, id)| SyncGroupRequestAssignment {
            member_id: (*id).clone(),
            assignment: share(place),
        })
        .collect()
}

/// A member's partitions.
pub(super) fn assignment(bytes: &Bytes) -> Vec<i32> {
    let mut bytes = bytes.clone();
    let mut indexes = Vec::new();
    while bytes.remaining() >= size_of::<i32>() {
        indexes.push(bytes.get_i32());
    }
    indexes
}

/// Who coordinates `group`, as any broker says.
pub(super) async fn coordinator(caller: &mut Caller, group: &str) -> Option<Broker> {
    let request = FindCoordinatorRequest {
        key_type: 0,
        coordinator_keys: vec![StrBytes::copy_of(group)],
        ..FindCoordinatorRequest::default()
    };
    let answer = caller.call_any(&request, FIND_COORDINATOR_VERSION).await;
    let answer = answer.ok()?;
    let found = answer.coordinators.first()?;
    let code = ErrorCode::from(found.error_code);
    code.is_none()
        .then(|| address(found.node_id, &found.host, found.port))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_goes_to_one_member() {
        let member = |id: &'static str| JoinGroupResponseMember {
            member_id: id.into(),
            ..JoinGroupResponseMember::default()
        };
        let shares = shares(&[member("b"), member("a")], 5);
        let given: Vec<_> = shares
            .iter()
            .map(|share| (share.member_id.to_string(), assignment(&share.assignment)))
            .collect();
        assert_eq!(
            given,
            [
                ("a".to_owned(), vec![0, 2, 4]),
                ("b".to_owned(), vec![1, 3])
            ]
        );
        assert!(assignment(&Bytes::new()).is_empty());
    }
}
