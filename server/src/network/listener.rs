//! Accepts connections and serves each in a task of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::metrics::ServerMetrics;

use super::connection::{self, ConnectionLimits, Ended, RequestHandler};
use super::frame_reader::{ReadError, RequestBudgets};

/// Pause after accept failed, for instance for want of file descriptors: trying again at once would spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Request buffers that nobody needed for this long are given back to the system.
const BUFFERS_TRIM: Duration = Duration::from_secs(10);

/// Makes the handler of one connection.
pub trait HandlerFactory: Send + Sync + 'static {
    /// For the client at `peer`, which connected to `local`.
    fn handler(&self, peer: SocketAddr, local: SocketAddr) -> Arc<dyn RequestHandler>;
}

/// What the listener needs besides its socket.
pub struct ListenerSeams {
    /// Makes handlers.
    pub handlers: Arc<dyn HandlerFactory>,
    /// Memory of all requests.
    pub budgets: RequestBudgets,
    /// Per connection.
    pub limits: ConnectionLimits,
    /// Counts connections.
    pub metrics: ServerMetrics,
    /// Connections at the same time.
    pub connections_max: usize,
    /// Says when to stop.
    pub stopping: CancellationToken,
}

/// Serves until `stopping`, then waits until the requests that were read are answered.
pub async fn serve(listener: TcpListener, seams: ListenerSeams) {
    let places = Arc::new(Semaphore::new(seams.connections_max));
    let connections = TaskTracker::new();
    let mut trim = tokio::time::interval(BUFFERS_TRIM);
    loop {
        let accepted = tokio::select! {
            () = seams.stopping.cancelled() => break,
            _ = trim.tick() => {
                seams.budgets.buffers.trim();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            warn!(%peer, limit = seams.connections_max, "connection refused: max.connections reached");
            continue;
        };
        let Ok(local) = prepare(&stream) else {
            continue;
        };
        let (reader, writer) = stream.into_split();
        let serving = connection::serve(
            reader,
            writer,
            seams.handlers.handler(peer, local),
            seams.budgets.clone(),
            seams.limits.clone(),
            seams.stopping.clone(),
        );
        let counted = seams.metrics.connection();
        connections.spawn(async move {
            log_end(peer, &serving.await);
            drop((place, counted));
        });
    }
    connections.close();
    connections.wait().await;
}

fn prepare(stream: &TcpStream) -> std::io::Result<SocketAddr> {
    // Answers are small and clients wait for them.
    stream.set_nodelay(true)?;
    stream.local_addr()
}

/// Bad input is worth a line to the operator; clients coming and going are not.
fn log_end(peer: SocketAddr, ended: &Ended) {
    match ended {
        Ended::Read(ReadError::BadFrame(error)) => warn!(%peer, %error, "connection closed"),
        Ended::Read(ReadError::Stalled { .. }) | Ended::Refused(_) => {
            info!(%peer, reason = %ended, "connection closed");
        }
        _ => debug!(%peer, reason = %ended, "connection closed"),
    }
}
