//! Groups seen from outside.

use alluvium_protocol::messages::describe_groups_response::DescribedGroup;
use alluvium_protocol::messages::{DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest};

use crate::script::{Script, text};

/// Of each state one.
const SHOWN: [&str; 5] = ["committing", "join-v9", "static-v9", "simple", "refused"];

pub fn lists(script: &mut Script) {
    let filters: [(&[&str], &[&str]); 8] = [
        (&[], &[]),
        (&["Stable"], &[]),
        (&["stable", "EMPTY"], &[]),
        (&["nonsense"], &[]),
        (&[], &["classic"]),
        (&[], &["Classic"]),
        (&[], &["consumer"]),
        (&[], &["nonsense"]),
    ];
    for version in 0..=5 {
        for (states, types) in filters {
            if version < 4 && !states.is_empty() || version < 5 && !types.is_empty() {
                continue;
            }
            let request = ListGroupsRequest {
                states_filter: states.iter().map(|name| text(name)).collect(),
                types_filter: types.iter().map(|name| text(name)).collect(),
            };
            let response = script.call(version, request);
            let shown = response
                .groups
                .iter()
                .filter(|group| SHOWN.contains(&&*group.group_id));
            let mut groups: Vec<_> = shown
                .map(|group| {
                    let (id, kind) = (&group.group_id, &group.protocol_type);
                    format!(
                        "{id} {kind:?} {:?} {:?}",
                        group.group_state, group.group_type
                    )
                })
                .collect();
            groups.sort();
            let what = format!("ListGroups v{version} {states:?} {types:?}");
            script.note(&what, (response.error_code, groups));
        }
    }
}

pub fn descriptions(script: &mut Script) {
    for version in 0..=6 {
        for include_authorized_operations in [false, true] {
            if include_authorized_operations && version < 3 {
                continue;
            }
            let names = SHOWN.iter().chain(&["nobody", ""]);
            let request = DescribeGroupsRequest {
                groups: names.map(|name| text(name)).collect(),
                include_authorized_operations,
            };
            let mut groups = script.call(version, request).groups;
            groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
            for group in &groups {
                script.note(&format!("DescribeGroups v{version}"), show(group));
            }
        }
    }
}

fn show(group: &DescribedGroup) -> String {
    let members: Vec<_> = group
        .members
        .iter()
        .map(|m| {
            let lengths = (m.member_metadata.len(), m.member_assignment.len());
            (&m.client_id, &m.client_host, &m.group_instance_id, lengths)
        })
        .collect();
    format!(
        "{:?} code {} {:?} {} {:?} {:?} operations {} {members:?}",
        group.group_id,
        group.error_code,
        group.error_message,
        group.group_state,
        group.protocol_type,
        group.protocol_data,
        group.authorized_operations,
    )
}

pub fn deletes(script: &mut Script) {
    for version in 0..=2 {
        let empty = format!("leave-v{version}");
        let names = ["committing", &empty, "nobody", ""];
        let request = DeleteGroupsRequest {
            groups_names: names.iter().map(|name| text(name)).collect(),
        };
        let response = script.call(version, request);
        let mut codes: Vec<_> = response
            .results
            .iter()
            .map(|result| (result.group_id.to_string(), result.error_code))
            .collect();
        codes.sort();
        script.note(&format!("DeleteGroups v{version}"), codes);
        let request = DescribeGroupsRequest {
            groups: vec![text(&empty)],
            ..DescribeGroupsRequest::default()
        };
        let described = script.call(6, request);
        let group = &described.groups[0];
        script.note(
            "DescribeGroups after it",
            (group.error_code, &group.group_state),
        );
    }
}
