//! The client against a cluster of scripted brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alluvium_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use alluvium_protocol::messages::api_versions_response::ApiVersion;
use alluvium_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use alluvium_protocol::messages::find_coordinator_response::Coordinator;
use alluvium_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use alluvium_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use alluvium_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, ApiVersionsResponse,
    DescribeLogDirsRequest, DescribeLogDirsResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, RequestHeader, ResponseHeader,
};
use alluvium_protocol::{ApiKey, ErrorCode, Message, Reader, Writer};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;

/// What the brokers know, and what happened.
#[derive(Default)]
struct State {
    ports: BTreeMap<i32, u16>,
    /// Whom Metadata names as the leader of each partition.
    named: BTreeMap<i32, i32>,
    /// Who really is.
    leaders: BTreeMap<i32, i32>,
    /// Whom FindCoordinator names; after that it knows better.
    found: i32,
    /// Who really is the coordinator.
    coordinator: i32,
    /// What each Metadata answer changes of the names.
    corrections: Vec<(i32, i32)>,
    metadata_asked: usize,
    /// Brokers that close the connection instead of answering.
    dead: BTreeSet<i32>,
    /// How often each broker answered for the group.
    heartbeats: BTreeMap<i32, usize>,
    /// Brokers that refuse to publish when they are asked first.
    hesitant: BTreeSet<i32>,
    /// Who agreed to publish which partitions, where to.
    agreed: Vec<(i32, String, Vec<i32>)>,
}

struct Fake {
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

impl Fake {
    async fn start(ids: &[i32]) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let mut tasks = JoinSet::new();
        for id in ids {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
            let port = listener.local_addr().expect("bound").port();
            state.lock().ports.insert(*id, port);
            tasks.spawn(accept(*id, listener, Arc::clone(&state)));
        }
        Self {
            state,
            _tasks: tasks,
        }
    }

    fn bootstrap(&self, ids: &[i32]) -> Bootstrap {
        let state = self.state.lock();
        let named: Vec<_> = ids
            .iter()
            .map(|id| format!("127.0.0.1:{}", state.ports[id]))
            .collect();
        named.join(",").parse().expect("endpoints")
    }
}

async fn accept(id: i32, listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(id, stream, Arc::clone(&state)));
    }
}

/// Ends when the client does, or the script says.
async fn serve(id: i32, mut stream: TcpStream, state: Arc<Mutex<State>>) {
    while let Ok(length) = stream.read_u32().await {
        let mut frame = BytesMut::zeroed(length as usize);
        if stream.read_exact(&mut frame).await.is_err() {
            return;
        }
        let Some(answer) = answer(id, frame.freeze(), &state) else {
            return;
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn answer(id: i32, frame: Bytes, state: &Mutex<State>) -> Option<Vec<u8>> {
    let api = ApiKey::try_from(i16::from_be_bytes([frame[0], frame[1]])).expect("known");
    let version = i16::from_be_bytes([frame[2], frame[3]]);
    let mut reader = Reader::new(frame);
    let header = api.request_header_version(version);
    let header = RequestHeader::decode(&mut reader, header).expect("header");
    let mut state = state.lock();
    if state.dead.contains(&id) {
        return None;
    }
    let mut out = Writer::new();
    let own = ResponseHeader {
        correlation_id: header.correlation_id,
    };
    own.encode(&mut out, api.response_header_version(version))
        .expect("header");
    match api {
        ApiKey::ApiVersions => versions().encode(&mut out, version),
        ApiKey::Metadata => {
            let request = MetadataRequest::decode(&mut reader, version).expect("request");
            metadata(&mut state, &request).encode(&mut out, version)
        }
        ApiKey::ListOffsets => {
            let request = ListOffsetsRequest::decode(&mut reader, version).expect("request");
            offsets(&state, id, request).encode(&mut out, version)
        }
        ApiKey::FindCoordinator => {
            let request = FindCoordinatorRequest::decode(&mut reader, version).expect("request");
            coordinator(&mut state, request).encode(&mut out, version)
        }
        ApiKey::Heartbeat => {
            *state.heartbeats.entry(id).or_default() += 1;
            let code = match state.coordinator == id {
                true => ErrorCode::UnknownMemberId,
                false => ErrorCode::NotCoordinator,
            };
            let response = HeartbeatResponse {
                error_code: code.code(),
                ..HeartbeatResponse::default()
            };
            response.encode(&mut out, version)
        }
        ApiKey::DescribeLogDirs => {
            let request = DescribeLogDirsRequest::decode(&mut reader, version).expect("request");
            log_dirs(&state, id, request).encode(&mut out, version)
        }
        ApiKey::AlterReplicaLogDirs => {
            let request =
                AlterReplicaLogDirsRequest::decode(&mut reader, version).expect("request");
            publish(&mut state, id, request).encode(&mut out, version)
        }
        other => panic!("{other} is not in the script"),
    }
    .expect("encodes");
    Some(out.into_frame().expect("frames").concat())
}

fn versions() -> ApiVersionsResponse {
    let served = [
        ApiKey::ApiVersions,
        ApiKey::Metadata,
        ApiKey::ListOffsets,
        ApiKey::FindCoordinator,
        ApiKey::Heartbeat,
        ApiKey::DescribeLogDirs,
        ApiKey::AlterReplicaLogDirs,
    ];
    let version = |api: ApiKey| ApiVersion {
        api_key: api.code(),
        min_version: *api.valid_versions().start(),
        max_version: *api.valid_versions().end(),
    };
    ApiVersionsResponse {
        api_keys: served.into_iter().map(version).collect(),
        ..ApiVersionsResponse::default()
    }
}

fn metadata(state: &mut State, request: &MetadataRequest) -> MetadataResponse {
    state.metadata_asked += 1;
    let brokers = state.ports.iter().map(|(id, port)| MetadataResponseBroker {
        node_id: *id,
        host: "127.0.0.1".into(),
        port: i32::from(*port),
        rack: None,
    });
    let partition = |(index, leader): (&i32, &i32)| MetadataResponsePartition {
        partition_index: *index,
        leader_id: *leader,
        ..MetadataResponsePartition::default()
    };
    let known = |name: &str| match name {
        "t" => ErrorCode::None,
        _ => ErrorCode::UnknownTopicOrPartition,
    };
    let topics = request.topics.iter().flatten().map(|topic| {
        let name = topic.name.clone().unwrap_or_default();
        MetadataResponseTopic {
            error_code: known(&name).code(),
            name: Some(name),
            partitions: state.named.iter().map(partition).collect(),
            ..MetadataResponseTopic::default()
        }
    });
    let response = MetadataResponse {
        brokers: brokers.collect(),
        topics: topics.collect(),
        ..MetadataResponse::default()
    };
    if let Some((partition, leader)) = state.corrections.pop() {
        state.named.insert(partition, leader);
    }
    response
}

/// The offset of a partition is 100 times its index, and a leader's own number.
fn offsets(state: &State, id: i32, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partition = |index: i32| {
            let leads = state.leaders[&index] == id;
            let code = match leads {
                true => ErrorCode::None,
                false => ErrorCode::NotLeaderOrFollower,
            };
            ListOffsetsPartitionResponse {
                partition_index: index,
                error_code: code.code(),
                offset: if leads {
                    i64::from(100 * index + id)
                } else {
                    -1
                },
                ..ListOffsetsPartitionResponse::default()
            }
        };
        let asked = topic.partitions.iter();
        ListOffsetsTopicResponse {
            partitions: asked.map(|p| partition(p.partition_index)).collect(),
            name: topic.name,
        }
    });
    ListOffsetsResponse {
        topics: topics.collect(),
        ..ListOffsetsResponse::default()
    }
}

/// A leader shows what it leads: 100 bytes in table files for each partition of topic `t`, and its index as the lag.
fn log_dirs(state: &State, id: i32, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let asked = request.topics.into_iter().flatten();
    let asked: Vec<_> = asked.flat_map(|topic| topic.partitions).collect();
    let dir = |(path, size): (String, i64)| {
        let led = asked.iter().filter(|index| state.leaders[*index] == id);
        let partition = |index: &i32| DescribeLogDirsPartition {
            partition_index: *index,
            partition_size: size,
            offset_lag: i64::from(*index),
            is_future_key: false,
        };
        DescribeLogDirsResult {
            log_dir: path.into(),
            topics: vec![DescribeLogDirsTopic {
                name: "t".into(),
                partitions: led.map(partition).collect(),
            }],
            ..DescribeLogDirsResult::default()
        }
    };
    let dirs = [
        (format!("/data{id}"), 0),
        (format!("/objects{id}/segments"), 0),
        (format!("/objects{id}/tables"), 100),
    ];
    DescribeLogDirsResponse {
        results: dirs.into_iter().map(dir).collect(),
        ..DescribeLogDirsResponse::default()
    }
}

fn publish(
    state: &mut State,
    id: i32,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let code = match state.hesitant.remove(&id) {
        true => ErrorCode::ReplicaNotAvailable,
        false => ErrorCode::None,
    };
    let mut results = Vec::new();
    for dir in request.dirs {
        for topic in dir.topics {
            let result = |index: &i32| AlterReplicaLogDirPartitionResult {
                partition_index: *index,
                error_code: code.code(),
            };
            results.push(AlterReplicaLogDirTopicResult {
                topic_name: topic.name,
                partitions: topic.partitions.iter().map(result).collect(),
            });
            if code == ErrorCode::None {
                let path = dir.path.as_str().to_owned();
                state.agreed.push((id, path, topic.partitions));
            }
        }
    }
    AlterReplicaLogDirsResponse {
        results,
        ..AlterReplicaLogDirsResponse::default()
    }
}

fn coordinator(state: &mut State, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let found = std::mem::replace(&mut state.found, state.coordinator);
    let told = |key| Coordinator {
        key,
        node_id: found,
        host: "127.0.0.1".into(),
        port: i32::from(state.ports[&found]),
        ..Coordinator::default()
    };
    FindCoordinatorResponse {
        coordinators: request.coordinator_keys.into_iter().map(told).collect(),
        ..FindCoordinatorResponse::default()
    }
}

async fn open(fake: &Fake, ids: &[i32]) -> Cluster {
    let opened = Cluster::open(&fake.bootstrap(ids), "test").await;
    opened.expect("connects")
}

#[tokio::test]
async fn leaders_are_followed_until_each_partition_is_answered_by_its_own() {
    let fake = Fake::start(&[1, 2, 3]).await;
    {
        let mut state = fake.state.lock();
        state.leaders = BTreeMap::from([(0, 1), (1, 2), (2, 3)]);
        // Of the second partition the cluster learns late, of the third it knows no leader at first.
        state.named = BTreeMap::from([(0, 1), (1, 1), (2, -1)]);
        state.corrections = vec![(2, 3), (1, 2)];
    }
    let mut cluster = open(&fake, &[2]).await;
    let found = cluster.offsets("t", [0, 1, 2], LATEST).await.expect("all");
    assert_eq!(found, BTreeMap::from([(0, 1), (1, 102), (2, 203)]));
    assert_eq!(fake.state.lock().metadata_asked, 3);
}

#[tokio::test]
async fn leaders_tell_where_the_records_of_their_partitions_are() {
    let fake = Fake::start(&[1, 2]).await;
    {
        let mut state = fake.state.lock();
        state.leaders = BTreeMap::from([(0, 1), (1, 2), (2, 1)]);
        // Of the second partition the cluster learns late.
        state.named = BTreeMap::from([(0, 1), (1, 1), (2, 1), (3, -1)]);
        state.corrections = vec![(1, 2)];
    }
    let mut cluster = open(&fake, &[2]).await;
    let tiers = cluster.tiers(Some(&["t"])).await.expect("all");
    let topic = &tiers.topics["t"];
    let lags = topic.partitions.iter();
    let lags: Vec<_> = lags
        .map(|(index, t)| (*index, t.table_bytes, t.unpublished))
        .collect();
    assert_eq!(lags, [(0, 100, 0), (1, 100, 1), (2, 100, 2)]);
    assert_eq!(topic.leaderless, [3]);
    assert_eq!(tiers.tables[&2], "/objects2/tables");
    let unknown = cluster.tiers(Some(&["other"])).await.expect_err("unknown");
    assert!(unknown.to_string().contains("UNKNOWN_TOPIC"), "{unknown}");
}

#[tokio::test]
async fn all_leaders_are_asked_to_publish_until_they_agree() {
    let fake = Fake::start(&[1, 2]).await;
    {
        let mut state = fake.state.lock();
        state.leaders = BTreeMap::from([(0, 1), (1, 2), (2, 1)]);
        state.named = state.leaders.clone();
        state.hesitant = BTreeSet::from([2]);
    }
    let mut cluster = open(&fake, &[1]).await;
    let asked = cluster.publish("t").await.expect("agreed");
    let asked: Vec<_> = asked
        .into_iter()
        .map(|asked| (asked.broker, asked.tables, Vec::from_iter(asked.partitions)))
        .collect();
    let agreed = [
        (1, "/objects1/tables".to_owned(), vec![0, 2]),
        (2, "/objects2/tables".to_owned(), vec![1]),
    ];
    assert_eq!(asked, agreed);
    // Each once: who had agreed was not asked again.
    assert_eq!(fake.state.lock().agreed, agreed);
}

#[tokio::test]
async fn a_broker_that_dies_is_passed_over() {
    let fake = Fake::start(&[1, 2]).await;
    {
        let mut state = fake.state.lock();
        state.leaders = BTreeMap::from([(0, 2)]);
        state.named = BTreeMap::from([(0, 1)]);
        state.corrections = vec![(0, 2), (0, 1)];
    }
    let mut cluster = open(&fake, &[1, 2]).await;
    cluster
        .topic("t", false)
        .await
        .expect("a connection is open");
    // The connection breaks with the next request, and nobody answers at that address any more.
    fake.state.lock().dead.insert(1);
    let found = cluster.offsets("t", [0], LATEST).await.expect("found");
    assert_eq!(found, BTreeMap::from([(0, 2)]));
}

#[tokio::test]
async fn coordinators_are_followed_and_their_own_errors_told() {
    let fake = Fake::start(&[1, 2]).await;
    {
        let mut state = fake.state.lock();
        (state.found, state.coordinator) = (1, 2);
    }
    let mut cluster = open(&fake, &[1]).await;
    let call = Call {
        request: HeartbeatRequest::default(),
        version: None,
    };
    let code = |response: &HeartbeatResponse| response.error_code;
    let told = cluster.ask_coordinator("g", &call, code).await;
    // What the right one says is final.
    assert_eq!(
        told.expect("told").error_code,
        ErrorCode::UnknownMemberId.code()
    );
    let heartbeats = fake.state.lock().heartbeats.clone();
    assert_eq!(heartbeats, BTreeMap::from([(1, 1), (2, 1)]));
}

#[tokio::test]
async fn what_does_not_pass_is_told_at_once() {
    let fake = Fake::start(&[1]).await;
    let mut cluster = open(&fake, &[1]).await;
    let unknown = cluster.topic("other", false).await.expect_err("unknown");
    assert!(unknown.to_string().contains("UNKNOWN_TOPIC"), "{unknown}");
    assert_eq!(fake.state.lock().metadata_asked, 1);
    let nobody: Bootstrap = "127.0.0.1:1,127.0.0.1:2".parse().expect("endpoints");
    let refused = Cluster::open(&nobody, "test").await.expect_err("nobody");
    assert!(refused.to_string().contains("127.0.0.1:2"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn patience_has_an_end() {
    let mut retries = Retries::default();
    let failed = || ClientError::NoLeader {
        what: "t-0 has no leader".to_owned(),
    };
    let began = tokio::time::Instant::now();
    let gave_up = loop {
        if let Err(error) = retries.wait(failed()).await {
            break error;
        }
    };
    assert!(began.elapsed().as_secs() >= 30, "{:?}", began.elapsed());
    assert!(!passes(&gave_up));
    assert!(
        gave_up.to_string().ends_with("t-0 has no leader"),
        "{gave_up}"
    );
}
