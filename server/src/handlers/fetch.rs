//! Fetch: record batches out, as they came in.

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::topic::{PartitionIndex, TopicId};
use alluvium_metadata::model::BrokerRecord;
use alluvium_protocol::messages::fetch_request::{
    FetchPartition as WirePartition, FetchTopic, ForgottenTopic,
};
use alluvium_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData,
};
use alluvium_protocol::messages::{FetchRequest as WireRequest, FetchResponse as WireResponse};
use alluvium_protocol::{ErrorCode, Records, StrBytes};
use alluvium_query::fetch::session::SessionRequest;
use alluvium_query::fetch::{
    FetchError, FetchPartition, FetchRequest, PartitionRead, PartitionResponse, TopicKey,
    TopicResolver,
};
use alluvium_query::{Isolation, ReadError};
use tracing::warn;
use uuid::Uuid;

use super::leader_hints::LeaderHints;
use crate::broker::{Broker, TopicRef};
use crate::dispatch::RequestInfo;
use crate::error_map;

/// First version that names topics by id (KIP-516).
const TOPIC_ID_VERSION_MIN: i16 = 13;

/// First version whose answers name the leader's address (KIP-951).
const NODE_ENDPOINTS_VERSION_MIN: i16 = 16;

/// First version whose clients know zstd (KIP-110).
const ZSTD_VERSION_MIN: i16 = 10;

/// Answers Fetch, after waiting for records as long as the client wants.
pub async fn handle(broker: &Broker, request: WireRequest, info: &RequestInfo) -> WireResponse {
    let isolation = isolation(request.isolation_level);
    let fetched = broker
        .fetcher
        .fetch(read_request(request, info.version), broker)
        .await;
    let fetched = match fetched {
        Ok(fetched) => fetched,
        Err(error) => {
            return WireResponse {
                error_code: error_map::fetch_session(error).code(),
                ..WireResponse::default()
            };
        }
    };
    let mut response = WireResponse {
        session_id: fetched.session_id,
        ..WireResponse::default()
    };
    for partition in fetched.partitions {
        let topic = topic_of(&mut response.responses, &partition.topic);
        let written = if knows_codec(broker, &partition.topic, info.version) {
            write_partition(broker, partition, isolation)
        } else {
            write_error(partition.partition.0, ErrorCode::UnsupportedCompressionType)
        };
        topic.partitions.push(written);
    }
    if info.version >= NODE_ENDPOINTS_VERSION_MIN {
        add_leader_hints(broker, &mut response);
    }
    response
}

/// Whether clients of `version` can read what the topic's own setting makes of every batch. What producers choose
/// by themselves is passed on, as Kafka does.
fn knows_codec(broker: &Broker, topic: &TopicKey, version: i16) -> bool {
    const SETTING: &str = "compression.type";
    if version >= ZSTD_VERSION_MIN {
        return true;
    }
    let topic = broker.topic(&topic_ref(topic));
    let own = topic.as_ref().and_then(|topic| topic.configs.get(SETTING));
    let codec = own.or_else(|| broker.loaded.topic_defaults.get(SETTING));
    codec.is_none_or(|codec| codec != "zstd")
}

/// The isolation level of a request. Unknown ones are the stricter one: never show more than was asked.
pub fn isolation(wire: i8) -> Isolation {
    match wire {
        0 => Isolation::ReadUncommitted,
        _ => Isolation::ReadCommitted,
    }
}

/// A leader epoch of a request; negative is none.
pub fn leader_epoch(wire: i32) -> Option<LeaderEpoch> {
    (wire >= 0).then_some(LeaderEpoch(wire))
}

fn size(wire: i32) -> usize {
    usize::try_from(wire).unwrap_or(0)
}

fn read_request(request: WireRequest, version: i16) -> FetchRequest {
    let wait = u64::try_from(request.max_wait_ms).unwrap_or(0);
    let by_topic_ids = version >= TOPIC_ID_VERSION_MIN;
    let topics = request.topics.into_iter();
    let forgotten = request.forgotten_topics_data.into_iter();
    // Empty before version 11, which brought it.
    let rack = (!request.rack_id.is_empty()).then(|| request.rack_id.to_string());
    FetchRequest {
        max_wait: Duration::from_millis(wait),
        min_bytes: size(request.min_bytes),
        max_bytes: size(request.max_bytes),
        isolation: isolation(request.isolation_level),
        rack,
        session: SessionRequest {
            id: request.session_id,
            epoch: request.session_epoch,
            by_topic_ids,
        },
        partitions: topics
            .flat_map(|topic| read_topic(topic, by_topic_ids))
            .collect(),
        forgotten: forgotten
            .flat_map(|topic| read_forgotten(topic, by_topic_ids))
            .collect(),
    }
}

fn key(name: &StrBytes, id: Uuid, by_topic_ids: bool) -> TopicKey {
    if by_topic_ids {
        TopicKey::Id(TopicId(id))
    } else {
        TopicKey::Name(Arc::from(name.as_str()))
    }
}

fn read_topic(topic: FetchTopic, by_topic_ids: bool) -> impl Iterator<Item = FetchPartition> {
    let key = key(&topic.topic, topic.topic_id, by_topic_ids);
    topic
        .partitions
        .into_iter()
        .map(move |partition| read_partition(&key, &partition))
}

fn read_partition(topic: &TopicKey, partition: &WirePartition) -> FetchPartition {
    FetchPartition {
        topic: topic.clone(),
        partition: PartitionIndex(partition.partition),
        fetch_offset: partition.fetch_offset,
        current_leader_epoch: leader_epoch(partition.current_leader_epoch),
        last_fetched_epoch: leader_epoch(partition.last_fetched_epoch),
        max_bytes: size(partition.partition_max_bytes),
    }
}

fn read_forgotten(
    topic: ForgottenTopic,
    by_topic_ids: bool,
) -> impl Iterator<Item = (TopicKey, PartitionIndex)> {
    let key = key(&topic.topic, topic.topic_id, by_topic_ids);
    let partitions = topic.partitions.into_iter();
    partitions.map(move |partition| (key.clone(), PartitionIndex(partition)))
}

impl TopicResolver for Broker {
    fn resolve(&self, topic: &TopicKey) -> Option<TopicId> {
        Some(self.topic(&topic_ref(topic))?.topic_id)
    }
}

fn topic_ref(topic: &TopicKey) -> TopicRef<'_> {
    match topic {
        TopicKey::Name(name) => TopicRef::Name(name),
        TopicKey::Id(id) => TopicRef::Id(*id),
    }
}

/// The entry for `topic`, a new one unless the last one is the same topic's.
fn topic_of<'a>(
    topics: &'a mut Vec<FetchableTopicResponse>,
    topic: &TopicKey,
) -> &'a mut FetchableTopicResponse {
    let is_same = topics.last().is_some_and(|last| match topic {
        TopicKey::Name(name) => last.topic == **name,
        TopicKey::Id(id) => last.topic_id == id.0,
    });
    if !is_same {
        let mut entry = FetchableTopicResponse::default();
        match topic {
            TopicKey::Name(name) => entry.topic = StrBytes::copy_of(name),
            TopicKey::Id(id) => entry.topic_id = id.0,
        }
        topics.push(entry);
    }
    let last = topics.len() - 1;
    &mut topics[last]
}

fn write_partition(
    broker: &Broker,
    partition: PartitionResponse,
    isolation: Isolation,
) -> PartitionData {
    let index = partition.partition.0;
    match partition.result {
        Ok(got) => write_read(index, got, isolation),
        Err(error) => write_error(index, code(broker, &partition.topic, index, &error)),
    }
}

fn write_read(index: i32, got: PartitionRead, isolation: Isolation) -> PartitionData {
    let PartitionRead {
        read,
        diverging,
        preferred,
        ..
    } = got;
    let aborted = read.aborted.iter().map(|aborted| AbortedTransaction {
        producer_id: aborted.producer_id.0,
        first_offset: aborted.first_offset.get(),
    });
    PartitionData {
        partition_index: index,
        high_watermark: read.offsets.high_watermark.get(),
        last_stable_offset: read.offsets.last_stable.get(),
        log_start_offset: read.offsets.log_start.get(),
        diverging_epoch: diverging.map_or_else(EpochEndOffset::default, |end| EpochEndOffset {
            epoch: end.leader_epoch.0,
            end_offset: end.end_offset.get(),
        }),
        aborted_transactions: match isolation {
            Isolation::ReadUncommitted => None,
            Isolation::ReadCommitted => Some(aborted.collect()),
        },
        preferred_read_replica: preferred.map_or(-1, |broker_id| broker_id.0),
        records: Some(Records::from(read.records)),
        ..PartitionData::default()
    }
}

fn write_error(index: i32, code: ErrorCode) -> PartitionData {
    PartitionData {
        partition_index: index,
        error_code: code.code(),
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        aborted_transactions: None,
        records: Some(Records::new()),
        ..PartitionData::default()
    }
}

fn code(broker: &Broker, topic: &TopicKey, index: i32, error: &FetchError) -> ErrorCode {
    let error = match (error, topic) {
        (FetchError::UnknownTopic, TopicKey::Name(_)) => return ErrorCode::UnknownTopicOrPartition,
        (FetchError::UnknownTopic, TopicKey::Id(_)) => return ErrorCode::UnknownTopicId,
        (FetchError::Read(error), _) => error,
    };
    let exists = broker
        .topic(&topic_ref(topic))
        .is_some_and(|topic| Broker::partition(&topic, index).is_some());
    read_code(error, exists)
}

/// The code for a failed read, which is logged where it is the broker's own fault. `exists`: whether the
/// metadata know the partition.
pub fn read_code(error: &ReadError, exists: bool) -> ErrorCode {
    if let ReadError::Segment(_)
    | ReadError::WriteAheadLog(_)
    | ReadError::Batch(_)
    | ReadError::Internal(_) = error
    {
        warn!(%error, "a partition could not be read");
    }
    match error {
        ReadError::UnknownPartition if !exists => ErrorCode::UnknownTopicOrPartition,
        error => error_map::read(error),
    }
}

/// KIP-951.
fn add_leader_hints(broker: &Broker, response: &mut WireResponse) {
    let picture = broker.view.picture();
    let mut hints = LeaderHints::new(&picture, broker.identity.broker_id);
    for topic in &mut response.responses {
        let found = broker.topic(&TopicRef::new(&topic.topic, topic.topic_id));
        for answer in &mut topic.partitions {
            let (code, index) = (answer.error_code, answer.partition_index);
            if let Some(hint) = hints.hint(code, found.as_deref(), index) {
                answer.current_leader = LeaderIdAndEpoch {
                    leader_id: hint.leader_id,
                    leader_epoch: hint.leader_epoch,
                };
            }
        }
    }
    let endpoint = |broker: &BrokerRecord| NodeEndpoint {
        node_id: broker.broker_id.0,
        host: broker.host.clone().into(),
        port: i32::from(broker.port),
        rack: broker.rack.clone().map(Into::into),
    };
    response.node_endpoints = hints.endpoints().map(endpoint).collect();
}

#[cfg(test)]
mod tests {
    use alluvium_common::offset::{LogOffsets, Offset};
    use alluvium_protocol::ApiKey;
    use alluvium_query::LogRead;
    use bytes::Bytes;

    use super::*;
    use crate::handlers::group_testing::over_the_wire;

    fn wire_request() -> WireRequest {
        WireRequest {
            max_wait_ms: -1,
            min_bytes: -5,
            max_bytes: 100,
            session_id: 7,
            session_epoch: 3,
            topics: vec![FetchTopic {
                topic: StrBytes::from_static("t"),
                topic_id: Uuid::nil(),
                partitions: vec![WirePartition {
                    partition: 2,
                    fetch_offset: -9,
                    partition_max_bytes: -1,
                    ..WirePartition::default()
                }],
            }],
            ..WireRequest::default()
        }
    }

    #[test]
    fn absurd_numbers_become_harmless_ones() {
        let request = read_request(wire_request(), 11);
        assert_eq!((request.min_bytes, request.max_bytes), (0, 100));
        assert_eq!(request.max_wait, Duration::ZERO);
        let partition = &request.partitions[0];
        assert_eq!((partition.max_bytes, partition.fetch_offset), (0, -9));
        assert_eq!(partition.current_leader_epoch, None);
        assert_eq!((request.session.id, request.session.epoch), (7, 3));
        assert!(!request.session.by_topic_ids);
    }

    #[test]
    fn old_versions_have_no_session() {
        let old = WireRequest {
            session_id: 0,
            session_epoch: -1,
            ..wire_request()
        };
        let request = read_request(old, 4);
        assert_eq!(request.session, SessionRequest::NONE);
    }

    #[test]
    fn partitions_of_one_topic_stand_together() {
        let mut topics = Vec::new();
        for name in ["a", "a", "b", "a"] {
            let topic = topic_of(&mut topics, &TopicKey::Name(name.into()));
            topic.partitions.push(write_error(0, ErrorCode::None));
        }
        let counts: Vec<_> = topics.iter().map(|topic| topic.partitions.len()).collect();
        assert_eq!(counts, [2, 1, 1]);
    }

    fn got() -> PartitionRead {
        let at = |value| Offset::new(value).expect("not negative");
        let records = vec![Bytes::from_static(b"abc"), Bytes::from_static(b"def")];
        PartitionRead {
            read: LogRead {
                records,
                size_bytes: 6,
                offsets: LogOffsets {
                    log_start: at(1),
                    last_stable: at(2),
                    high_watermark: at(3),
                    log_end: at(4),
                },
                ..LogRead::default()
            },
            leader_epoch: LeaderEpoch(0),
            diverging: None,
            preferred: None,
        }
    }

    #[test]
    fn records_are_passed_on_and_offsets_told() {
        let (read, address) = (got(), got().read.records[0].as_ptr());
        let data = write_read(5, read, Isolation::ReadUncommitted);
        assert_eq!(data.aborted_transactions, None, "null, as Kafka answers");
        let pieces = data.records.expect("records").pieces().to_vec();
        assert_eq!(pieces[0].as_ptr(), address);
        let offsets = (
            data.log_start_offset,
            data.last_stable_offset,
            data.high_watermark,
        );
        assert_eq!(offsets, (1, 2, 3));
        let data = write_read(5, got(), Isolation::ReadCommitted);
        assert_eq!(data.aborted_transactions, Some(Vec::new()));
    }

    #[test]
    fn answers_fit_every_version() {
        for version in ApiKey::Fetch.valid_versions() {
            let response = over_the_wire(version, WireRequest::default(), |_| WireResponse {
                session_id: if version < 7 { 0 } else { 9 },
                responses: vec![FetchableTopicResponse {
                    partitions: vec![
                        write_read(0, got(), Isolation::ReadCommitted),
                        write_error(1, ErrorCode::OffsetOutOfRange),
                    ],
                    ..FetchableTopicResponse::default()
                }],
                ..WireResponse::default()
            });
            let answers = &response.responses[0].partitions;
            assert_eq!(
                answers[0].records,
                Some(Records::from(Bytes::from_static(b"abcdef")))
            );
            assert_eq!(answers[0].high_watermark, 3);
            assert_eq!(answers[1].error_code, ErrorCode::OffsetOutOfRange.code());
        }
    }

    #[test]
    fn a_partition_that_does_not_exist_is_not_one_led_elsewhere() {
        let error = ReadError::UnknownPartition;
        assert_eq!(read_code(&error, false), ErrorCode::UnknownTopicOrPartition);
        assert_eq!(read_code(&error, true), ErrorCode::NotLeaderOrFollower);
    }
}
