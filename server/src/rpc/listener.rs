//! The socket for other brokers, and TLS on both sides of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use alluvium_metadata::model::RpcEndpoint;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, Server, ServerTlsConfig};

use super::RpcService;

/// Pings on connections, and how long their answers may take: a broker that vanished gives its memory back soon.
const PING_PAUSE: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(4);

/// Calls on one connection: a broker follows another's partitions with one call each.
const CALLS_PER_CONNECTION_MAX: u32 = 20_000;

/// Bytes that others may send ahead. Questions are small.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Why TLS between brokers cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Certificate, key and certificate authority of this broker, all PEM. Both sides of a connection show a certificate,
/// and each checks that of the other against the authority.
#[derive(Clone)]
pub struct RpcTls {
    identity: Identity,
    ca: Certificate,
}

impl RpcTls {
    /// Reads the files.
    pub async fn read(cert: &Path, key: &Path, ca: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            identity: Identity::from_pem(read(cert).await?, read(key).await?),
            ca: Certificate::from_pem(read(ca).await?),
        })
    }

    /// For calls to others.
    pub fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(self.ca.clone())
            .identity(self.identity.clone())
    }

    fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .client_ca_root(self.ca.clone())
            .identity(self.identity.clone())
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let content = tokio::fs::read(path).await;
    content.map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// A bound socket, not yet served: its address is known, and told to others with the session.
pub struct BoundRpc {
    listener: TcpListener,
    endpoint: RpcEndpoint,
    tls: Option<RpcTls>,
}

impl BoundRpc {
    /// A socket that others reach at `endpoint`.
    pub fn new(listener: TcpListener, endpoint: RpcEndpoint, tls: Option<RpcTls>) -> Self {
        Self {
            listener,
            endpoint,
            tls,
        }
    }

    /// Where others reach it.
    pub fn endpoint(&self) -> &RpcEndpoint {
        &self.endpoint
    }

    /// TLS for calls to others.
    pub fn client_tls(&self) -> Option<ClientTlsConfig> {
        self.tls.as_ref().map(RpcTls::client)
    }

    /// Answers calls until `stopping`, and ends when those that are being answered then are.
    ///
    /// # Errors
    /// Certificate or key cannot be used.
    pub async fn serve(
        self,
        service: RpcService,
        stopping: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(PING_PAUSE))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        if let Some(tls) = &self.tls {
            server = server.tls_config(tls.server())?;
        }
        let incoming = TcpIncoming::from(self.listener).with_nodelay(Some(true));
        let until = stopping.cancelled_owned();
        let server = server.add_service(service);
        server.serve_with_incoming_shutdown(incoming, until).await
    }
}
