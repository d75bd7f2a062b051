//! The sockets of this process.

use std::sync::Arc;

use alluvium_ingest::backpressure::ByteBudget;
use anyhow::Context;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::broker::Broker;
use crate::config::{Config, Endpoint};
use crate::dispatch::Dispatchers;
use crate::http::{self, Health};
use crate::network::buffer_pool::BufferPool;
use crate::network::connection::ConnectionLimits;
use crate::network::frame_reader::{ReadLimits, RequestBudgets};
use crate::network::listener::{self, ListenerSeams};

/// Memory for requests other than Produce while they are decoded. They are small; the bound is for those that
/// are not what they seem.
const OTHER_REQUESTS_BYTES: usize = 128 << 20;
/// Buffers of large requests kept for the next ones. About as much comes back at once when a segment is committed.
const IDLE_BUFFERS_BYTES: usize = 96 << 20;

/// The socket for Kafka clients, not yet served.
pub struct BoundListeners {
    kafka: TcpListener,
    kafka_endpoint: Endpoint,
}

/// The socket for metrics and health, not yet served; `None` where none is wanted.
pub struct BoundHttp(Option<TcpListener>);

/// Served sockets.
pub struct Listeners {
    tasks: TaskTracker,
}

impl Listeners {
    /// Binds the socket. A port in use is an error that names it.
    pub async fn bind(config: &Config) -> anyhow::Result<BoundListeners> {
        let kafka = bind(&config.listen, "--listen").await?;
        let port = kafka
            .local_addr()
            .context("the Kafka listener has no address")?
            .port();
        Ok(BoundListeners {
            kafka,
            kafka_endpoint: Endpoint {
                host: config.listen.host.clone(),
                port,
            },
        })
    }

    /// Resolves when every request that was read is answered. Call it after `stopping` was cancelled.
    pub async fn drained(&self) {
        self.tasks.wait().await;
    }
}

pub(super) async fn bind(endpoint: &Endpoint, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind((endpoint.host.as_str(), endpoint.port))
        .await
        .with_context(|| format!("cannot listen on {endpoint}; choose another address with {flag}"))
}

impl BoundHttp {
    /// Binds the socket, if one is configured. A port in use is an error that names it.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        Ok(Self(match &config.http {
            Some(endpoint) => Some(bind(endpoint, "--http").await?),
            None => None,
        }))
    }

    /// Where it is; without one this host, and no port.
    pub fn endpoint(&self, config: &Config) -> Endpoint {
        let bound = self.0.as_ref().zip(config.http.as_ref());
        let bound = bound.and_then(|(listener, configured)| {
            let port = listener.local_addr().ok()?.port();
            let host = configured.host.clone();
            Some(reachable(None, &Endpoint { host, port }))
        });
        bound.unwrap_or_else(|| Endpoint {
            host: hostname(),
            port: 0,
        })
    }

    /// Serves metrics and health from now on: they are wanted most while a start takes long.
    pub fn serve(
        self,
        registry: Arc<Mutex<Registry>>,
        health: Health,
        stopping: &CancellationToken,
    ) -> TaskTracker {
        let tasks = TaskTracker::new();
        if let Some(listener) = self.0 {
            let stopping = stopping.clone();
            tasks.spawn(async move {
                if let Err(error) = http::serve(listener, registry, health, stopping).await {
                    error!(%error, "the HTTP listener ended");
                }
            });
        }
        tasks
    }
}

impl BoundListeners {
    /// The address that clients are told.
    pub fn advertised(&self, config: &Config) -> Endpoint {
        reachable(config.advertised_listener.as_ref(), &self.kafka_endpoint)
    }

    /// Accepts Kafka clients from now on.
    pub fn serve_kafka(
        self,
        broker: Arc<Broker>,
        config: &Config,
        stopping: CancellationToken,
        tasks: TaskTracker,
    ) -> Listeners {
        let seams = ListenerSeams {
            budgets: RequestBudgets {
                produce: broker.pipeline.budget().clone(),
                other: ByteBudget::new(OTHER_REQUESTS_BYTES),
                buffers: BufferPool::new(IDLE_BUFFERS_BYTES),
            },
            metrics: broker.metrics.clone(),
            handlers: Arc::new(Dispatchers(broker)),
            limits: ConnectionLimits {
                read: ReadLimits {
                    frame_bytes_max: config.socket_request_max_bytes.as_usize(),
                    idle: config.connections_max_idle_ms.as_duration(),
                    stall: config.socket_stall_timeout_ms.as_duration(),
                },
                write_stall: config.connections_max_idle_ms.as_duration(),
            },
            connections_max: config.max_connections as usize,
            stopping,
        };
        tasks.spawn(listener::serve(self.kafka, seams));
        tasks.close();
        Listeners { tasks }
    }
}

/// The address that others are told: as configured, else as bound.
pub(super) fn reachable(advertised: Option<&Endpoint>, bound: &Endpoint) -> Endpoint {
    if let Some(advertised) = advertised {
        return advertised.clone();
    }
    let mut endpoint = bound.clone();
    // Nobody can connect to "any address".
    if matches!(endpoint.host.as_str(), "0.0.0.0" | "::") {
        endpoint.host = hostname();
    }
    endpoint
}

fn hostname() -> String {
    let name = rustix::system::uname();
    name.nodename()
        .to_str()
        .ok()
        .filter(|name| !name.is_empty())
        .map_or_else(|| "localhost".to_owned(), str::to_owned)
}
