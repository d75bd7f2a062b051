//! DeleteGroups: groups without members, with all their offsets.

use alluvium_metadata::coordinator::GroupCoordinator;
use alluvium_protocol::messages::delete_groups_response::DeletableGroupResult;
use alluvium_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use futures::StreamExt;

use super::group_words::group_id;
use crate::broker::Broker;
use crate::dispatch::RequestInfo;
use crate::error_map;

/// Groups of one request that are deleted at a time; their writes share transactions.
const CONCURRENT_MAX: usize = 100;

/// Answers DeleteGroups.
pub async fn handle(
    broker: &Broker,
    request: DeleteGroupsRequest,
    _info: &RequestInfo,
) -> DeleteGroupsResponse {
    answer(&broker.groups, request).await
}

async fn answer(groups: &GroupCoordinator, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let delete = async |name| {
        let result = groups.delete_group(&group_id(&name)).await;
        DeletableGroupResult {
            group_id: name,
            error_code: error_map::group_result(result).code(),
            error_message: result.err().map(|error| error.to_string().into()),
        }
    };
    let results = futures::stream::iter(request.groups_names)
        .map(delete)
        .buffered(CONCURRENT_MAX);
    DeleteGroupsResponse {
        results: results.collect().await,
        ..DeleteGroupsResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::ErrorCode;

    use super::*;
    use crate::handlers::group_testing::{Scene, over_the_wire_async};

    #[tokio::test(start_paused = true)]
    async fn empty_groups_are_deleted_in_every_version() {
        for version in 0..=3 {
            let scene = Scene::new().await;
            scene.stable("busy").await;
            scene.commit("idle", "t", 0, 1).await;
            let request = DeleteGroupsRequest {
                groups_names: vec!["busy".into(), "idle".into(), "none".into()],
            };
            let response = over_the_wire_async(version, request, async |request| {
                answer(&scene.groups, request).await
            })
            .await;
            let codes: Vec<_> = response.results.iter().map(|r| r.error_code).collect();
            let busy = ErrorCode::NonEmptyGroup.code();
            let none = ErrorCode::GroupIdNotFound.code();
            assert_eq!(codes, [busy, 0, none], "version {version}");
            assert_eq!(scene.committed("idle", "t", 0).await, None);
        }
    }
}
