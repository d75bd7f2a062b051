//! From request frames to handlers: one table of the APIs that are served.

use std::net::SocketAddr;
use std::sync::Arc;

use alluvium_protocol::messages::{RequestHeader, ResponseHeader};
use alluvium_protocol::{ApiKey, Message, Reader, Request, StrBytes, Writer};
use bytes::{Buf, Bytes};
use tracing::error;

use crate::broker::Broker;
use crate::handlers;
use crate::handlers::produce::Answer;
use crate::network::connection::{Finish, Reply, RequestHandler};
use crate::network::frame_reader::Frame;
use crate::network::listener::HandlerFactory;

/// What handlers may know of a request besides its body.
#[derive(Debug, Clone)]
pub struct RequestInfo {
    /// Version of the request and of its response.
    pub version: i16,
    /// Name that the client gives itself.
    pub client_id: Option<StrBytes>,
    /// Where the client is.
    pub peer: SocketAddr,
    /// Where the client connected to.
    pub local: SocketAddr,
}

macro_rules! serve {
    ($($api:ident => $module:ident,)+) => {
        /// The APIs that are served, besides Produce. Each in all the versions that Apache Kafka serves.
        const SERVED: &[ApiKey] = &[$(ApiKey::$api),+];

        /// Runs the handler of `api`.
        fn call(broker: Arc<Broker>, api: ApiKey, info: RequestInfo, head: Head, body: Reader) -> Finish {
            match api {
                $(ApiKey::$api => Box::pin(async move {
                    let request = match decode(body, &info) {
                        Ok(request) => request,
                        Err(refusal) => return refusal,
                    };
                    let response = handlers::$module::handle(&broker, request, &info).await;
                    respond(api, &info, head, response)
                }),)+
                other => Box::pin(std::future::ready(Reply::Close(format!("{other} is not served")))),
            }
        }
    };
}

serve! {
    ApiVersions => api_versions,
    Metadata => metadata,
    InitProducerId => init_producer_id,
    Fetch => fetch,
    ListOffsets => list_offsets,
    OffsetForLeaderEpoch => offset_for_leader_epoch,
    FindCoordinator => find_coordinator,
    JoinGroup => join_group,
    SyncGroup => sync_group,
    Heartbeat => heartbeat,
    LeaveGroup => leave_group,
    OffsetCommit => offset_commit,
    OffsetFetch => offset_fetch,
    OffsetDelete => offset_delete,
    ListGroups => list_groups,
    DescribeGroups => describe_groups,
    DeleteGroups => delete_groups,
    CreateTopics => create_topics,
    DeleteTopics => delete_topics,
    CreatePartitions => create_partitions,
    DeleteRecords => delete_records,
    DescribeConfigs => describe_configs,
    AlterConfigs => alter_configs,
    IncrementalAlterConfigs => incremental_alter_configs,
    ListConfigResources => list_config_resources,
    DescribeCluster => describe_cluster,
    DescribeLogDirs => describe_log_dirs,
    AlterReplicaLogDirs => alter_replica_log_dirs,
    DescribeTopicPartitions => describe_topic_partitions,
    AlterPartitionReassignments => alter_partition_reassignments,
    ListPartitionReassignments => list_partition_reassignments,
    ElectLeaders => elect_leaders,
    DescribeClientQuotas => describe_client_quotas,
    DescribeAcls => describe_acls,
    CreateAcls => create_acls,
    DeleteAcls => delete_acls,
}

/// The APIs that are served, for ApiVersions.
pub fn served() -> impl Iterator<Item = ApiKey> {
    std::iter::once(ApiKey::Produce).chain(SERVED.iter().copied())
}

/// What the response repeats of the request.
#[derive(Debug, Clone, Copy)]
struct Head {
    correlation_id: i32,
}

/// Makes a handler for each connection.
#[derive(Clone)]
pub struct Dispatchers(pub Arc<Broker>);

impl HandlerFactory for Dispatchers {
    fn handler(&self, peer: SocketAddr, local: SocketAddr) -> Arc<dyn RequestHandler> {
        Arc::new(Dispatcher {
            broker: Arc::clone(&self.0),
            peer,
            local,
        })
    }
}

/// Answers the requests of one connection.
struct Dispatcher {
    broker: Arc<Broker>,
    peer: SocketAddr,
    local: SocketAddr,
}

impl RequestHandler for Dispatcher {
    fn is_pipelined(&self, mut frame: &[u8]) -> bool {
        frame.try_get_i16() == Ok(ApiKey::Produce.code())
    }

    fn start(&self, frame: Frame) -> Finish {
        let broker = Arc::clone(&self.broker);
        let (peer, local) = (self.peer, self.local);
        start(broker, peer, local, frame)
    }
}

/// The first stage of a request; only that of Produce does anything.
fn start(broker: Arc<Broker>, peer: SocketAddr, local: SocketAddr, frame: Frame) -> Finish {
    let (api, info, head, body) = match open(frame.bytes, peer, local) {
        Ok(opened) => opened,
        Err(refusal) => return ready(refusal),
    };
    broker.metrics.request(api);
    if api != ApiKey::Produce {
        drop(frame.permit);
        return call(broker, api, info, head, body);
    }
    let request = match decode(body, &info) {
        Ok(request) => request,
        Err(refusal) => return ready(refusal),
    };
    let appended = handlers::produce::start(&broker, request, &info, frame.permit);
    Box::pin(async move {
        match appended.await {
            Answer::Respond(response) => respond(api, &info, head, response),
            Answer::Nothing => Reply::Nothing,
            Answer::Close(reason) => Reply::Close(reason),
        }
    })
}

/// Reads the header, and refuses what is not served.
fn open(
    frame: Bytes,
    peer: SocketAddr,
    local: SocketAddr,
) -> Result<(ApiKey, RequestInfo, Head, Reader), Reply> {
    let mut start = frame.clone();
    let (Ok(code), Ok(version), Ok(correlation_id)) = (
        start.try_get_i16(),
        start.try_get_i16(),
        start.try_get_i32(),
    ) else {
        return Err(Reply::Close(
            "a request is too short for its header".to_owned(),
        ));
    };
    let head = Head { correlation_id };
    let api = ApiKey::try_from(code)
        .ok()
        .filter(|api| served().any(|served| served == *api))
        .ok_or_else(|| Reply::Close(format!("api key {code} is not served")))?;
    if !api.valid_versions().contains(&version) {
        return Err(refuse_version(api, version, head));
    }
    let mut body = Reader::new(frame);
    let header = RequestHeader::decode(&mut body, api.request_header_version(version))
        .map_err(|error| Reply::Close(format!("bad header of a {api} request: {error}")))?;
    let info = RequestInfo {
        version,
        client_id: header.client_id,
        peer,
        local,
    };
    Ok((api, info, head, body))
}

/// A client that asks for the versions in a version we do not know learns them from an answer in version 0;
/// for everything else it had the chance to know better (KIP-511).
fn refuse_version(api: ApiKey, version: i16, head: Head) -> Reply {
    if api != ApiKey::ApiVersions {
        let known = api.valid_versions();
        return Reply::Close(format!(
            "{api} version {version} is not served, only {} to {}",
            known.start(),
            known.end()
        ));
    }
    match encode(api, 0, head, &handlers::api_versions::unsupported()) {
        Ok(chunks) => Reply::Send(chunks),
        Err(error) => Reply::Close(error),
    }
}

fn decode<R: Request>(mut body: Reader, info: &RequestInfo) -> Result<R, Reply> {
    R::decode(&mut body, info.version).map_err(|error| {
        Reply::Close(format!(
            "bad {} request, version {}: {error}",
            R::API_KEY,
            info.version
        ))
    })
}

fn respond<M: Message>(api: ApiKey, info: &RequestInfo, head: Head, response: M) -> Reply {
    match encode(api, info.version, head, &response) {
        Ok(chunks) => Reply::Send(chunks),
        Err(reason) => {
            error!(%api, version = info.version, %reason, "a response could not be encoded");
            Reply::Close(reason)
        }
    }
}

fn encode<M: Message>(
    api: ApiKey,
    version: i16,
    head: Head,
    response: &M,
) -> Result<Vec<Bytes>, String> {
    let mut writer = Writer::new();
    let header = ResponseHeader {
        correlation_id: head.correlation_id,
    };
    header
        .encode(&mut writer, api.response_header_version(version))
        .and_then(|()| response.encode(&mut writer, version))
        .and_then(|()| writer.into_frame())
        .map_err(|error| error.to_string())
}

fn ready(reply: Reply) -> Finish {
    Box::pin(std::future::ready(reply))
}
