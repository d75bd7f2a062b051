//! Who is in a group.

use alluvium_protocol::messages::leave_group_request::MemberIdentity;
use alluvium_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, JoinGroupRequest,
    LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest, SyncGroupRequest,
};

use crate::connection::Connection;
use crate::script::{Script, join, show_join, show_sync, sync, text};

/// Heartbeats until a rebalance that was begun on another connection is noticed.
const HEARTBEATS_MAX: usize = 100_000;

pub fn coordinators(script: &mut Script) {
    for version in 0..=6 {
        // Kafka's key types: 0 groups, 2 share groups; 9 is none.
        for key_type in [0, 2, 9].into_iter().filter(|t| version > 0 || *t == 0) {
            let request = FindCoordinatorRequest {
                key: text(if version < 4 { "g" } else { "" }),
                key_type,
                coordinator_keys: match version < 4 {
                    true => Vec::new(),
                    false => vec![text("g"), text("")],
                },
            };
            let response = script.call(version, request);
            let of_keys: Vec<_> = response
                .coordinators
                .iter()
                .map(|c| {
                    (
                        c.key.as_str(),
                        c.error_code,
                        c.node_id.signum(),
                        c.port.signum(),
                    )
                })
                .collect();
            let of_key = (response.error_code, response.node_id.signum());
            let what = format!("FindCoordinator v{version} of type {key_type}");
            script.note(&what, (of_key, of_keys));
        }
    }
}

pub fn joins(script: &mut Script) {
    for version in 0..=9 {
        let request = |group: &str, member: &str| join(group, member, None, version);
        let short = JoinGroupRequest {
            session_timeout_ms: 5,
            ..request("refused", "")
        };
        let no_protocol = JoinGroupRequest {
            protocols: Vec::new(),
            ..request("refused", "")
        };
        let no_type = JoinGroupRequest {
            protocol_type: text(""),
            ..request("refused", "")
        };
        let group = format!("join-v{version}");
        let steps = [
            ("without a group", request("", "")),
            ("with a short session", short),
            ("of a stranger", request("nobody", "who")),
            ("without a protocol", no_protocol),
            ("without a protocol type", no_type),
            ("first", request(&group, "")),
        ];
        let mut last = None;
        for (what, request) in steps {
            let response = script.call(version, request);
            let what = format!("JoinGroup v{version} {what}");
            script.note(&what, show_join(&response));
            last = Some(response);
        }
        let mut member = last.unwrap().member_id.to_string();
        let joined = script.call(version, request(&group, &member));
        member = joined.member_id.to_string();
        script.note(&format!("JoinGroup v{version} named"), show_join(&joined));
        let again = script.call(version, request(&group, &member));
        script.note(&format!("JoinGroup v{version} again"), show_join(&again));
        let other_type = JoinGroupRequest {
            protocol_type: text("connect"),
            ..request(&group, "")
        };
        let other = script.call(version, other_type);
        script.note(
            &format!("JoinGroup v{version} of another type"),
            show_join(&other),
        );
    }
}

pub fn syncs_and_heartbeats(script: &mut Script) {
    for version in 0..=5 {
        let group = format!("sync-v{version}");
        let member = script.join(&group, None, 9).member_id.to_string();
        let request =
            |group: &str, member: &str, generation| sync(group, member, generation, None, version);
        let mut steps = vec![
            ("without a group", request("", &member, 1)),
            ("of an unknown group", request("nobody", &member, 1)),
            ("of a stranger", request(&group, "who", 1)),
            ("of another generation", request(&group, &member, 9)),
        ];
        if version >= 5 {
            let unnamed = SyncGroupRequest {
                protocol_name: None,
                ..request(&group, &member, 1)
            };
            let other = SyncGroupRequest {
                protocol_name: Some(text("roundrobin")),
                ..request(&group, &member, 1)
            };
            steps.extend([
                ("without a protocol", unnamed),
                ("of another protocol", other),
            ]);
        }
        steps.extend([
            ("of the leader", request(&group, &member, 1)),
            ("again", request(&group, &member, 1)),
        ]);
        for (what, request) in steps {
            if what == "of the leader" {
                let code = script.heartbeat(&group, &member, 1, None);
                script.note("Heartbeat before the assignment", code);
                let request = script.commit_request(8, &group, &member, 1, &[0]);
                let codes = script.commit(8, request);
                script.note("OffsetCommit before the assignment", codes);
            }
            let response = script.call(version, request);
            script.note(
                &format!("SyncGroup v{version} {what}"),
                show_sync(&response),
            );
        }
        let codes = [
            script.heartbeat(&group, &member, 1, None),
            script.heartbeat(&group, &member, 2, None),
            script.heartbeat(&group, &member, 1, Some("i")),
            script.heartbeat("", &member, 1, None),
        ];
        script.note("Heartbeats", codes);
    }
}

pub fn static_members(script: &mut Script) {
    for version in [5, 7, 9] {
        let group = format!("static-v{version}");
        let request = |member: &str, instance| join(&group, member, Some(instance), version);
        let first = script.call(version, request("", "i"));
        script.note(&format!("static v{version} joins"), show_join(&first));
        let old = first.member_id.to_string();
        script.call(5, sync(&group, &old, 1, Some("i"), 5));
        let back = script.call(version, request("", "i"));
        script.note(&format!("static v{version} is back"), show_join(&back));
        let new = back.member_id.to_string();
        let codes = [
            script.heartbeat(&group, &old, 1, Some("i")),
            script.heartbeat(&group, &old, 1, None),
            script
                .call(5, sync(&group, &old, 1, Some("i"), 5))
                .error_code,
        ];
        script.note("the old id in Heartbeat and SyncGroup", codes);
        for (what, request) in [
            ("the old id", request(&old, "i")),
            ("another instance id", request(&new, "j")),
        ] {
            let response = script.call(version, request);
            script.note(&format!("{what} joins"), show_join(&response));
        }
        let synced = script.call(5, sync(&group, &new, 1, Some("i"), 5));
        script.note("the new id syncs", show_sync(&synced));
        for member in [&old, &new] {
            let request = OffsetCommitRequest {
                group_instance_id: Some(text("i")),
                ..script.commit_request(8, &group, member, 1, &[0])
            };
            let codes = script.commit(8, request);
            script.note("OffsetCommit of old and new id", codes);
        }
        let left = leave(
            script,
            5,
            &group,
            &[
                (&old, Some("i")),
                ("", Some("j")),
                ("", None),
                ("who", None),
                ("", Some("i")),
                ("", Some("i")),
            ],
        );
        script.note("static members are removed", left);
    }
}

pub fn a_rebalance(script: &mut Script) {
    let mut second = Connection::open(&script.address);
    let a = script.stable("two", None);
    let asked = second.call(9, join("two", "", None, 9));
    script.note("a second member is given an id", show_join(&asked));
    let code = script.heartbeat("two", &a, 1, None);
    script.note("which disturbs nobody", code);
    second.send(9, join("two", &asked.member_id, None, 9));
    let mut code = 0;
    for _ in 0..HEARTBEATS_MAX {
        code = script.heartbeat("two", &a, 1, None);
        if code != 0 {
            break;
        }
    }
    script.note("until it joins", code);
    let synced = script.call(5, sync("two", &a, 1, None, 5));
    script.note("SyncGroup meanwhile", show_sync(&synced));
    let request = script.commit_request(8, "two", &a, 1, &[0]);
    let codes = script.commit(8, request);
    script.note("OffsetCommit meanwhile", codes);
    let described = script.call(
        6,
        DescribeGroupsRequest {
            groups: vec![text("two")],
            ..DescribeGroupsRequest::default()
        },
    );
    let group = &described.groups[0];
    let mut members: Vec<_> = group
        .members
        .iter()
        .map(|m| (m.member_metadata.len(), m.member_assignment.len()))
        .collect();
    members.sort_unstable();
    script.note(
        "DescribeGroups meanwhile",
        (&group.group_state, &group.protocol_data, members),
    );
    let deleted = script.call(
        2,
        DeleteGroupsRequest {
            groups_names: vec![text("two")],
        },
    );
    script.note("DeleteGroups meanwhile", deleted.results[0].error_code);

    let joined = script.call(9, join("two", &a, None, 9));
    script.note("the first joins again", show_join(&joined));
    let joined = second.receive::<JoinGroupRequest>(9);
    script.note("and so the second", show_join(&joined));
    let b = joined.member_id.to_string();
    second.send(5, sync("two", &b, 2, None, 5));
    let synced = script.call(5, sync("two", &a, 2, None, 5));
    script.note("the leader syncs", show_sync(&synced));
    let synced = second.receive::<SyncGroupRequest>(5);
    script.note("a follower that was given nothing", show_sync(&synced));
    let unchanged = second.call(9, join("two", &b, None, 9));
    script.note("a follower joins unchanged", show_join(&unchanged));
    let left = leave(script, 5, "two", &[(&a, None)]);
    script.note("the leader leaves", left);
    let code = script.heartbeat("two", &b, 2, None);
    script.note("Heartbeat of the follower", code);
    let alone = second.call(9, join("two", &b, None, 9));
    script.note("which joins alone", show_join(&alone));
}

pub fn leaves(script: &mut Script) {
    for version in 0..=5 {
        for group in ["", "nobody"] {
            let left = leave(script, version, group, &[("m", None)]);
            script.note(&format!("LeaveGroup v{version} of {group:?}"), left);
        }
        let group = format!("leave-v{version}");
        let member = script.stable(&group, None);
        let left = leave(script, version, &group, &[(&member, None)]);
        script.note(&format!("LeaveGroup v{version}"), left);
        let code = script.heartbeat(&group, &member, 1, None);
        script.note("Heartbeat after it", code);
    }
}

/// The group's error code, and those of its members.
fn leave(
    script: &mut Script,
    version: i16,
    group: &str,
    members: &[(&str, Option<&str>)],
) -> (i16, Vec<i16>) {
    let identity = |(member, instance): &(&str, Option<&str>)| MemberIdentity {
        member_id: text(member),
        group_instance_id: instance.map(text),
        reason: None,
    };
    let single = version < 3;
    let request = LeaveGroupRequest {
        group_id: text(group),
        member_id: text(if single { members[0].0 } else { "" }),
        members: match single {
            true => Vec::new(),
            false => members.iter().map(identity).collect(),
        },
    };
    let response: LeaveGroupResponse = script.call(version, request);
    let codes = response.members.iter().map(|m| m.error_code).collect();
    (response.error_code, codes)
}
