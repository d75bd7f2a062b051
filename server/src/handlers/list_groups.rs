//! ListGroups: the groups that this broker coordinates.

use alluvium_metadata::coordinator::{GroupCoordinator, GroupListing, ListFilter};
use alluvium_protocol::StrBytes;
use alluvium_protocol::messages::list_groups_response::ListedGroup;
use alluvium_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use super::group_words::text;
use crate::broker::Broker;
use crate::dispatch::RequestInfo;
use crate::error_map;

/// Kafka's name for groups of the protocol before KIP-848.
const GROUP_TYPE: StrBytes = StrBytes::from_static("classic");

/// Answers ListGroups.
pub async fn handle(
    broker: &Broker,
    request: ListGroupsRequest,
    _info: &RequestInfo,
) -> ListGroupsResponse {
    answer(&broker.groups, &request)
}

fn answer(groups: &GroupCoordinator, request: &ListGroupsRequest) -> ListGroupsResponse {
    let owned = |names: &[StrBytes]| names.iter().map(|name| name.as_str().to_owned()).collect();
    let filter = ListFilter {
        states: owned(&request.states_filter),
        types: owned(&request.types_filter),
    };
    match groups.list_groups(&filter) {
        Ok(listed) => ListGroupsResponse {
            groups: listed.iter().map(show).collect(),
            ..ListGroupsResponse::default()
        },
        Err(error) => ListGroupsResponse {
            error_code: error_map::group(error).code(),
            ..ListGroupsResponse::default()
        },
    }
}

fn show(listing: &GroupListing) -> ListedGroup {
    ListedGroup {
        group_id: text(listing.group_id.as_str()),
        protocol_type: text(&listing.protocol_type),
        group_state: StrBytes::from_static(listing.state.name()),
        group_type: GROUP_TYPE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::group_testing::{Scene, over_the_wire};

    fn list(scene: &Scene, version: i16, states: &[&str], types: &[&str]) -> Vec<ListedGroup> {
        let owned = |names: &[&str]| names.iter().map(text).collect();
        let request = ListGroupsRequest {
            states_filter: owned(states),
            types_filter: owned(types),
        };
        let response = over_the_wire(version, request, |request| answer(&scene.groups, &request));
        assert_eq!(response.error_code, 0);
        response.groups
    }

    #[tokio::test(start_paused = true)]
    async fn groups_are_listed_in_every_version() {
        let scene = Scene::new().await;
        scene.commit("simple", "t", 0, 1).await;
        scene.stable("g").await;
        for version in 0..=5 {
            let listed = list(&scene, version, &[], &[]);
            let ids: Vec<_> = listed.iter().map(|g| g.group_id.as_str()).collect();
            assert_eq!(ids, ["g", "simple"]);
            assert_eq!(listed[0].protocol_type, "consumer");
            assert_eq!(listed[1].protocol_type, "");
            let state = if version >= 4 { "Stable" } else { "" };
            assert_eq!(listed[0].group_state, state);
            let group_type = if version >= 5 { "classic" } else { "" };
            assert_eq!(listed[0].group_type, group_type);
        }
        assert_eq!(list(&scene, 4, &["Empty"], &[])[0].group_id, "simple");
        assert_eq!(list(&scene, 5, &["stable"], &["Classic"])[0].group_id, "g");
        assert!(list(&scene, 5, &[], &["consumer"]).is_empty());
    }
}
