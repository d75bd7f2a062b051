//! What the server itself counts.

use std::sync::atomic::{AtomicI64, AtomicU64};

use alluvium_protocol::ApiKey;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Labels of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Api {
    api: &'static str,
}

/// Requests and connections.
#[derive(Debug, Clone, Default)]
pub struct ServerMetrics {
    requests: Family<Api, Counter<u64, AtomicU64>>,
    connections: Gauge<i64, AtomicI64>,
}

impl ServerMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "kafka_requests",
            "Requests received",
            metrics.requests.clone(),
        );
        registry.register(
            "kafka_connections",
            "Open connections",
            metrics.connections.clone(),
        );
        metrics
    }

    /// A request arrived.
    pub fn request(&self, api: ApiKey) {
        self.requests.get_or_create(&Api { api: api.name() }).inc();
    }

    /// Counts a connection until the guard is dropped.
    pub fn connection(&self) -> ConnectionGuard {
        self.connections.inc();
        ConnectionGuard(self.connections.clone())
    }
}

/// An open connection.
#[derive(Debug)]
pub struct ConnectionGuard(Gauge<i64, AtomicI64>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
