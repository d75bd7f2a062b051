//! OffsetFetch: how far groups have read.

use std::collections::BTreeMap;

use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use alluvium_metadata::coordinator::{GroupCoordinator, GroupError, OffsetRecord};
use alluvium_metadata::model::TopicRecord;
use alluvium_metadata::view::Topics;
use alluvium_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use alluvium_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use alluvium_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use alluvium_protocol::{ErrorCode, StrBytes};

use super::group_words::{TOPIC_ID_VERSION, find_topic, group_id, text};
use crate::broker::Broker;
use crate::dispatch::RequestInfo;
use crate::error_map;

/// From this version on a request may name several groups (KIP-709).
const BATCH_VERSION: i16 = 8;
/// From this version on there is an error for a whole group.
const GROUP_ERROR_VERSION: i16 = 2;

/// What Kafka answers where nothing is committed.
const NO_OFFSET: i64 = -1;

/// Answers OffsetFetch. A group or partition that has committed nothing is no error.
pub async fn handle(
    broker: &Broker,
    request: OffsetFetchRequest,
    info: &RequestInfo,
) -> OffsetFetchResponse {
    answer(&broker.groups, &broker.view.topics(), request, info.version).await
}

async fn answer(
    groups: &GroupCoordinator,
    topics: &Topics,
    request: OffsetFetchRequest,
    version: i16,
) -> OffsetFetchResponse {
    if version >= BATCH_VERSION {
        let mut fetched = Vec::with_capacity(request.groups.len());
        for group in request.groups {
            fetched.push(fetch_group(groups, topics, group, version).await);
        }
        return OffsetFetchResponse {
            groups: fetched,
            ..OffsetFetchResponse::default()
        };
    }
    let topic = |topic: OffsetFetchRequestTopic| OffsetFetchRequestTopics {
        name: topic.name,
        partition_indexes: topic.partition_indexes,
        ..OffsetFetchRequestTopics::default()
    };
    let asked = request.topics;
    let group = OffsetFetchRequestGroup {
        group_id: request.group_id,
        topics: asked.map(|asked| asked.into_iter().map(topic).collect()),
        ..OffsetFetchRequestGroup::default()
    };
    single_group(fetch_group(groups, topics, group, version).await)
}

/// The same answer in the form of the versions that had one group.
fn single_group(group: OffsetFetchResponseGroup) -> OffsetFetchResponse {
    let partition = |partition: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    };
    let topic = |topic: OffsetFetchResponseTopics| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    };
    OffsetFetchResponse {
        topics: group.topics.into_iter().map(topic).collect(),
        error_code: group.error_code,
        ..OffsetFetchResponse::default()
    }
}

async fn fetch_group(
    groups: &GroupCoordinator,
    topics: &Topics,
    asked: OffsetFetchRequestGroup,
    version: i16,
) -> OffsetFetchResponseGroup {
    let result = match &asked.topics {
        Some(wanted) => fetch_some(groups, topics, &asked.group_id, wanted, version).await,
        None => fetch_all(groups, topics, &asked.group_id).await,
    };
    match result {
        Ok(topics) => OffsetFetchResponseGroup {
            group_id: asked.group_id,
            topics,
            ..OffsetFetchResponseGroup::default()
        },
        Err(error) => refuse(asked, error, version),
    }
}

/// All topics in one call, which may cost a read of the metadata store.
async fn fetch_some(
    groups: &GroupCoordinator,
    topics: &Topics,
    group: &StrBytes,
    wanted: &[OffsetFetchRequestTopics],
    version: i16,
) -> Result<Vec<OffsetFetchResponseTopics>, GroupError> {
    let by_id = version >= TOPIC_ID_VERSION;
    let find = |topic: &OffsetFetchRequestTopics| {
        find_topic(topics, &topic.name, topic.topic_id, by_id).map(|record| record.topic_id)
    };
    let found: Vec<Result<TopicId, ErrorCode>> = wanted.iter().map(find).collect();
    let known = wanted.iter().zip(&found).filter_map(|(topic, id)| {
        let id = *id.as_ref().ok()?;
        let tp = move |index: &i32| TopicPartition::new(id, PartitionIndex(*index));
        Some(topic.partition_indexes.iter().map(tp))
    });
    let asked: Vec<TopicPartition> = known.flatten().collect();
    let fetched = groups.fetch_offsets(&group_id(group), Some(&asked)).await?;
    // As many answers as were asked for, in the same order.
    let mut offsets = fetched.partitions.into_iter().map(|(_, offset)| offset);
    let mut answered = Vec::with_capacity(wanted.len());
    for (topic, found) in wanted.iter().zip(found) {
        let indexes = topic.partition_indexes.iter();
        let partitions = match found {
            Ok(_) => indexes
                .map(|index| partition(*index, offsets.next().flatten(), ErrorCode::None))
                .collect(),
            // Of a name nothing is committed; an id is told to be unknown, so that clients refresh.
            Err(code) => {
                let code = if by_id { code } else { ErrorCode::None };
                indexes.map(|index| partition(*index, None, code)).collect()
            }
        };
        answered.push(OffsetFetchResponseTopics {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions,
        });
    }
    Ok(answered)
}

/// Offsets of topics that were deleted are about to be dropped, and not shown (I23).
async fn fetch_all(
    groups: &GroupCoordinator,
    topics: &Topics,
    group: &StrBytes,
) -> Result<Vec<OffsetFetchResponseTopics>, GroupError> {
    let fetched = groups.fetch_offsets(&group_id(group), None).await?;
    let mut by_topic: BTreeMap<TopicId, OffsetFetchResponseTopics> = BTreeMap::new();
    for (tp, offset) in fetched.partitions {
        let Some(record) = topics.with_id(tp.topic_id) else {
            continue;
        };
        let topic = by_topic.entry(tp.topic_id).or_insert_with(|| named(record));
        let answer = partition(tp.partition.0, offset, ErrorCode::None);
        topic.partitions.push(answer);
    }
    Ok(by_topic.into_values().collect())
}

fn named(record: &TopicRecord) -> OffsetFetchResponseTopics {
    OffsetFetchResponseTopics {
        name: text(record.name.as_str()),
        topic_id: record.topic_id.0,
        partitions: Vec::new(),
    }
}

fn partition(
    index: i32,
    offset: Option<OffsetRecord>,
    code: ErrorCode,
) -> OffsetFetchResponsePartitions {
    let none = OffsetFetchResponsePartitions {
        partition_index: index,
        committed_offset: NO_OFFSET,
        error_code: code.code(),
        ..OffsetFetchResponsePartitions::default()
    };
    match offset {
        None => none,
        Some(record) => OffsetFetchResponsePartitions {
            committed_offset: record.offset.map_or(NO_OFFSET, |offset| offset.get()),
            committed_leader_epoch: record.leader_epoch.map_or(-1, |epoch| epoch.0),
            metadata: Some(record.metadata.into()),
            ..none
        },
    }
}

/// Version 1 has room for errors in partitions only.
fn refuse(
    asked: OffsetFetchRequestGroup,
    error: GroupError,
    version: i16,
) -> OffsetFetchResponseGroup {
    let code = error_map::group(error);
    if version >= GROUP_ERROR_VERSION {
        return OffsetFetchResponseGroup {
            group_id: asked.group_id,
            error_code: code.code(),
            ..OffsetFetchResponseGroup::default()
        };
    }
    let topic = |topic: OffsetFetchRequestTopics| OffsetFetchResponseTopics {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: topic
            .partition_indexes
            .iter()
            .map(|index| partition(*index, None, code))
            .collect(),
    };
    OffsetFetchResponseGroup {
        group_id: asked.group_id,
        topics: asked
            .topics
            .unwrap_or_default()
            .into_iter()
            .map(topic)
            .collect(),
        ..OffsetFetchResponseGroup::default()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::handlers::group_testing::{Scene, over_the_wire_async};

    fn request(
        version: i16,
        group: &'static str,
        topics: Option<Vec<(&'static str, Uuid, Vec<i32>)>>,
    ) -> OffsetFetchRequest {
        let by_id = version >= TOPIC_ID_VERSION;
        if version >= BATCH_VERSION {
            let topic = |(name, id, partition_indexes): (&'static str, Uuid, Vec<i32>)| {
                OffsetFetchRequestTopics {
                    name: if by_id { "" } else { name }.into(),
                    topic_id: if by_id { id } else { Uuid::nil() },
                    partition_indexes,
                }
            };
            let group = OffsetFetchRequestGroup {
                group_id: group.into(),
                topics: topics.map(|topics| topics.into_iter().map(topic).collect()),
                ..OffsetFetchRequestGroup::default()
            };
            return OffsetFetchRequest {
                groups: vec![group],
                ..OffsetFetchRequest::default()
            };
        }
        let topic = |(name, _, partition_indexes): (&'static str, Uuid, Vec<i32>)| {
            OffsetFetchRequestTopic {
                name: name.into(),
                partition_indexes,
            }
        };
        OffsetFetchRequest {
            group_id: group.into(),
            topics: topics.map(|topics| topics.into_iter().map(topic).collect()),
            ..OffsetFetchRequest::default()
        }
    }

    /// Topic, partition, offset, error, of whatever form the version has.
    async fn fetch(
        scene: &Scene,
        version: i16,
        request: OffsetFetchRequest,
    ) -> (i16, Vec<(i32, i64, i16)>) {
        let response = over_the_wire_async(version, request, async |request| {
            answer(&scene.groups, &scene.topics, request, version).await
        })
        .await;
        if version >= BATCH_VERSION {
            let group = &response.groups[0];
            let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
            let shown = partitions.map(|p| (p.partition_index, p.committed_offset, p.error_code));
            return (group.error_code, shown.collect());
        }
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        let shown = partitions.map(|p| (p.partition_index, p.committed_offset, p.error_code));
        (response.error_code, shown.collect())
    }

    #[tokio::test(start_paused = true)]
    async fn committed_offsets_come_back_in_every_version() {
        let scene = Scene::new().await;
        scene.commit("g", "t", 1, 42).await;
        let (t, gone) = (scene.topic_id("t"), Uuid::from_u128(404));
        for version in 1..=10 {
            let asked = vec![("t", t, vec![1, 0, 77]), ("gone", gone, vec![3])];
            let fetched = fetch(&scene, version, request(version, "g", Some(asked))).await;
            let unknown = match version >= TOPIC_ID_VERSION {
                true => ErrorCode::UnknownTopicId.code(),
                false => 0,
            };
            let expected = vec![(1, 42, 0), (0, -1, 0), (77, -1, 0), (3, -1, unknown)];
            assert_eq!(fetched, (0, expected), "version {version}");
            let asked = vec![("t", t, vec![1])];
            let stranger = fetch(&scene, version, request(version, "other", Some(asked))).await;
            assert_eq!(stranger, (0, vec![(1, -1, 0)]), "no error");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_topics_are_those_that_still_exist() {
        let scene = Scene::new().await;
        scene.commit("g", "t", 1, 42).await;
        scene.commit("g", "u", 0, 7).await;
        let deleted = scene.without_topic("u").await;
        for version in 2..=10 {
            let fetched = fetch(&deleted, version, request(version, "g", None)).await;
            assert_eq!(fetched, (0, vec![(1, 42, 0)]), "version {version}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn metadata_and_many_groups_come_back() {
        let scene = Scene::new().await;
        scene.commit("g", "t", 0, 1).await;
        let mut both = request(9, "g", None);
        both.groups.extend(request(9, "other", None).groups);
        let response = answer(&scene.groups, &scene.topics, both, 9).await;
        assert_eq!(response.groups.len(), 2);
        let partition = &response.groups[0].topics[0].partitions[0];
        assert_eq!(partition.metadata.as_deref(), Some("note"));
        assert_eq!(partition.committed_leader_epoch, 5);
        assert!(response.groups[1].topics.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_coordinator_that_stopped_is_told_in_every_version() {
        let scene = Scene::new().await;
        scene.groups.close();
        let code = ErrorCode::NotCoordinator.code();
        for version in 1..=10 {
            let asked = vec![("t", scene.topic_id("t"), vec![0])];
            let fetched = fetch(&scene, version, request(version, "g", Some(asked))).await;
            let expected = match version {
                1 => (0, vec![(0, -1, code)]),
                _ => (code, vec![]),
            };
            assert_eq!(fetched, expected, "version {version}");
        }
    }
}
