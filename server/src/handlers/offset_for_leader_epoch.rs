//! OffsetForLeaderEpoch: where the records of a leader epoch end (KIP-320). Clients find truncation with it.

use alluvium_common::epoch::LeaderEpoch;
use alluvium_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use alluvium_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use alluvium_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use alluvium_protocol::{ErrorCode, StrBytes};
use alluvium_query::leader_epoch::end_offset;

use super::fetch::{leader_epoch, read_code};
use crate::broker::{Broker, TopicRef};
use crate::dispatch::RequestInfo;

/// Answers OffsetForLeaderEpoch.
pub async fn handle(
    broker: &Broker,
    request: OffsetForLeaderEpochRequest,
    _info: &RequestInfo,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let answers = topic.partitions.iter();
        let partitions = answers
            .map(|partition| find(broker, &topic.topic, partition))
            .collect();
        OffsetForLeaderTopicResult {
            topic: topic.topic,
            partitions,
        }
    });
    OffsetForLeaderEpochResponse {
        topics: topics.collect(),
        ..OffsetForLeaderEpochResponse::default()
    }
}

fn find(broker: &Broker, name: &StrBytes, partition: &OffsetForLeaderPartition) -> EpochEndOffset {
    let index = partition.partition;
    let topic = broker.topic(&TopicRef::Name(name));
    let Some(tp) = topic.and_then(|topic| Broker::partition(&topic, index)) else {
        return answer(index, ErrorCode::UnknownTopicOrPartition, None);
    };
    let believed = leader_epoch(partition.current_leader_epoch);
    let end = broker.reader.log(&tp).and_then(|log| {
        // A negative epoch is older than all, but has no records: "undefined", as Kafka answers.
        match leader_epoch(partition.leader_epoch) {
            Some(epoch) => end_offset(broker.reader.guard(), &log, believed, epoch),
            None => Ok(None),
        }
    });
    match end {
        Ok(end) => answer(
            index,
            ErrorCode::None,
            end.map(|end| (end.leader_epoch, end.end_offset.get())),
        ),
        Err(error) => answer(index, read_code(&error, true), None),
    }
}

fn answer(partition: i32, code: ErrorCode, end: Option<(LeaderEpoch, i64)>) -> EpochEndOffset {
    EpochEndOffset {
        error_code: code.code(),
        partition,
        leader_epoch: end.map_or(-1, |(epoch, _)| epoch.0),
        end_offset: end.map_or(-1, |(_, offset)| offset),
    }
}
