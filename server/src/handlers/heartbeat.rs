//! Heartbeat: a member is alive, and learns whether it must join again.

use alluvium_metadata::coordinator::{self as domain, GroupCoordinator, MemberId};
use alluvium_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::group_words::{group_id, instance_id};
use crate::broker::Broker;
use crate::dispatch::RequestInfo;
use crate::error_map;

/// Answers Heartbeat.
pub async fn handle(
    broker: &Broker,
    request: HeartbeatRequest,
    _info: &RequestInfo,
) -> HeartbeatResponse {
    answer(&broker.groups, &request)
}

fn answer(groups: &GroupCoordinator, request: &HeartbeatRequest) -> HeartbeatResponse {
    let result = groups.heartbeat(&domain::HeartbeatRequest {
        group_id: group_id(&request.group_id),
        generation: request.generation_id,
        member_id: MemberId::new(&request.member_id),
        instance_id: instance_id(request.group_instance_id.as_ref()),
    });
    HeartbeatResponse {
        error_code: error_map::group_result(result).code(),
        ..HeartbeatResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::ErrorCode;

    use super::*;
    use crate::handlers::group_testing::{Scene, over_the_wire};
    use crate::handlers::group_words::text;

    #[tokio::test(start_paused = true)]
    async fn members_are_known_in_every_version() {
        let scene = Scene::new().await;
        let member = scene.stable("g").await;
        for version in 0..=4 {
            let heartbeat = |member: &str, generation_id| {
                let request = HeartbeatRequest {
                    group_id: "g".into(),
                    generation_id,
                    member_id: text(member),
                    group_instance_id: None,
                };
                over_the_wire(version, request, |request| answer(&scene.groups, &request))
                    .error_code
            };
            assert_eq!(heartbeat(&member, 1), 0);
            assert_eq!(heartbeat(&member, 7), ErrorCode::IllegalGeneration.code());
            assert_eq!(heartbeat("who", 1), ErrorCode::UnknownMemberId.code());
        }
    }
}
