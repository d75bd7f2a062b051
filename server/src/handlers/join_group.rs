//! JoinGroup: a member enters the next generation of its group.

use alluvium_metadata::coordinator::{
    GroupCoordinator, JoinRequest, JoinResult, JoinedMember, MemberId, Protocol,
};
use alluvium_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use alluvium_protocol::messages::join_group_response::JoinGroupResponseMember;
use alluvium_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use bytes::Bytes;

use super::group_words::{group_id, instance_id, millis, text};
use crate::broker::Broker;
use crate::dispatch::RequestInfo;
use crate::error_map;

/// From this version on a new member is first given an id (KIP-394).
const KNOWN_MEMBER_ID_VERSION: i16 = 4;
/// From this version on an unknown protocol is null.
const NULL_PROTOCOL_VERSION: i16 = 7;
/// From this version on a leader may be told to skip the assignment (KIP-814).
const SKIP_ASSIGNMENT_VERSION: i16 = 9;

/// Answers JoinGroup, when the rebalance that the member takes part in is complete.
pub async fn handle(
    broker: &Broker,
    request: JoinGroupRequest,
    info: &RequestInfo,
) -> JoinGroupResponse {
    let request = JoinRequest {
        client_id: info.client_id.as_deref().unwrap_or_default().to_owned(),
        // As Java prints an address without a name, which tools show.
        client_host: format!("/{}", info.peer.ip()),
        ..domain(request, info.version)
    };
    answer(&broker.groups, request, info.version).await
}

async fn answer(
    groups: &GroupCoordinator,
    request: JoinRequest,
    version: i16,
) -> JoinGroupResponse {
    response(groups.join(request).await, version)
}

fn domain(request: JoinGroupRequest, version: i16) -> JoinRequest {
    let rebalance_timeout_ms = match version {
        0 => request.session_timeout_ms,
        _ => request.rebalance_timeout_ms,
    };
    JoinRequest {
        group_id: group_id(&request.group_id),
        member_id: MemberId::new(&request.member_id),
        instance_id: instance_id(request.group_instance_id.as_ref()),
        client_id: String::new(),
        client_host: String::new(),
        session_timeout: millis(request.session_timeout_ms),
        rebalance_timeout: millis(rebalance_timeout_ms),
        protocol_type: request.protocol_type.as_str().to_owned(),
        protocols: request.protocols.into_iter().map(protocol).collect(),
        require_known_member_id: version >= KNOWN_MEMBER_ID_VERSION,
        supports_skip_assignment: version >= SKIP_ASSIGNMENT_VERSION,
        reason: request.reason.map(String::from),
    }
}

fn protocol(protocol: JoinGroupRequestProtocol) -> Protocol {
    Protocol {
        name: protocol.name.as_str().to_owned(),
        // Kept for as long as the member, so not as a slice of its request.
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    }
}

fn response(result: JoinResult, version: i16) -> JoinGroupResponse {
    let joined = match result {
        Ok(joined) => joined,
        Err(failure) => {
            return JoinGroupResponse {
                error_code: error_map::group(failure.error).code(),
                protocol_name: (version < NULL_PROTOCOL_VERSION).then(Default::default),
                member_id: text(failure.member_id.as_str()),
                ..JoinGroupResponse::default()
            };
        }
    };
    JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: joined.protocol_type.map(text),
        protocol_name: Some(joined.protocol.map(text).unwrap_or_default()),
        leader: text(joined.leader.as_str()),
        skip_assignment: joined.skip_assignment,
        member_id: text(joined.member_id.as_str()),
        members: joined.members.into_iter().map(member).collect(),
        ..JoinGroupResponse::default()
    }
}

fn member(member: JoinedMember) -> JoinGroupResponseMember {
    JoinGroupResponseMember {
        member_id: text(member.member_id.as_str()),
        group_instance_id: member.instance_id.map(|id| text(id.as_str())),
        metadata: member.metadata,
    }
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::ErrorCode;

    use super::*;
    use crate::handlers::group_testing::{Scene, over_the_wire_async};

    fn request(version: i16, group: &'static str, member: &str) -> JoinGroupRequest {
        JoinGroupRequest {
            group_id: group.into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: if version == 0 { -1 } else { 60_000 },
            member_id: text(member),
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".into(),
                metadata: Bytes::from_static(b"subscription"),
            }],
            ..JoinGroupRequest::default()
        }
    }

    async fn join(scene: &Scene, version: i16, request: JoinGroupRequest) -> JoinGroupResponse {
        over_the_wire_async(version, request, async |request| {
            answer(&scene.groups, domain(request, version), version).await
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_joins_in_every_version() {
        for version in 0..=9 {
            let scene = Scene::new().await;
            let mut joined = join(&scene, version, request(version, "g", "")).await;
            if version >= KNOWN_MEMBER_ID_VERSION {
                let required = ErrorCode::MemberIdRequired.code();
                assert_eq!(joined.error_code, required, "version {version}");
                assert_eq!(joined.generation_id, -1);
                let named = request(version, "g", &joined.member_id);
                joined = join(&scene, version, named).await;
            }
            assert_eq!(joined.error_code, 0, "version {version}");
            assert_eq!(joined.generation_id, 1);
            assert_eq!(joined.leader, joined.member_id);
            assert_eq!(joined.protocol_name.as_deref(), Some("range"));
            assert_eq!(joined.members.len(), 1);
            assert_eq!(joined.members[0].metadata, "subscription");
            let protocol_type = (version >= 7).then_some("consumer");
            assert_eq!(joined.protocol_type.as_deref(), protocol_type);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_answered_in_every_version() {
        for version in 0..=9 {
            let scene = Scene::new().await;
            let nameless = join(&scene, version, request(version, "", "")).await;
            assert_eq!(nameless.error_code, ErrorCode::InvalidGroupId.code());
            let short = JoinGroupRequest {
                session_timeout_ms: -5,
                ..request(version, "g", "")
            };
            let short = join(&scene, version, short).await;
            assert_eq!(short.error_code, ErrorCode::InvalidSessionTimeout.code());
            let unknown = join(&scene, version, request(version, "g", "who")).await;
            assert_eq!(unknown.error_code, ErrorCode::UnknownMemberId.code());
            assert_eq!(unknown.member_id, "who");
            let null = version >= NULL_PROTOCOL_VERSION;
            assert_eq!(unknown.protocol_name.is_none(), null);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn static_members_return_in_place() {
        let scene = Scene::new().await;
        let with_instance = |version| JoinGroupRequest {
            group_instance_id: Some("i".into()),
            ..request(version, "g", "")
        };
        let first = join(&scene, 9, with_instance(9)).await;
        assert_eq!(first.error_code, 0);
        assert_eq!(first.members[0].group_instance_id.as_deref(), Some("i"));
        scene.sync("g", &first.member_id, 1).await;
        let again = join(&scene, 9, with_instance(9)).await;
        assert_eq!((again.generation_id, again.skip_assignment), (1, true));
        let old_client = join(&scene, 5, with_instance(5)).await;
        assert_eq!(old_client.generation_id, 1);
        assert_ne!(old_client.leader, old_client.member_id);
    }
}
