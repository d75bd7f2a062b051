//! Calls to other brokers: one connection to each, opened when it is needed, given up when the broker is gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_metadata::model::RpcEndpoint;
use alluvium_metadata::view::ClusterView;
use parking_lot::Mutex;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::{
    ANSWER_BYTES_MAX, CLUSTER_HEADER, Method, PROTOCOL_VERSION, REQUEST_BYTES_MAX, VERSION_HEADER,
};

/// Time for a connection to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause between two pings while a call waits, and how long the answer may take: a broker that vanished without a word
/// is noticed in 2.5 seconds, well before its session ends.
const PING_PAUSE: Duration = Duration::from_millis(500);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes that one answer, and all on one connection, may be ahead of their reader.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Why there is no answer. Whatever it is, the caller has a longer way.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The broker has no session, or takes no calls.
    #[error("broker {0} cannot be called")]
    NoAddress(BrokerId),
    /// Its address, or our TLS, cannot be used.
    #[error("broker {broker_id} cannot be called: {reason}")]
    Invalid {
        /// Which broker.
        broker_id: BrokerId,
        /// What is wrong.
        reason: String,
    },
    /// It does not lead the partition, or not under that epoch.
    #[error("broker {0} does not lead the partition")]
    NotLeader(BrokerId),
    /// It is there, and has too much to do.
    #[error("broker {0} is too busy")]
    Busy(BrokerId),
    /// It did not answer, or not in time, or refused.
    #[error("broker {broker_id} did not answer: {reason}")]
    Failed {
        /// Which broker.
        broker_id: BrokerId,
        /// Why.
        reason: String,
    },
}

impl CallError {
    fn of(broker_id: BrokerId, status: &Status) -> Self {
        match status.code() {
            Code::FailedPrecondition => CallError::NotLeader(broker_id),
            Code::ResourceExhausted => CallError::Busy(broker_id),
            code => CallError::Failed {
                broker_id,
                reason: format!("{code:?}: {}", status.message()),
            },
        }
    }
}

/// Knows where brokers are.
pub trait Addresses: Send + Sync {
    /// The broker's session and its address for calls.
    fn of(&self, broker_id: BrokerId) -> Option<(BrokerEpoch, RpcEndpoint)>;
}

impl Addresses for ClusterView {
    fn of(&self, broker_id: BrokerId) -> Option<(BrokerEpoch, RpcEndpoint)> {
        let picture = self.picture();
        let live = picture.brokers.get(broker_id)?;
        Some((live.broker_epoch, live.record.rpc.clone()?))
    }
}

struct Connection {
    broker_epoch: BrokerEpoch,
    endpoint: RpcEndpoint,
    channel: Channel,
}

/// See the module's documentation.
pub struct Peers {
    addresses: Arc<dyn Addresses>,
    cluster_id: MetadataValue<Ascii>,
    tls: Option<ClientTlsConfig>,
    connections: Mutex<HashMap<BrokerId, Connection>>,
}

impl Peers {
    /// Calls brokers of the cluster of that id (which is base64, as Kafka writes it).
    pub fn new(
        addresses: Arc<dyn Addresses>,
        cluster_id: &str,
        tls: Option<ClientTlsConfig>,
    ) -> Arc<Self> {
        // Ids are ours; one that is no header would be refused by everybody.
        let cluster_id = MetadataValue::try_from(cluster_id);
        Arc::new(Self {
            addresses,
            cluster_id: cluster_id.unwrap_or_else(|_| MetadataValue::from_static("")),
            tls,
            connections: Mutex::default(),
        })
    }

    /// Asks `to`.
    ///
    /// # Errors
    /// There is no answer, within the method's time limit.
    pub async fn call<M: Method>(
        &self,
        to: BrokerId,
        message: M::Request,
    ) -> Result<M::Answer, CallError> {
        let channel = self.channel(to)?;
        let mut request = Request::new(message);
        let headers = request.metadata_mut();
        headers.insert(CLUSTER_HEADER, self.cluster_id.clone());
        headers.insert(VERSION_HEADER, MetadataValue::from(PROTOCOL_VERSION));
        match tokio::time::timeout(M::TIME_LIMIT, unary::<M>(channel, request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => Err(CallError::of(to, &status)),
            Err(_) => Err(CallError::Failed {
                broker_id: to,
                reason: format!("no answer within {:?}", M::TIME_LIMIT),
            }),
        }
    }

    /// Closes connections to brokers that are gone, or have come back as others.
    pub fn forget_gone(&self) {
        let is_current = |broker_id: &BrokerId, connection: &mut Connection| {
            let now = self.addresses.of(*broker_id);
            now.is_some_and(|(broker_epoch, _)| broker_epoch == connection.broker_epoch)
        };
        self.connections.lock().retain(is_current);
    }

    fn channel(&self, to: BrokerId) -> Result<Channel, CallError> {
        let address = self.addresses.of(to);
        let (broker_epoch, endpoint) = address.ok_or(CallError::NoAddress(to))?;
        let mut connections = self.connections.lock();
        if let Some(open) = connections.get(&to)
            && open.broker_epoch == broker_epoch
            && open.endpoint == endpoint
        {
            return Ok(open.channel.clone());
        }
        let channel = self
            .connect(&endpoint)
            .map_err(|error| CallError::Invalid {
                broker_id: to,
                reason: error.to_string(),
            })?;
        let connection = Connection {
            broker_epoch,
            endpoint,
            channel: channel.clone(),
        };
        connections.insert(to, connection);
        Ok(channel)
    }

    /// Connects with the first call, and again whenever the connection is lost.
    fn connect(&self, to: &RpcEndpoint) -> Result<Channel, tonic::transport::Error> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let host = match to.host.contains(':') {
            true => format!("[{}]", to.host),
            false => to.host.clone(),
        };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{host}:{}", to.port))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_PAUSE)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(false)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let endpoint = match &self.tls {
            Some(tls) => endpoint.tls_config(tls.clone())?,
            None => endpoint,
        };
        Ok(endpoint.connect_lazy())
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

async fn unary<M: Method>(
    channel: Channel,
    request: Request<M::Request>,
) -> Result<M::Answer, Status> {
    let mut grpc = Grpc::new(channel)
        .max_decoding_message_size(ANSWER_BYTES_MAX)
        .max_encoding_message_size(REQUEST_BYTES_MAX);
    let ready = grpc.ready().await;
    ready.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = ProstCodec::<M::Request, M::Answer>::default();
    let path = PathAndQuery::from_static(M::PATH);
    Ok(grpc.unary(request, path, codec).await?.into_inner())
}
