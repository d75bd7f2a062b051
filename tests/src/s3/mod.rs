//! An S3 server in this process, for tests: in memory, honest about compare-and-set, signatures
//! checked, and faulty on request. [`garage`] runs a real one, which nobody here wrote, beside it.
//!
//! ```text
//! TCP on a free loopback port -> FaultyService (log, delay, fault, skew, region) -> s3s (HTTP, SigV4) -> MemoryS3 -> Buckets
//! ```

mod bucket;
mod faults;
pub mod garage;
mod handler;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use alluvium_common::clock::{SharedClock, SystemClock};
use alluvium_common::object_store::Environment;
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use s3s::auth::{S3Auth, SecretKey};
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use self::bucket::Buckets;
pub use self::faults::{Latency, S3Fault, S3FaultRule, S3Faults};
use self::handler::MemoryS3;
pub use self::wire::LoggedRequest;
use self::wire::{FaultyService, RequestLog};

/// The bucket that every server has from the start.
pub const BUCKET: &str = "alluvium-test";

const ACCESS_KEY: &str = "test-access-key";
const SECRET_KEY: &str = "test-secret-key";
const REGION: &str = "test-region-1";

/// How a server starts.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// Where to listen; port 0 is any free one.
    pub listen: SocketAddr,
    /// Names on one page of a listing. Small pages make small tests see paging.
    pub page_max: usize,
    /// Of the faults' and delays' randomness.
    pub seed: u64,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            page_max: 1000,
            seed: 1,
        }
    }
}

/// A running server. Dropping it closes it and every connection.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    buckets: Arc<Mutex<Buckets>>,
    faults: Arc<S3Faults>,
    log: Arc<Mutex<RequestLog>>,
    task: JoinHandle<()>,
}

impl S3Server {
    /// Starts a server with one empty bucket, [`BUCKET`], on the current runtime.
    pub async fn start(options: S3Options) -> std::io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let clock: SharedClock = Arc::new(SystemClock);
        let buckets = Arc::new(Mutex::new(Buckets::default()));
        buckets.lock().create(BUCKET);
        let handler = MemoryS3 {
            buckets: Arc::clone(&buckets),
            clock: Arc::clone(&clock),
            page_max: 0,
        };
        let service = FaultyService {
            inner: signed(handler.page_max(options.page_max)),
            faults: Arc::new(S3Faults::new(options.seed)),
            log: Arc::default(),
            clock,
            region: REGION.to_owned(),
        };
        Ok(Self {
            address,
            buckets,
            faults: Arc::clone(&service.faults),
            log: Arc::clone(&service.log),
            task: tokio::spawn(serve(listener, service)),
        })
    }

    /// `http://127.0.0.1:port`
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What to give as `--object-store` for `prefix` in the bucket.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// The variables that point S3 clients at this server.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
        ]
    }

    /// The same, for [`alluvium_common::object_store::open`].
    pub fn environment(&self) -> Environment {
        self.variables().into_iter().collect()
    }

    /// What goes wrong; nothing does at first.
    pub fn faults(&self) -> &S3Faults {
        &self.faults
    }

    /// Requests so far of one operation, by S3's name.
    pub fn count(&self, operation: &str) -> u64 {
        self.log.lock().count(operation)
    }

    /// The latest requests, oldest first.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.log.lock().recent()
    }

    /// Every key in the bucket.
    pub fn keys(&self) -> Vec<String> {
        self.buckets.lock().keys(BUCKET)
    }

    /// The stored bytes of `key`.
    pub fn object(&self, key: &str) -> Option<Bytes> {
        let buckets = self.buckets.lock();
        let object = buckets.get(BUCKET, key).ok()?;
        Some(object.content.clone())
    }

    /// Flips a bit of stored bytes; false when there is no such byte.
    pub fn damage(&self, key: &str, position: usize) -> bool {
        self.buckets.lock().damage(BUCKET, key, position)
    }

    /// Uploads in parts that were begun and neither completed nor aborted.
    pub fn open_uploads(&self) -> usize {
        self.buckets.lock().uploads(BUCKET)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One key pair. An unknown key is refused with the code that Amazon's S3 uses.
struct OneKey;

#[async_trait::async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> s3s::S3Result<SecretKey> {
        match access_key {
            ACCESS_KEY => Ok(SecretKey::from(SECRET_KEY)),
            _ => Err(s3s::s3_error!(InvalidAccessKeyId, "no such access key")),
        }
    }
}

fn signed(handler: MemoryS3) -> S3Service {
    let mut builder = S3ServiceBuilder::new(handler);
    builder.set_auth(OneKey);
    builder.build()
}

async fn serve(listener: TcpListener, service: FaultyService) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Out of file descriptors, for instance; the next accept may do better.
                let Ok((stream, _)) = accepted else { continue };
                let service = service.clone();
                connections.spawn(async move {
                    let _ = stream.set_nodelay(true);
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    // An error here is a client that went away, or a fault as planned.
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}
