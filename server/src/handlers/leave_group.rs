//! LeaveGroup: members go, by themselves or removed by an administrator.

use alluvium_metadata::coordinator::{
    GroupCoordinator, GroupError, LeaveRequest, LeavingMember, MemberId,
};
use alluvium_protocol::messages::leave_group_request::MemberIdentity;
use alluvium_protocol::messages::leave_group_response::MemberResponse;
use alluvium_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::group_words::{group_id, instance_id};
use crate::broker::Broker;
use crate::dispatch::RequestInfo;
use crate::error_map;

/// From this version on several members may leave, each with an answer of its own.
const BATCH_VERSION: i16 = 3;

/// Answers LeaveGroup.
pub async fn handle(
    broker: &Broker,
    request: LeaveGroupRequest,
    info: &RequestInfo,
) -> LeaveGroupResponse {
    answer(&broker.groups, request, info.version).await
}

async fn answer(
    groups: &GroupCoordinator,
    request: LeaveGroupRequest,
    version: i16,
) -> LeaveGroupResponse {
    let identities = match version < BATCH_VERSION {
        true => vec![MemberIdentity {
            member_id: request.member_id,
            ..MemberIdentity::default()
        }],
        false => request.members,
    };
    let result = groups
        .leave(LeaveRequest {
            group_id: group_id(&request.group_id),
            members: identities.iter().map(leaving).collect(),
        })
        .await;
    let results = match result {
        Ok(results) => results,
        // Of a group that is not there nobody is a member.
        Err(error @ GroupError::UnknownMemberId) => vec![Err(error); identities.len()],
        Err(error) => return refuse(error),
    };
    if version < BATCH_VERSION {
        return match results.first() {
            Some(Err(error)) => refuse(*error),
            _ => LeaveGroupResponse::default(),
        };
    }
    LeaveGroupResponse {
        members: identities
            .into_iter()
            .zip(results)
            .map(|(identity, result)| MemberResponse {
                member_id: identity.member_id,
                group_instance_id: identity.group_instance_id,
                error_code: error_map::group_result(result).code(),
            })
            .collect(),
        ..LeaveGroupResponse::default()
    }
}

fn leaving(identity: &MemberIdentity) -> LeavingMember {
    LeavingMember {
        member_id: MemberId::new(&identity.member_id),
        instance_id: instance_id(identity.group_instance_id.as_ref()),
        reason: identity.reason.as_deref().map(str::to_owned),
    }
}

fn refuse(error: GroupError) -> LeaveGroupResponse {
    LeaveGroupResponse {
        error_code: error_map::group(error).code(),
        ..LeaveGroupResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::ErrorCode;

    use super::*;
    use crate::handlers::group_testing::{Scene, over_the_wire_async};
    use crate::handlers::group_words::text;

    #[tokio::test(start_paused = true)]
    async fn a_member_leaves_in_every_version() {
        for version in 0..=5 {
            let scene = Scene::new().await;
            let member = scene.stable("g").await;
            let mut codes = Vec::new();
            for name in [member.as_str(), "stranger"] {
                let identity = MemberIdentity {
                    member_id: text(name),
                    ..MemberIdentity::default()
                };
                let request = LeaveGroupRequest {
                    group_id: "g".into(),
                    member_id: match version < BATCH_VERSION {
                        true => text(name),
                        false => Default::default(),
                    },
                    members: match version < BATCH_VERSION {
                        true => Vec::new(),
                        false => vec![identity],
                    },
                };
                let response = over_the_wire_async(version, request, async |request| {
                    answer(&scene.groups, request, version).await
                })
                .await;
                let of_member = response.members.first().map(|member| member.error_code);
                codes.push((response.error_code, of_member));
            }
            let unknown = ErrorCode::UnknownMemberId.code();
            let expected = match version < BATCH_VERSION {
                true => [(0, None), (unknown, None)],
                false => [(0, Some(0)), (0, Some(unknown))],
            };
            assert_eq!(codes, expected, "version {version}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_that_is_not_there_knows_nobody() {
        let scene = Scene::new().await;
        let request = LeaveGroupRequest {
            group_id: "none".into(),
            members: vec![MemberIdentity::default(), MemberIdentity::default()],
            ..LeaveGroupRequest::default()
        };
        let response = answer(&scene.groups, request, 5).await;
        let unknown = ErrorCode::UnknownMemberId.code();
        let codes: Vec<_> = response.members.iter().map(|m| m.error_code).collect();
        assert_eq!((response.error_code, codes), (0, vec![unknown, unknown]));
    }
}
