//! The HTTP listener: metrics for Prometheus, health and readiness for orchestrators.

use std::sync::{Arc, OnceLock};

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

/// Tells what keeps the process from serving well, if anything does.
type Check = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Shared by whoever changes the state and the HTTP listener.
#[derive(Clone)]
pub struct Health {
    readiness: Arc<RwLock<Readiness>>,
    check: Arc<OnceLock<Check>>,
}

impl Health {
    /// Starting.
    pub fn starting() -> Self {
        Self {
            readiness: Arc::new(RwLock::new(Readiness::NotReady("starting".to_owned()))),
            check: Arc::default(),
        }
    }

    /// Asked at each /readyz of a process that is otherwise ready. Set once.
    pub fn check_with(&self, check: impl Fn() -> Option<String> + Send + Sync + 'static) {
        let set = self.check.set(Box::new(check));
        debug_assert!(set.is_ok(), "a process has one check");
    }

    fn now(&self) -> Readiness {
        let readiness = self.readiness.read().clone();
        let trouble = self.check.get().and_then(|check| check());
        match (readiness, trouble) {
            (Readiness::Ready, Some(trouble)) => Readiness::NotReady(trouble),
            (readiness, _) => readiness,
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
    match state.health.now() {
        Readiness::Ready => (StatusCode::OK, "ready\n".to_owned()),
        Readiness::NotReady(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {reason}\n"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn trouble_makes_a_ready_process_not_ready() {
        let health = Health::starting();
        assert_eq!(health.now(), Readiness::NotReady("starting".to_owned()));
        health.set(Readiness::Ready);
        assert_eq!(health.now(), Readiness::Ready);
        let failed = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&failed);
        health.check_with(move || seen.load(Ordering::Relaxed).then(|| "disk".to_owned()));
        assert_eq!(health.now(), Readiness::Ready);
        failed.store(true, Ordering::Relaxed);
        assert_eq!(health.now(), Readiness::NotReady("disk".to_owned()));
    }
}
