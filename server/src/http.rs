//! The HTTP listener: metrics for Prometheus, health and readiness for orchestrators.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use parking_lot::{Mutex, RwLock};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The content type of Prometheus' text format that prometheus-client writes.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the process tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It serves clients.
    Ready,
    /// It does not, for this reason.
    NotReady(String),
}

/// Shared by whoever changes the state and the HTTP listener.
#[derive(Debug, Clone)]
pub struct Health {
    readiness: Arc<RwLock<Readiness>>,
}

impl Health {
    /// Starting.
    pub fn starting() -> Self {
        Self {
            readiness: Arc::new(RwLock::new(Readiness::NotReady("starting".to_owned()))),
        }
    }

    /// Changes what /readyz says.
    pub fn set(&self, readiness: Readiness) {
        *self.readiness.write() = readiness;
    }
}

#[derive(Clone)]
struct HttpState {
    registry: Arc<Mutex<Registry>>,
    health: Health,
}

/// Serves until `stopping`.
pub async fn serve(
    listener: TcpListener,
    registry: Arc<Mutex<Registry>>,
    health: Health,
    stopping: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(HttpState { registry, health });
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { stopping.cancelled().await })
        .await
}

async fn metrics(State(state): State<HttpState>) -> impl IntoResponse {
    let mut text = String::new();
    match encode(&mut text, &state.registry.lock()) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, METRICS_TYPE)], text),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            "metrics could not be written\n".to_owned(),
        ),
    }
}

async fn ready(State(state): State<HttpState>) -> impl IntoResponse {
    match &*state.health.readiness.read() {
        Readiness::Ready => (StatusCode::OK, "ready\n".to_owned()),
        Readiness::NotReady(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {reason}\n"),
        ),
    }
}
