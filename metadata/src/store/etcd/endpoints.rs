//! The members of an etcd and the channels to them. One is used until it fails, then the next.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::error::with_sources;
use super::options::{EtcdOptions, TlsOptions};

/// Pause between two HTTP/2 pings on a connection that waits for an answer, and how long the answer to a ping may
/// take. They find connections that died without a word. etcd closes connections that ping more often than every
/// 5 s (`--grpc-keepalive-min-time`), or while nothing is under way.
const PING_PAUSE: Duration = Duration::from_secs(6);
const PING_TIMEOUT: Duration = Duration::from_secs(4);

/// Bytes one answer may be ahead of its reader: a page without waiting for the network, not more.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// Why the members cannot be spoken to at all.
#[derive(Debug, thiserror::Error)]
pub enum EtcdOpenError {
    /// A file for TLS cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An endpoint or a file for TLS is not what it must be.
    #[error("etcd at {endpoint} cannot be used: {message}")]
    Invalid {
        /// The endpoint.
        endpoint: String,
        /// Why.
        message: String,
    },
    /// It does not answer, or refuses.
    #[error("etcd at {endpoints} cannot be used: {source}")]
    Unusable {
        /// All endpoints.
        endpoints: String,
        /// What was met.
        source: crate::store::StoreError,
    },
}

#[derive(Debug)]
pub(super) struct Endpoints {
    members: Vec<Member>,
    current: AtomicUsize,
}

#[derive(Debug)]
struct Member {
    address: String,
    endpoint: Endpoint,
    channel: Mutex<Channel>,
}

/// One of [`Endpoints`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(usize);

impl Endpoints {
    /// Reads the files for TLS; connects to nothing yet.
    pub(super) async fn new(options: &EtcdOptions) -> Result<Self, EtcdOpenError> {
        let tls = match &options.tls {
            Some(files) => Some(tls_config(files).await?),
            None => None,
        };
        let member = |address: &String| {
            let endpoint = endpoint(address, options, tls.clone()).map_err(|error| {
                EtcdOpenError::Invalid {
                    endpoint: address.clone(),
                    message: with_sources(error.to_string(), &error),
                }
            })?;
            Ok(Member {
                address: address.clone(),
                channel: Mutex::new(endpoint.connect_lazy()),
                endpoint,
            })
        };
        Ok(Self {
            members: options
                .endpoints
                .iter()
                .map(member)
                .collect::<Result<_, _>>()?,
            current: AtomicUsize::new(0),
        })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// The one in use.
    pub(super) fn current(&self) -> (Place, Channel) {
        let index = self.current.load(Ordering::Relaxed);
        (Place(index), self.members[index].channel.lock().clone())
    }

    pub(super) fn address(&self, place: Place) -> &str {
        &self.members[place.0].address
    }

    /// Uses the next one, unless somebody else moved on already.
    pub(super) fn move_on(&self, from: Place) {
        let next = (from.0 + 1) % self.members.len();
        // A lost race means that another call met the same failure.
        let _moved =
            self.current
                .compare_exchange(from.0, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Opens a new connection for later calls: the old one is silent. Calls on the old one are not disturbed.
    pub(super) fn reconnect(&self, place: Place) {
        let member = &self.members[place.0];
        *member.channel.lock() = member.endpoint.connect_lazy();
    }
}

fn endpoint(
    address: &str,
    options: &EtcdOptions,
    tls: Option<ClientTlsConfig>,
) -> Result<Endpoint, tonic::transport::Error> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_PAUSE)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(false)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    match tls {
        Some(tls) => endpoint.tls_config(tls),
        None => Ok(endpoint),
    }
}

async fn tls_config(files: &TlsOptions) -> Result<ClientTlsConfig, EtcdOpenError> {
    let config = ClientTlsConfig::new();
    let config = match &files.ca {
        Some(ca) => config.ca_certificate(Certificate::from_pem(read(ca).await?)),
        None => config.with_native_roots(),
    };
    Ok(match &files.identity {
        Some((cert, key)) => {
            config.identity(Identity::from_pem(read(cert).await?, read(key).await?))
        }
        None => config,
    })
}

async fn read(path: &std::path::Path) -> Result<Vec<u8>, EtcdOpenError> {
    tokio::fs::read(path)
        .await
        .map_err(|source| EtcdOpenError::Unreadable {
            path: path.to_owned(),
            source,
        })
}
