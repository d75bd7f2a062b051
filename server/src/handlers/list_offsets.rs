//! ListOffsets: offsets by name and by time.

use std::collections::HashSet;

use alluvium_protocol::messages::list_offsets_request::ListOffsetsPartition;
use alluvium_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use alluvium_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use alluvium_protocol::{ErrorCode, StrBytes};
use alluvium_query::Isolation;
use alluvium_query::list_offsets::{FoundOffset, OffsetSpec};
use futures::stream::{self, StreamExt};

use super::fetch::{isolation, leader_epoch, read_code};
use crate::broker::{Broker, TopicRef};
use crate::dispatch::RequestInfo;

/// First version whose answers name leader epochs (KIP-207).
const LEADER_EPOCH_VERSION_MIN: i16 = 4;

/// Partitions of one request looked up at the same time; each may wait for the object store.
const CONCURRENT_LOOKUPS: usize = 8;

/// Answers ListOffsets.
pub async fn handle(
    broker: &Broker,
    request: ListOffsetsRequest,
    info: &RequestInfo,
) -> ListOffsetsResponse {
    let isolation = isolation(request.isolation_level);
    let duplicates = duplicates(&request);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let (name, duplicates) = (&topic.name, &duplicates);
        let answers = stream::iter(topic.partitions).map(|partition| async move {
            if duplicates.contains(&(name.clone(), partition.partition_index)) {
                return failed(partition.partition_index, ErrorCode::InvalidRequest);
            }
            find(broker, name, &partition, isolation, info.version).await
        });
        let partitions = answers.buffered(CONCURRENT_LOOKUPS).collect().await;
        topics.push(ListOffsetsTopicResponse {
            name: topic.name,
            partitions,
        });
    }
    ListOffsetsResponse {
        topics,
        ..ListOffsetsResponse::default()
    }
}

/// Partitions that the request names more than once, which Kafka refuses.
fn duplicates(request: &ListOffsetsRequest) -> HashSet<(StrBytes, i32)> {
    let mut seen = HashSet::new();
    let mut twice = HashSet::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let key = (topic.name.clone(), partition.partition_index);
            if !seen.insert(key.clone()) {
                twice.insert(key);
            }
        }
    }
    twice
}

/// What `timestamp` means in `version`: each name came with a version (KIP-734, KIP-405, KIP-1005, KIP-1023).
fn spec(timestamp: i64, version: i16) -> Option<OffsetSpec> {
    let spec = OffsetSpec::try_from(timestamp).ok()?;
    let version_min = match spec {
        OffsetSpec::Earliest | OffsetSpec::Latest | OffsetSpec::Timestamp(_) => 1,
        OffsetSpec::MaxTimestamp => 7,
        OffsetSpec::EarliestLocal => 8,
        OffsetSpec::LatestTiered => 9,
        OffsetSpec::EarliestPendingUpload => 11,
    };
    (version >= version_min).then_some(spec)
}

async fn find(
    broker: &Broker,
    name: &StrBytes,
    partition: &ListOffsetsPartition,
    isolation: Isolation,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let index = partition.partition_index;
    let Some(spec) = spec(partition.timestamp, version) else {
        return failed(index, ErrorCode::UnsupportedVersion);
    };
    let topic = broker.topic(&TopicRef::Name(name));
    let Some(tp) = topic.and_then(|topic| Broker::partition(&topic, index)) else {
        return failed(index, ErrorCode::UnknownTopicOrPartition);
    };
    let believed = leader_epoch(partition.current_leader_epoch);
    match broker.offsets.find(tp, spec, isolation, believed).await {
        Ok(None) => failed(index, ErrorCode::None),
        Ok(Some(found)) => write_found(index, &found, version),
        Err(error) => failed(index, read_code(&error, true)),
    }
}

fn write_found(index: i32, found: &FoundOffset, version: i16) -> ListOffsetsPartitionResponse {
    let leader_epoch = found
        .leader_epoch
        .filter(|_| version >= LEADER_EPOCH_VERSION_MIN);
    ListOffsetsPartitionResponse {
        partition_index: index,
        error_code: ErrorCode::None.code(),
        timestamp: found.timestamp.unwrap_or(-1),
        offset: found.offset.get(),
        leader_epoch: leader_epoch.map_or(-1, |epoch| epoch.0),
    }
}

/// No offset: because of an error, or because there is none.
fn failed(index: i32, code: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index: index,
        error_code: code.code(),
        timestamp: -1,
        offset: -1,
        leader_epoch: -1,
    }
}

#[cfg(test)]
mod tests {
    use alluvium_common::epoch::LeaderEpoch;
    use alluvium_common::offset::Offset;
    use alluvium_protocol::ApiKey;
    use alluvium_protocol::messages::list_offsets_request::ListOffsetsTopic;

    use super::*;
    use crate::handlers::group_testing::over_the_wire;

    #[test]
    fn answers_fit_every_version() {
        let found = FoundOffset {
            offset: Offset::new(7).expect("not negative"),
            timestamp: Some(9),
            leader_epoch: Some(LeaderEpoch(3)),
        };
        for version in ApiKey::ListOffsets.valid_versions() {
            let request = ListOffsetsRequest::default();
            let response = over_the_wire(version, request, |_| ListOffsetsResponse {
                topics: vec![ListOffsetsTopicResponse {
                    partitions: vec![
                        write_found(0, &found, version),
                        failed(1, ErrorCode::OffsetOutOfRange),
                    ],
                    ..ListOffsetsTopicResponse::default()
                }],
                ..ListOffsetsResponse::default()
            });
            let answers = &response.topics[0].partitions;
            assert_eq!((answers[0].offset, answers[0].timestamp), (7, 9));
            assert_eq!(answers[0].leader_epoch, if version < 4 { -1 } else { 3 });
            assert_eq!(answers[1].offset, -1);
        }
    }

    #[test]
    fn names_came_with_versions() {
        let known = |timestamp, versions: [i16; 2]| versions.map(|v| spec(timestamp, v).is_some());
        assert_eq!(known(-1, [1, 11]), [true, true]);
        assert_eq!(known(-2, [1, 11]), [true, true]);
        assert_eq!(known(-3, [6, 7]), [false, true]);
        assert_eq!(known(-4, [7, 8]), [false, true]);
        assert_eq!(known(-5, [8, 9]), [false, true]);
        assert_eq!(known(-6, [10, 11]), [false, true]);
        assert_eq!(known(-7, [10, 11]), [false, false]);
        assert_eq!(known(123, [1, 11]), [true, true]);
    }

    #[test]
    fn partitions_named_twice_are_noticed() {
        let partition = |partition_index| ListOffsetsPartition {
            partition_index,
            ..ListOffsetsPartition::default()
        };
        let request = ListOffsetsRequest {
            topics: vec![ListOffsetsTopic {
                name: StrBytes::from_static("t"),
                partitions: vec![partition(0), partition(1), partition(0)],
            }],
            ..ListOffsetsRequest::default()
        };
        let expected = HashSet::from([(StrBytes::from_static("t"), 0)]);
        assert_eq!(duplicates(&request), expected);
    }
}
