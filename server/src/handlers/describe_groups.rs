//! DescribeGroups: groups and their members.

use alluvium_metadata::coordinator::{
    GroupCoordinator, GroupDescription, GroupError, GroupState, MemberDescription,
};
use alluvium_protocol::StrBytes;
use alluvium_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use alluvium_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::group_words::{group_id, text};
use crate::broker::Broker;
use crate::dispatch::RequestInfo;
use crate::error_map;

/// Before this version an unknown group is described as dead (KIP-1043).
const GROUP_NOT_FOUND_VERSION: i16 = 6;

/// What may be done with a group where everything is allowed, as bits by number of Kafka's `AclOperation`:
/// READ 3, DELETE 6, DESCRIBE 8, DESCRIBE_CONFIGS 10, ALTER_CONFIGS 11.
const ALL_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// Answers DescribeGroups.
pub async fn handle(
    broker: &Broker,
    request: DescribeGroupsRequest,
    info: &RequestInfo,
) -> DescribeGroupsResponse {
    answer(&broker.groups, request, info.version)
}

fn answer(
    groups: &GroupCoordinator,
    request: DescribeGroupsRequest,
    version: i16,
) -> DescribeGroupsResponse {
    let describe = |name: StrBytes| {
        let described = match groups.describe_group(&group_id(&name)) {
            Ok(description) => show(description),
            Err(error) => refuse(name, error, version),
        };
        match request.include_authorized_operations && described.error_code == 0 {
            true => DescribedGroup {
                authorized_operations: ALL_OPERATIONS,
                ..described
            },
            false => described,
        }
    };
    DescribeGroupsResponse {
        groups: request.groups.into_iter().map(describe).collect(),
        ..DescribeGroupsResponse::default()
    }
}

fn show(description: GroupDescription) -> DescribedGroup {
    DescribedGroup {
        error_message: None,
        group_id: text(description.group_id.as_str()),
        group_state: StrBytes::from_static(description.state.name()),
        protocol_type: description.protocol_type.into(),
        protocol_data: description.protocol.into(),
        members: description.members.into_iter().map(show_member).collect(),
        ..DescribedGroup::default()
    }
}

fn show_member(member: MemberDescription) -> DescribedGroupMember {
    DescribedGroupMember {
        member_id: text(member.member_id.as_str()),
        group_instance_id: member.instance_id.map(|id| text(id.as_str())),
        client_id: member.client_id.into(),
        client_host: member.client_host.into(),
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    }
}

fn refuse(name: StrBytes, error: GroupError, version: i16) -> DescribedGroup {
    let group = DescribedGroup {
        group_id: name,
        error_message: None,
        ..DescribedGroup::default()
    };
    let dead = StrBytes::from_static(GroupState::Dead.name());
    match error {
        GroupError::GroupIdNotFound if version < GROUP_NOT_FOUND_VERSION => DescribedGroup {
            group_state: dead,
            ..group
        },
        GroupError::GroupIdNotFound => DescribedGroup {
            error_code: error_map::group(error).code(),
            error_message: Some(format!("Group {} not found.", group.group_id).into()),
            group_state: dead,
            ..group
        },
        _ => DescribedGroup {
            error_code: error_map::group(error).code(),
            ..group
        },
    }
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::ErrorCode;

    use super::*;
    use crate::handlers::group_testing::{Scene, over_the_wire};

    #[tokio::test(start_paused = true)]
    async fn groups_are_described_in_every_version() {
        let scene = Scene::new().await;
        let member = scene.stable("g").await;
        for version in 0..=6 {
            let request = DescribeGroupsRequest {
                groups: vec!["g".into(), "none".into()],
                include_authorized_operations: version >= 3,
            };
            let response = over_the_wire(version, request, |request| {
                answer(&scene.groups, request, version)
            });
            let [group, none] = &response.groups[..] else {
                panic!("two groups were asked for")
            };
            assert_eq!(
                (group.error_code, group.group_state.as_str()),
                (0, "Stable")
            );
            assert_eq!(group.protocol_type, "consumer");
            assert_eq!(group.protocol_data, "range");
            let shown = &group.members[0];
            assert_eq!(shown.member_id, member.as_str());
            assert_eq!(shown.client_host, "/127.0.0.1");
            assert_eq!(shown.member_assignment, "all");
            let operations = if version >= 3 { 3400 } else { i32::MIN };
            assert_eq!(group.authorized_operations, operations);

            assert_eq!(none.group_state, "Dead");
            let code = match version >= GROUP_NOT_FOUND_VERSION {
                true => ErrorCode::GroupIdNotFound.code(),
                false => 0,
            };
            assert_eq!(none.error_code, code, "version {version}");
        }
    }
}
