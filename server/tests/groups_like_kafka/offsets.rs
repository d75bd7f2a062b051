//! How far groups have read.

use alluvium_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use alluvium_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use alluvium_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use alluvium_protocol::messages::{
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, OffsetFetchResponse,
};
use uuid::Uuid;

use crate::script::{OTHER, SUBSCRIBED, Script, text};

pub fn commits_of_members(script: &mut Script) {
    let member = script.stable("committing", None);
    for version in 2..=10 {
        let cases: [(&str, &str, i32, &[i32]); 5] = [
            ("of a member", &member, 1, &[0, 2, 7, -1]),
            ("of another generation", &member, 3, &[0]),
            ("of nobody", "", -1, &[0]),
            ("of a member without generation", &member, -1, &[0]),
            ("of a stranger", "who", 1, &[0]),
        ];
        for (what, member, generation, partitions) in cases {
            let request =
                script.commit_request(version, "committing", member, generation, partitions);
            let codes = script.commit(version, request);
            script.note(&format!("OffsetCommit v{version} {what}"), codes);
        }
    }
}

pub fn commits_without_members(script: &mut Script) {
    for version in 2..=10 {
        let cases: [(&str, &str, &str, i32); 5] = [
            ("of a missing group's member", "missing", "m", 1),
            ("without members", "simple", "", -1),
            ("of a member of none", "simple", "m", 1),
            ("of a member of none, without generation", "simple", "m", -1),
            ("of the empty group id", "", "", -1),
        ];
        for (what, group, member, generation) in cases {
            let request = script.commit_request(version, group, member, generation, &[0, 9]);
            let codes = script.commit(version, request);
            script.note(&format!("OffsetCommit v{version} {what}"), codes);
        }
        let sized = |index, metadata: usize, offset| OffsetCommitRequestPartition {
            partition_index: index,
            committed_offset: offset,
            committed_leader_epoch: 3,
            committed_metadata: Some(text(&"m".repeat(metadata))),
        };
        let mut request = script.commit_request(version, "simple", "", -1, &[]);
        request.topics[0].partitions = vec![sized(0, 4096, 7), sized(1, 4097, 8), sized(2, 0, -1)];
        let codes = script.commit(version, request);
        script.note(
            &format!("OffsetCommit v{version} with much metadata"),
            codes,
        );
        let codes = commit_to_no_topic(script, version);
        script.note(&format!("OffsetCommit v{version} to no topic"), codes);
    }
}

fn commit_to_no_topic(script: &mut Script, version: i16) -> Vec<(i32, i16)> {
    let by_id = version >= 10;
    let request = OffsetCommitRequest {
        topics: vec![OffsetCommitRequestTopic {
            name: text(if by_id { "" } else { "gone" }),
            topic_id: if by_id {
                Uuid::from_u128(404)
            } else {
                Uuid::nil()
            },
            partitions: vec![OffsetCommitRequestPartition::default()],
        }],
        ..script.commit_request(version, "simple", "", -1, &[])
    };
    script.commit(version, request)
}

pub fn fetches(script: &mut Script) {
    for version in 1..=10 {
        for group in ["committing", "simple", "nobody", ""] {
            let some = fetch(script, version, group, false);
            script.note(&format!("OffsetFetch v{version} of {group:?}"), some);
            if version >= 2 {
                let all = fetch(script, version, group, true);
                script.note(&format!("OffsetFetch v{version} of {group:?}, all"), all);
            }
        }
    }
}

fn fetch(script: &mut Script, version: i16, group: &str, all: bool) -> (i16, Vec<String>) {
    let by_id = version >= 10;
    let asked = [
        (SUBSCRIBED, script.topic_id, vec![0, 1, 2, 8]),
        ("gone", Uuid::from_u128(404), vec![0]),
    ];
    let request = if version >= 8 {
        let topic = |(name, id, indexes): &(&str, Uuid, Vec<i32>)| OffsetFetchRequestTopics {
            name: text(if by_id { "" } else { name }),
            topic_id: if by_id { *id } else { Uuid::nil() },
            partition_indexes: indexes.clone(),
        };
        OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup {
                group_id: text(group),
                topics: (!all).then(|| asked.iter().map(topic).collect()),
                ..OffsetFetchRequestGroup::default()
            }],
            ..OffsetFetchRequest::default()
        }
    } else {
        let topic = |(name, _, indexes): &(&str, Uuid, Vec<i32>)| OffsetFetchRequestTopic {
            name: text(name),
            partition_indexes: indexes.clone(),
        };
        OffsetFetchRequest {
            group_id: text(group),
            topics: (!all).then(|| asked.iter().map(topic).collect()),
            ..OffsetFetchRequest::default()
        }
    };
    let response = script.call(version, request);
    show_fetch(&response)
}

/// Partition, offset, leader epoch, length of the metadata and error code.
fn show_fetch(response: &OffsetFetchResponse) -> (i16, Vec<String>) {
    let single = response.topics.iter().flat_map(|topic| &topic.partitions);
    let mut shown: Vec<String> = single
        .map(|p| {
            let metadata = p.metadata.as_deref().map(str::len);
            let (index, offset) = (p.partition_index, p.committed_offset);
            let (epoch, code) = (p.committed_leader_epoch, p.error_code);
            format!("{index} {offset} {epoch} {metadata:?} {code}")
        })
        .collect();
    let mut code = response.error_code;
    for group in &response.groups {
        code = group.error_code;
        let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
        shown.extend(partitions.map(|p| {
            let metadata = p.metadata.as_deref().map(str::len);
            let (index, offset) = (p.partition_index, p.committed_offset);
            let (epoch, code) = (p.committed_leader_epoch, p.error_code);
            format!("{index} {offset} {epoch} {metadata:?} {code}")
        }));
    }
    shown.sort();
    (code, shown)
}

pub fn deletes(script: &mut Script) {
    for group in ["", "nobody", "simple", "committing"] {
        for topics in [&[SUBSCRIBED, OTHER, "gone"][..], &["gone"], &[]] {
            let partition = |partition_index| OffsetDeleteRequestPartition { partition_index };
            let topic = |name: &&str| OffsetDeleteRequestTopic {
                name: text(name),
                partitions: [0, 2, 9].map(partition).into(),
            };
            let request = OffsetDeleteRequest {
                group_id: text(group),
                topics: topics.iter().map(topic).collect(),
            };
            let response = script.call(0, request);
            let mut codes = Vec::new();
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let index = partition.partition_index;
                    codes.push((topic.name.to_string(), index, partition.error_code));
                }
            }
            codes.sort();
            let what = format!("OffsetDelete of {group:?} {topics:?}");
            script.note(&what, (response.error_code, codes));
        }
    }
}
