//! AlterReplicaLogDirs (KIP-113): moves replicas between log dirs. Our log dirs are tiers, and records go one way only, so
//! the one move there is to ask for is that into the table files: publish the partition's topic now. Like Kafka's
//! moves it goes on after the answer; DescribeLogDirs tells how far it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use alluvium_metadata::model::TopicRecord;
use alluvium_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use alluvium_protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};
use alluvium_protocol::{ErrorCode, StrBytes};
use tracing::{info, warn};

use super::admin::{Admin, topic_named};
use crate::broker::Broker;
use crate::dispatch::RequestInfo;
use crate::error_map;
use crate::tiers::Tier;

/// Answers AlterReplicaLogDirs.
pub async fn handle(
    broker: &Broker,
    request: AlterReplicaLogDirsRequest,
    _info: &RequestInfo,
) -> AlterReplicaLogDirsResponse {
    answer(&Admin::from(broker), request).await
}

async fn answer(
    admin: &Admin<'_>,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let mut results = Vec::new();
    for (topic_name, moves) in moves(request) {
        let partitions = answer_topic(admin, &topic_name, moves).await;
        results.push(AlterReplicaLogDirTopicResult {
            topic_name,
            partitions,
        });
    }
    AlterReplicaLogDirsResponse {
        results,
        ..AlterReplicaLogDirsResponse::default()
    }
}

/// Where to, of each partition of each topic. Of a partition that is named twice the last place counts, as in Kafka.
type Moves = BTreeMap<StrBytes, BTreeMap<i32, StrBytes>>;

fn moves(request: AlterReplicaLogDirsRequest) -> Moves {
    let mut moves = Moves::new();
    for dir in request.dirs {
        for topic in dir.topics {
            let to = topic.partitions.iter().map(|p| (*p, dir.path.clone()));
            moves.entry(topic.name).or_default().extend(to);
        }
    }
    moves
}

async fn answer_topic(
    admin: &Admin<'_>,
    name: &str,
    moves: BTreeMap<i32, StrBytes>,
) -> Vec<AlterReplicaLogDirPartitionResult> {
    let topic = topic_named(admin, name).await.map_err(|told| told.code);
    let judged = moves.iter().map(|(partition_index, path)| {
        let judged = judge(admin, &topic, *partition_index, path);
        (*partition_index, judged.err())
    });
    let judged: Vec<_> = judged.collect();
    // What is published is a topic, so once is enough for all its partitions.
    let asked = match &topic {
        Ok(topic) if judged.iter().any(|(_, refused)| refused.is_none()) => {
            publish(admin, topic).await
        }
        _ => ErrorCode::None,
    };
    let result = |(partition_index, refused): (i32, Option<ErrorCode>)| {
        let code = refused.unwrap_or(asked);
        AlterReplicaLogDirPartitionResult {
            partition_index,
            error_code: code.code(),
        }
    };
    judged.into_iter().map(result).collect()
}

/// Whether that partition may be moved there. In Kafka's order: who misspelt the path is told so whatever the topic.
fn judge(
    admin: &Admin<'_>,
    topic: &Result<Arc<TopicRecord>, ErrorCode>,
    index: i32,
    path: &str,
) -> Result<(), ErrorCode> {
    let tier = admin.tiers.called(path).ok_or(ErrorCode::LogDirNotFound)?;
    let topic = topic.as_ref().map_err(|code| *code)?;
    let tp = Broker::partition(topic, index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    // Kafka's answer for a replica that another broker has, which its tools pass over.
    let served = admin.logs.get(&tp);
    served.ok_or(ErrorCode::ReplicaNotAvailable)?;
    match tier {
        Tier::Tables => Ok(()),
        // The dir is there, so that it was not found would be wrong; and no later attempt will do better, so it must be
        // a code that clients do not ask again after.
        Tier::Data | Tier::Segments => {
            // Kafka's tools send whoever sees that code here.
            info!(topic = %topic.name, partition = index, path, "records are moved to table files only, nothing there");
            Err(ErrorCode::InvalidRequest)
        }
    }
}

async fn publish(admin: &Admin<'_>, topic: &TopicRecord) -> ErrorCode {
    match admin.publications.request(topic.topic_id).await {
        Ok(()) => {
            info!(topic = %topic.name, "shall be published now");
            ErrorCode::None
        }
        Err(error) => {
            warn!(topic = %topic.name, %error, "could not be asked to be published");
            error_map::publication(&error)
        }
    }
}

#[cfg(test)]
mod tests {
    use alluvium_metadata::store::{MetadataStoreExt, Revision};
    use alluvium_protocol::messages::alter_replica_log_dirs_request::{
        AlterReplicaLogDir, AlterReplicaLogDirTopic,
    };

    use super::*;
    use crate::handlers::admin_testing::Scene;
    use crate::handlers::group_testing::over_the_wire_async;

    const TABLES: &str = "s3://bucket/tables";
    const SEGMENTS: &str = "s3://bucket/segments";

    /// A partition of a topic, and where it shall go.
    type Move<'a> = (&'a str, &'a str, i32);

    /// The answers, sorted by topic and partition.
    async fn alter(scene: &Scene, version: i16, moves: &[Move<'_>]) -> Vec<(String, i32, i16)> {
        let dir = |(path, topic, partition): &Move<'_>| AlterReplicaLogDir {
            path: StrBytes::copy_of(path),
            topics: vec![AlterReplicaLogDirTopic {
                name: StrBytes::copy_of(topic),
                partitions: vec![*partition],
            }],
        };
        let request = AlterReplicaLogDirsRequest {
            dirs: moves.iter().map(dir).collect(),
        };
        let response = over_the_wire_async(version, request, async |request| {
            answer(&scene.admin(), request).await
        })
        .await;
        let topics = response.results.into_iter();
        topics
            .flat_map(|topic| {
                let name = topic.topic_name.as_str().to_owned();
                let partitions = topic.partitions.into_iter();
                partitions.map(move |p| (name.clone(), p.partition_index, p.error_code))
            })
            .collect()
    }

    async fn code(scene: &Scene, one: Move<'_>) -> i16 {
        let told = alter(scene, 2, &[one]).await;
        assert_eq!(told.len(), 1);
        told[0].2
    }

    /// When the topic was last asked to be published.
    async fn asked(scene: &Scene, topic: &str) -> Option<Revision> {
        let key = scene
            .cluster
            .keys
            .publish_request(scene.topic(topic).topic_id);
        let stands = scene.cluster.store.get(key).await.expect("read");
        stands.map(|kv| kv.mod_revision)
    }

    #[tokio::test(start_paused = true)]
    async fn moving_to_the_tables_publishes_in_every_version() {
        for version in 1..=2 {
            let scene = Scene::new().await;
            scene.create("t", 2).await;
            scene.create("u", 1).await;
            let told = alter(&scene, version, &[(TABLES, "t", 1), (TABLES, "t", 0)]).await;
            assert_eq!(told, [("t".to_owned(), 0, 0), ("t".to_owned(), 1, 0)]);
            let first = asked(&scene, "t").await.expect("asked");
            assert_eq!(asked(&scene, "u").await, None);
            let _told = alter(&scene, version, &[(TABLES, "t", 0)]).await;
            assert!(asked(&scene, "t").await > Some(first), "asked anew");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_is_asked_once_for_all_its_partitions() {
        let scene = Scene::new().await;
        scene.create("t", 3).await;
        let before = scene.cluster.picture().await.revision;
        let moves = [(TABLES, "t", 0), (TABLES, "t", 1), (TABLES, "t", 2)];
        assert_eq!(alter(&scene, 2, &moves).await.len(), 3);
        let after = scene.cluster.picture().await.revision;
        // One of them is the picture's own.
        assert_eq!(after.0 - before.0, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_no_other_move() {
        let scene = Scene::new().await;
        scene.create("t", 1).await;
        let data = scene.tiers.path(Tier::Data).to_owned();
        let invalid = ErrorCode::InvalidRequest.code();
        assert_eq!(code(&scene, (SEGMENTS, "t", 0)).await, invalid);
        assert_eq!(code(&scene, (&data, "t", 0)).await, invalid);
        let unknown = ErrorCode::LogDirNotFound.code();
        assert_eq!(code(&scene, ("/elsewhere/tables", "t", 0)).await, unknown);
        assert_eq!(code(&scene, ("/elsewhere", "none", 0)).await, unknown);
        assert_eq!(asked(&scene, "t").await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn partitions_are_known_and_served_here() {
        let scene = Scene::new().await;
        let topic = scene.create("t", 2).await;
        let tp = Broker::partition(&topic, 1).expect("there are two");
        let reason = alluvium_cache::tail::CloseReason::NotLeader;
        scene.logs.remove(&tp, reason).expect("served until now");
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert_eq!(code(&scene, (TABLES, "t", 2)).await, unknown);
        assert_eq!(code(&scene, (TABLES, "none", 0)).await, unknown);
        assert_eq!(code(&scene, (TABLES, "no name!", 0)).await, unknown);
        let elsewhere = ErrorCode::ReplicaNotAvailable.code();
        assert_eq!(code(&scene, (TABLES, "t", 1)).await, elsewhere);
        assert_eq!(asked(&scene, "t").await, None);
        // One that can be moved is, whatever becomes of the others.
        let both = alter(&scene, 2, &[(TABLES, "t", 0), (TABLES, "t", 1)]).await;
        assert_eq!(
            both,
            [("t".to_owned(), 0, 0), ("t".to_owned(), 1, elsewhere)]
        );
        assert!(asked(&scene, "t").await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_places_the_last_counts() {
        let scene = Scene::new().await;
        scene.create("t", 1).await;
        let told = alter(&scene, 2, &[(TABLES, "t", 0), (SEGMENTS, "t", 0)]).await;
        let invalid = ErrorCode::InvalidRequest.code();
        assert_eq!(told, [("t".to_owned(), 0, invalid)]);
        assert_eq!(asked(&scene, "t").await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_whose_session_is_over_asks_for_nothing() {
        let scene = Scene::new().await;
        scene.create("t", 1).await;
        scene.cluster.ended(7).await;
        let elsewhere = ErrorCode::ReplicaNotAvailable.code();
        assert_eq!(code(&scene, (TABLES, "t", 0)).await, elsewhere);
        assert_eq!(asked(&scene, "t").await, None);
    }
}
