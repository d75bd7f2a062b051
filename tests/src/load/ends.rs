//! Where partitions end, as brokers say.

use alluvium_common::rand::{Random, SeededRandom};
use alluvium_protocol::messages::ListOffsetsRequest;
use alluvium_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use alluvium_protocol::{ErrorCode, StrBytes};
use tokio::time::sleep;

use super::caller::Caller;
use super::router::{Broker, Found};
use super::{RETRY_AFTER, Shared};
use crate::client::Topic;
use crate::history::End;

/// Topics are named by name in all versions.
const VERSION: i16 = 7;
const LATEST: i64 = -1;

/// Asks for the ends of all partitions in turn: those who lead them, and now and then somebody else.
pub(super) async fn ask(topic: Topic, partitions: i32, seed: u64, shared: Shared) {
    let random = SeededRandom::new(seed ^ 0xe4d5);
    let mut caller = shared.caller();
    while !shared.is_stopping() {
        for index in 0..partitions {
            let Found::Leader(leader) = shared.router.leader(topic.partition(index)).await else {
                continue;
            };
            ask_one(&mut caller, &shared, &topic, index, &leader).await;
            let anybody = i32::try_from(1 + random.below(8)).expect("small");
            if let Some(other) = shared.router.broker(anybody) {
                ask_one(&mut caller, &shared, &topic, index, &other).await;
            }
        }
        sleep(RETRY_AFTER).await;
    }
}

async fn ask_one(caller: &mut Caller, shared: &Shared, topic: &Topic, index: i32, broker: &Broker) {
    let partition = topic.partition(index);
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: StrBytes::copy_of(&topic.name),
            partitions: vec![ListOffsetsPartition {
                partition_index: index,
                timestamp: LATEST,
                ..ListOffsetsPartition::default()
            }],
        }],
        ..ListOffsetsRequest::default()
    };
    let began = shared.recorder.tick();
    let Ok(answer) = caller.call(broker, &request, VERSION).await else {
        return shared.router.forget(partition, broker.id);
    };
    let ended = shared.recorder.tick();
    let found = answer.topics.iter().flat_map(|topic| &topic.partitions);
    for found in found {
        if ErrorCode::from(found.error_code).is_error() {
            shared.router.forget(partition, broker.id);
            continue;
        }
        shared.recorder.end(End {
            broker: Some(broker.id),
            partition,
            began,
            ended,
            offset: found.offset,
        });
        shared.progressed("list offsets", Some(partition));
    }
}
