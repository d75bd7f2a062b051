//! A topic that comes and goes under one name (I23).
//!
//! It is written by id, so that no late request reaches another life of it, and read by name, so that a reader would see
//! what another life had left behind.

use alluvium_common::rand::SeededRandom;
use alluvium_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use alluvium_protocol::messages::delete_topics_request::DeleteTopicState;
use alluvium_protocol::messages::metadata_request::MetadataRequestTopic;
use alluvium_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest, ProduceRequest,
};
use alluvium_protocol::{ErrorCode, StrBytes};
use alluvium_segment::record_batch::BatchBuilder;
use tokio::time::sleep;
use uuid::Uuid;

use super::caller::Caller;
use super::router::{Broker, Found};
use super::{LoadTopic, RETRY_AFTER, Shared};
use crate::client::{ALL, BY_ID, FetchAnswer, Topic, fetch_request, produce_request};
use crate::history::{Read, Send, SendOutcome};
use crate::workload::{codec_of, content, push, record};

const NAME: &str = "churn";
/// A producer's number that no lane has.
const NUMBER: u32 = 1 << 20;
/// Batches of one life.
const BATCHES: u64 = 5;
const CREATE_VERSION: i16 = 7;
/// The first that names topics so that an id could stand in their place.
const DELETE_VERSION: i16 = 6;
const METADATA_VERSION: i16 = 12;
/// The last version of Fetch that names topics by name.
const FETCH_BY_NAME: i16 = 12;
const TIMEOUT_MS: i32 = 3_000;

/// Creates, writes, reads and deletes until the load stops.
pub(super) async fn run(class: &'static str, shared: Shared) {
    let mut caller = shared.caller();
    let random = SeededRandom::new(u64::from(NUMBER));
    let mut life = 0;
    while !shared.is_stopping() {
        life += 1;
        let wanted = LoadTopic {
            name: NAME.to_owned(),
            partitions: 1,
            class,
        };
        let topic = create_until(&mut caller, &shared, &wanted).await;
        if topic.id.is_nil() {
            return;
        }
        for order in 0..BATCHES {
            read_by_name(&mut caller, &shared, &topic).await;
            write(&mut caller, &shared, &topic, (life, order), &random).await;
        }
        delete(&mut caller, &shared, &topic).await;
        shared.progressed("topics", None);
    }
}

/// Creates the topic, however long it takes; or finds that an attempt of before has created it. The nil id when the
/// load stops meanwhile.
pub(super) async fn create_until(caller: &mut Caller, shared: &Shared, topic: &LoadTopic) -> Topic {
    let config = CreatableTopicConfig {
        name: "alluvium.durability".into(),
        value: Some(StrBytes::copy_of(topic.class)),
    };
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: StrBytes::copy_of(&topic.name),
            num_partitions: topic.partitions,
            replication_factor: -1,
            configs: vec![config],
            ..CreatableTopic::default()
        }],
        timeout_ms: TIMEOUT_MS,
        validate_only: false,
    };
    let mut id = Uuid::nil();
    while id.is_nil() && !shared.is_stopping() {
        let answer = caller.call_any(&request, CREATE_VERSION).await;
        let created = answer
            .ok()
            .and_then(|answer| answer.topics.into_iter().next());
        id = match created.map(|created| (ErrorCode::from(created.error_code), created.topic_id)) {
            Some((ErrorCode::None, id)) => id,
            // Whoever is asked may not have heard yet that the one before it is gone.
            Some((ErrorCode::TopicAlreadyExists, _)) => Some(find(caller, &topic.name).await)
                .filter(|found| !shared.recorder.is_deleted(*found))
                .unwrap_or_default(),
            _ => Uuid::nil(),
        };
        if id.is_nil() {
            sleep(RETRY_AFTER).await;
        }
    }
    if !id.is_nil() {
        shared.recorder.created(id, &topic.name);
    }
    Topic {
        name: topic.name.clone(),
        id,
    }
}

async fn find(caller: &mut Caller, name: &str) -> Uuid {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            topic_id: Uuid::nil(),
            name: Some(StrBytes::copy_of(name)),
        }]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    let answer = caller.call_any(&request, METADATA_VERSION).await;
    let topics = answer.map(|answer| answer.topics).unwrap_or_default();
    topics.first().map_or(Uuid::nil(), |topic| topic.topic_id)
}

async fn delete(caller: &mut Caller, shared: &Shared, topic: &Topic) {
    shared.recorder.deleting(topic.id);
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: Some(StrBytes::copy_of(&topic.name)),
            ..DeleteTopicState::default()
        }],
        timeout_ms: TIMEOUT_MS,
        ..DeleteTopicsRequest::default()
    };
    loop {
        let answer = caller.call_any(&request, DELETE_VERSION).await;
        let deleted = answer
            .ok()
            .and_then(|answer| answer.responses.into_iter().next());
        let code = deleted.map(|deleted| ErrorCode::from(deleted.error_code));
        if matches!(
            code,
            Some(ErrorCode::None | ErrorCode::UnknownTopicOrPartition)
        ) {
            return;
        }
        if shared.is_stopping() {
            return;
        }
        sleep(RETRY_AFTER).await;
    }
}

async fn leader(shared: &Shared, topic: &Topic) -> Option<Broker> {
    match shared.router.leader(topic.partition(0)).await {
        Found::Leader(leader) => Some(leader),
        Found::Nobody | Found::NoTopic => None,
    }
}

async fn write(
    caller: &mut Caller,
    shared: &Shared,
    topic: &Topic,
    (life, order): (u64, u64),
    random: &SeededRandom,
) {
    let Some(leader) = leader(shared, topic).await else {
        return;
    };
    let id = (u64::from(NUMBER) << 40) | (life * BATCHES + order);
    let record = record(id, 50, random);
    let mut builder = BatchBuilder::new(codec_of(NUMBER));
    push(&mut builder, &record);
    let batch = builder.build().expect("a batch");
    let request = produce_request(BY_ID, ALL, topic, vec![(0, batch)]);
    let answer = caller
        .call::<ProduceRequest>(&leader, &request, BY_ID)
        .await;
    let partitions = answer.map(|answer| answer.responses).unwrap_or_default();
    let mut partitions = partitions
        .into_iter()
        .flat_map(|topic| topic.partition_responses);
    let acknowledged = partitions.next().filter(|answer| answer.error_code == 0);
    if acknowledged.is_none() {
        shared.router.forget(topic.partition(0), leader.id);
    }
    shared.recorder.sent(Send {
        producer: NUMBER,
        // Nothing is promised about the order of sends that are not retried.
        session: u32::try_from(life * BATCHES + order).expect("few batches"),
        idempotent: false,
        partition: topic.partition(0),
        order,
        records: vec![content(&record)],
        ended: acknowledged.is_some().then(|| shared.recorder.tick()),
        outcome: match acknowledged {
            Some(answer) => SendOutcome::Acknowledged {
                base_offset: answer.base_offset,
            },
            None => SendOutcome::Unknown,
        },
    });
}

async fn read_by_name(caller: &mut Caller, shared: &Shared, topic: &Topic) {
    let Some(leader) = leader(shared, topic).await else {
        return;
    };
    let began = shared.recorder.tick();
    let request = fetch_request(FETCH_BY_NAME, topic, 0, 0, 0);
    let answer = caller.call(&leader, &request, FETCH_BY_NAME).await;
    let partitions = answer.map(|answer| answer.responses).unwrap_or_default();
    let mut partitions = partitions.into_iter().flat_map(|topic| topic.partitions);
    let Some(data) = partitions.next() else {
        return shared.router.forget(topic.partition(0), leader.id);
    };
    let answer = FetchAnswer::new(data, 0);
    if answer.code.is_error() {
        return shared.router.forget(topic.partition(0), leader.id);
    }
    let read = super::reader::read("by name", &leader, topic, 0, began, 0, &answer);
    let ended = shared.recorder.tick();
    shared.recorder.read(Read { ended, ..read });
}
