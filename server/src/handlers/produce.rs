//! Produce: batches in, offsets out, once they are as durable as their topics demand.
//!
//! Two stages. The first runs as soon as the request is read and never waits: every batch is checked, gets its
//! offsets and is handed to the write path, so that requests of one connection are appended in their order. The
//! second waits for durability.

use std::sync::Arc;
use std::time::Duration;

use alluvium_ingest::ack::{Acks, AppendTicket, Appended};
use alluvium_ingest::backpressure::FramePermit;
use alluvium_ingest::error::AppendError;
use alluvium_ingest::partition::AppendOptions;
use alluvium_ingest::validate::ClientRules;
use alluvium_metadata::model::{BrokerRecord, TopicRecord};
use alluvium_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use alluvium_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    TopicProduceResponse,
};
use alluvium_protocol::messages::{ProduceRequest, ProduceResponse};
use alluvium_protocol::{ErrorCode, StrBytes};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::leader_hints::LeaderHints;
use crate::broker::{Broker, TopicRef};
use crate::dispatch::RequestInfo;
use crate::error_map;

/// First version whose clients know zstd (KIP-110).
const ZSTD_VERSION_MIN: i16 = 7;

/// First version whose answers name the leader and its address (KIP-951).
const LEADER_HINTS_VERSION_MIN: i16 = 10;

/// What becomes of the request.
pub enum Answer {
    /// The response.
    Respond(ProduceResponse),
    /// acks=0: the client expects no response.
    Nothing,
    /// acks=0, and something failed: closing the connection is the only way to say so, as Kafka does.
    Close(String),
}

/// First stage. The future is the second.
pub fn start(
    broker: &Arc<Broker>,
    request: ProduceRequest,
    info: &RequestInfo,
    permit: FramePermit,
) -> BoxFuture<'static, Answer> {
    let Some(acks) = acks(request.acks) else {
        let response = refuse_all(request, ErrorCode::InvalidRequiredAcks);
        return ready(Answer::Respond(response));
    };
    let options = AppendOptions {
        acks,
        permit,
        client: ClientRules {
            zstd: info.version >= ZSTD_VERSION_MIN,
        },
    };
    let timeout = Duration::from_millis(u64::from(request.timeout_ms.max(0).unsigned_abs()));
    let mut response = ProduceResponse::default();
    let mut waiting = Vec::new();
    for (t, topic) in request.topic_data.into_iter().enumerate() {
        let found = broker.topic(&TopicRef::new(&topic.name, topic.topic_id));
        let mut answers = Vec::with_capacity(topic.partition_data.len());
        for (p, data) in topic.partition_data.into_iter().enumerate() {
            let index = data.index;
            answers.push(
                match append(broker, found.as_deref(), &topic.topic_id, data, &options) {
                    Ok(ticket) => {
                        waiting.push((t, p, ticket));
                        PartitionProduceResponse {
                            index,
                            ..PartitionProduceResponse::default()
                        }
                    }
                    Err(refusal) => refusal,
                },
            );
        }
        response.responses.push(TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses: answers,
        });
    }
    drop(options);
    if acks == Acks::None {
        return ready(unanswered(&response));
    }
    let broker = Arc::clone(broker);
    let wants_hints = info.version >= LEADER_HINTS_VERSION_MIN;
    Box::pin(async move {
        wait(&mut response, waiting, timeout).await;
        if wants_hints {
            add_leader_hints(&broker, &mut response);
        }
        Answer::Respond(response)
    })
}

fn acks(wire: i16) -> Option<Acks> {
    match wire {
        -1 => Some(Acks::All),
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        _ => None,
    }
}

fn ready(answer: Answer) -> BoxFuture<'static, Answer> {
    Box::pin(std::future::ready(answer))
}

fn append(
    broker: &Broker,
    topic: Option<&TopicRecord>,
    asked_id: &uuid::Uuid,
    data: PartitionProduceData,
    options: &AppendOptions,
) -> Result<AppendTicket, PartitionProduceResponse> {
    let index = data.index;
    let Some(topic) = topic else {
        let code = if asked_id.is_nil() {
            ErrorCode::UnknownTopicOrPartition
        } else {
            ErrorCode::UnknownTopicId
        };
        return Err(refuse(index, code, None));
    };
    let Some(tp) = Broker::partition(topic, index) else {
        return Err(refuse(index, ErrorCode::UnknownTopicOrPartition, None));
    };
    let records = data.records.unwrap_or_default().into_bytes();
    broker
        .pipeline
        .append(&tp, &records, options.clone())
        .map_err(|error| explain(index, &error))
}

/// Waits for every batch, at most as long as the client does. A batch that is not durable by then may still
/// become so: the code says that its fate is unknown.
async fn wait(
    response: &mut ProduceResponse,
    waiting: Vec<(usize, usize, AppendTicket)>,
    timeout: Duration,
) {
    let deadline = Instant::now() + timeout;
    let mut tickets: FuturesUnordered<_> = waiting
        .into_iter()
        .map(|(t, p, ticket)| async move { (t, p, timeout_at(deadline, ticket).await) })
        .collect();
    while let Some((t, p, outcome)) = tickets.next().await {
        let answer = &mut response.responses[t].partition_responses[p];
        let index = answer.index;
        *answer = match outcome {
            Ok(Ok(appended)) => acknowledge(index, &appended),
            Ok(Err(error)) => explain(index, &error),
            Err(_) => refuse(index, ErrorCode::RequestTimedOut, None),
        };
    }
}

fn acknowledge(index: i32, appended: &Appended) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        base_offset: appended.base_offset.get(),
        log_append_time_ms: appended.log_append_time.unwrap_or(-1),
        log_start_offset: appended.log_start_offset.get(),
        ..PartitionProduceResponse::default()
    }
}

fn refuse(index: i32, code: ErrorCode, message: Option<StrBytes>) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: code.code(),
        base_offset: -1,
        error_message: message,
        ..PartitionProduceResponse::default()
    }
}

fn explain(index: i32, error: &AppendError) -> PartitionProduceResponse {
    let record_errors = match error {
        AppendError::InvalidRecord { record_errors, .. }
        | AppendError::InvalidTimestamp { record_errors, .. } => record_errors.as_slice(),
        _ => &[],
    };
    PartitionProduceResponse {
        record_errors: record_errors
            .iter()
            .map(|record| BatchIndexAndErrorMessage {
                batch_index: record.index,
                batch_index_error_message: Some(record.message.clone().into()),
            })
            .collect(),
        ..refuse(
            index,
            error_map::append(error),
            Some(error.to_string().into()),
        )
    }
}

fn refuse_all(request: ProduceRequest, code: ErrorCode) -> ProduceResponse {
    let refuse_topic = |topic: TopicProduceData| TopicProduceResponse {
        name: topic.name,
        topic_id: topic.topic_id,
        partition_responses: topic
            .partition_data
            .iter()
            .map(|data| refuse(data.index, code, None))
            .collect(),
    };
    ProduceResponse {
        responses: request.topic_data.into_iter().map(refuse_topic).collect(),
        ..ProduceResponse::default()
    }
}

fn unanswered(response: &ProduceResponse) -> Answer {
    let failed = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses)
        .find(|answer| answer.error_code != ErrorCode::None.code());
    match failed {
        None => Answer::Nothing,
        Some(answer) => Answer::Close(format!(
            "a batch of an acks=0 producer was refused: {}",
            ErrorCode::from(answer.error_code)
        )),
    }
}

/// KIP-951.
fn add_leader_hints(broker: &Broker, response: &mut ProduceResponse) {
    let picture = broker.view.picture();
    let mut hints = LeaderHints::new(&picture, broker.identity.broker_id);
    for topic in &mut response.responses {
        let found = broker.topic(&TopicRef::new(&topic.name, topic.topic_id));
        for answer in &mut topic.partition_responses {
            let hint = hints.hint(answer.error_code, found.as_deref(), answer.index);
            if let Some(hint) = hint {
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
