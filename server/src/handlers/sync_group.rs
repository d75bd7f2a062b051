//! SyncGroup: the leader hands its assignment in, every member gets its part.

use alluvium_metadata::coordinator::{GroupCoordinator, MemberId, SyncRequest};
use alluvium_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use alluvium_protocol::{ErrorCode, StrBytes};

use super::group_words::{group_id, instance_id, text};
use crate::broker::Broker;
use crate::dispatch::RequestInfo;
use crate::error_map;

/// From this version on a member must name the protocol that it takes for the group's (KIP-559).
const PROTOCOL_VERSION: i16 = 5;

/// Answers SyncGroup, when the assignment is stored.
pub async fn handle(
    broker: &Broker,
    request: SyncGroupRequest,
    info: &RequestInfo,
) -> SyncGroupResponse {
    answer(&broker.groups, request, info.version).await
}

async fn answer(
    groups: &GroupCoordinator,
    request: SyncGroupRequest,
    version: i16,
) -> SyncGroupResponse {
    let names_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if version >= PROTOCOL_VERSION && !names_protocol {
        return refuse(ErrorCode::InconsistentGroupProtocol);
    }
    match groups.sync(domain(request)).await {
        Err(error) => refuse(error_map::group(error)),
        Ok(synced) => SyncGroupResponse {
            protocol_type: synced.protocol_type.map(text),
            protocol_name: synced.protocol.map(text),
            assignment: synced.assignment,
            ..SyncGroupResponse::default()
        },
    }
}

fn domain(request: SyncGroupRequest) -> SyncRequest {
    let owned = |name: Option<StrBytes>| name.map(|name| name.as_str().to_owned());
    SyncRequest {
        group_id: group_id(&request.group_id),
        generation: request.generation_id,
        member_id: MemberId::new(&request.member_id),
        instance_id: instance_id(request.group_instance_id.as_ref()),
        protocol_type: owned(request.protocol_type),
        protocol: owned(request.protocol_name),
        // Slices of the leader's request, which is little else than its assignments.
        assignments: request
            .assignments
            .into_iter()
            .map(|a| (MemberId::new(&a.member_id), a.assignment))
            .collect(),
    }
}

fn refuse(code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse {
        error_code: code.code(),
        ..SyncGroupResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::messages::sync_group_request::SyncGroupRequestAssignment;

    use super::*;
    use crate::handlers::group_testing::{Scene, over_the_wire_async};

    async fn sync(scene: &Scene, version: i16, request: SyncGroupRequest) -> SyncGroupResponse {
        over_the_wire_async(version, request, async |request| {
            answer(&scene.groups, request, version).await
        })
        .await
    }

    fn request(version: i16, member: &str) -> SyncGroupRequest {
        SyncGroupRequest {
            group_id: "g".into(),
            generation_id: 1,
            member_id: text(member),
            protocol_type: (version >= PROTOCOL_VERSION).then(|| "consumer".into()),
            protocol_name: (version >= PROTOCOL_VERSION).then(|| "range".into()),
            assignments: vec![SyncGroupRequestAssignment {
                member_id: text(member),
                assignment: "mine".into(),
            }],
            ..SyncGroupRequest::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn assignments_arrive_in_every_version() {
        for version in 0..=5 {
            let scene = Scene::new().await;
            let member = scene.join("g").await;
            let synced = sync(&scene, version, request(version, &member)).await;
            assert_eq!(
                (synced.error_code, &synced.assignment[..]),
                (0, &b"mine"[..])
            );
            let named = (version >= PROTOCOL_VERSION).then_some("range");
            assert_eq!(synced.protocol_name.as_deref(), named);
            let stranger = sync(&scene, version, request(version, "stranger")).await;
            assert_eq!(stranger.error_code, ErrorCode::UnknownMemberId.code());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_protocol_must_be_named_and_fit() {
        let scene = Scene::new().await;
        let member = scene.join("g").await;
        for name in [None, Some("sticky")] {
            let request = SyncGroupRequest {
                protocol_name: name.map(StrBytes::from_static),
                ..request(5, &member)
            };
            let refused = sync(&scene, 5, request).await;
            let expected = ErrorCode::InconsistentGroupProtocol.code();
            assert_eq!(refused.error_code, expected);
        }
    }
}
