//! Faults for tests, injected between our decorators and a real store: the errors a bucket really
//! has, including the worst one, "it happened, but we were told that it failed".
//!
//! A [`FaultPlan`] holds rules; the first one that applies to an operation decides. Everything random
//! comes from the plan's seed.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::object_store::path::Path;
use ::object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, UploadPart,
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use parking_lot::Mutex;

use super::http::ServerError;
use super::operation::Operation;
use crate::rand::{Random, SeededRandom};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The store refuses with this status and code; nothing happened.
    Refuse {
        /// HTTP status.
        status: u16,
        /// S3 error code.
        code: &'static str,
    },
    /// The operation happens, then its answer is lost and an error arrives instead.
    LoseReply,
    /// The answer comes late.
    Delay(Duration),
    /// No answer ever comes.
    Hang,
    /// The body of a get ends after this many bytes, as if that were all.
    CutBody(u64),
    /// One random bit of a get's body is flipped.
    FlipBit,
}

/// When a fault happens.
#[derive(Debug, Clone)]
pub struct FaultRule {
    /// Only this operation; `None` is any.
    pub operation: Option<Operation>,
    /// Only objects whose name contains this; `None` is any.
    pub name_contains: Option<String>,
    /// How often, in thousandths of the operations that match.
    pub per_mille: u32,
    /// How many times at most; `None` is without end.
    pub times: Option<u32>,
    /// What happens.
    pub fault: Fault,
}

impl FaultRule {
    /// `fault` at every operation of this kind.
    pub fn always(operation: Operation, fault: Fault) -> Self {
        Self {
            operation: Some(operation),
            name_contains: None,
            per_mille: 1000,
            times: None,
            fault,
        }
    }

    /// `fault` at the next `times` operations of this kind.
    pub fn next(operation: Operation, times: u32, fault: Fault) -> Self {
        Self {
            times: Some(times),
            ..Self::always(operation, fault)
        }
    }
}

/// The faults to inject, changeable while the store is in use.
#[derive(Debug)]
pub struct FaultPlan {
    rules: Mutex<Vec<FaultRule>>,
    random: Arc<SeededRandom>,
    injected: AtomicU64,
}

impl FaultPlan {
    /// A plan without rules.
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            rules: Mutex::new(Vec::new()),
            random: SeededRandom::new(seed),
            injected: AtomicU64::new(0),
        })
    }

    /// Adds a rule after those already there.
    pub fn add(&self, rule: FaultRule) {
        self.rules.lock().push(rule);
    }

    /// Ends all faults. Operations that hang go on hanging: their requests are lost.
    pub fn heal(&self) {
        self.rules.lock().clear();
    }

    /// Faults injected so far.
    pub fn injected(&self) -> u64 {
        self.injected.load(Ordering::Relaxed)
    }

    fn decide(&self, operation: Operation, name: &str) -> Option<Fault> {
        let mut rules = self.rules.lock();
        for rule in rules.iter_mut() {
            let matches = rule.operation.is_none_or(|only| only == operation)
                && rule
                    .name_contains
                    .as_ref()
                    .is_none_or(|part| name.contains(part))
                && rule.times != Some(0);
            if matches && self.random.below(1000) < u64::from(rule.per_mille) {
                if let Some(times) = &mut rule.times {
                    *times -= 1;
                }
                self.injected.fetch_add(1, Ordering::Relaxed);
                return Some(rule.fault.clone());
            }
        }
        None
    }
}

/// A store that fails as planned.
#[derive(Debug, Clone)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    plan: Arc<FaultPlan>,
}

impl FaultStore {
    /// Injects the faults of `plan` above `inner`.
    pub fn new(inner: Arc<dyn ObjectStore>, plan: Arc<FaultPlan>) -> Self {
        Self { inner, plan }
    }

    /// Runs `work` as the plan says. Faults of bodies are returned for the caller to apply.
    async fn run<T>(
        &self,
        operation: Operation,
        name: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<(T, Option<Fault>)> {
        match self.plan.decide(operation, name) {
            Some(Fault::Refuse { status, code }) => Err(refused(status, code)),
            Some(Fault::LoseReply) => {
                work.await?;
                Err(refused(500, "InternalError"))
            }
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                Ok((work.await?, None))
            }
            Some(Fault::Hang) => std::future::pending().await,
            of_body => Ok((work.await?, of_body)),
        }
    }

    async fn plain<T>(
        &self,
        operation: Operation,
        name: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let (done, _) = self.run(operation, name, work).await?;
        Ok(done)
    }

    /// A stream that fails, waits or hangs before its first result.
    fn streamed<T: Send + 'static>(
        &self,
        operation: Operation,
        name: String,
        results: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        let store = self.clone();
        let start = async move { store.plain(operation, &name, async { Ok(results) }).await };
        start.into_stream().try_flatten().boxed()
    }
}

fn refused(status: u16, code: &str) -> Error {
    Error::Generic {
        store: "fault",
        source: Box::new(ServerError {
            status,
            code: Some(code.to_owned()),
            message: Some("injected".to_owned()),
            region: None,
            server_date: None,
        }),
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fault({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for FaultStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let put = self.inner.put_opts(location, payload, opts);
        self.plain(Operation::Put, location.as_ref(), put).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let begin = self.inner.put_multipart_opts(location, opts);
        let inner = self
            .plain(Operation::Upload, location.as_ref(), begin)
            .await?;
        Ok(Box::new(FaultUpload {
            inner,
            store: self.clone(),
            name: location.to_string(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let operation = match options.head {
            true => Operation::Head,
            false => Operation::Get,
        };
        let get = self.inner.get_opts(location, options);
        let (result, fault) = self.run(operation, location.as_ref(), get).await?;
        let Some(fault) = fault else {
            return Ok(result);
        };
        let (meta, range) = (result.meta.clone(), result.range.clone());
        let attributes = result.attributes.clone();
        let bytes = damage(result.bytes().await?, &fault, self.plan.random.as_ref());
        Ok(GetResult {
            payload: GetResultPayload::Stream(futures::stream::iter([Ok(bytes)]).boxed()),
            meta,
            range,
            attributes,
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let get = self.inner.get_ranges(location, ranges);
        let (mut parts, fault) = self.run(Operation::Get, location.as_ref(), get).await?;
        match fault {
            // Cut parts would be refused by any client; several ranges arrive whole or not at all.
            Some(Fault::CutBody(_)) => Err(refused(500, "InternalError")),
            Some(fault) => {
                if let Some(first) = parts.first_mut() {
                    *first = damage(first.clone(), &fault, self.plan.random.as_ref());
                }
                Ok(parts)
            }
            None => Ok(parts),
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .then(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    let name = location.to_string();
                    let one = std::future::ready(Ok(location)).into_stream().boxed();
                    let mut deleted = store.inner.delete_stream(one);
                    let gone = async {
                        let nothing = || refused(500, "InternalError");
                        deleted.next().await.ok_or_else(nothing)?
                    };
                    store.plain(Operation::Delete, &name, gone).await
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let name = prefix.map(Path::to_string).unwrap_or_default();
        self.streamed(Operation::List, name, self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let name = prefix.map(Path::to_string).unwrap_or_default();
        let names = self.inner.list_with_offset(prefix, offset);
        self.streamed(Operation::List, name, names)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let name = prefix.map(Path::to_string).unwrap_or_default();
        let list = self.inner.list_with_delimiter(prefix);
        self.plain(Operation::List, &name, list).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copy = self.inner.copy_opts(from, to, options);
        self.plain(Operation::Copy, to.as_ref(), copy).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let rename = self.inner.rename_opts(from, to, options);
        self.plain(Operation::Copy, to.as_ref(), rename).await
    }
}

/// `bytes` as `fault` leaves them.
fn damage(bytes: Bytes, fault: &Fault, random: &dyn Random) -> Bytes {
    match fault {
        Fault::CutBody(kept) => {
            let kept = usize::try_from(*kept).unwrap_or(usize::MAX);
            bytes.slice(..kept.min(bytes.len()))
        }
        Fault::FlipBit if !bytes.is_empty() => {
            let bit = random.below(bytes.len() as u64 * 8);
            let mut damaged = BytesMut::from(bytes.as_ref());
            damaged[(bit / 8) as usize] ^= 1 << (bit % 8);
            damaged.freeze()
        }
        _ => bytes,
    }
}

#[derive(Debug)]
struct FaultUpload {
    inner: Box<dyn MultipartUpload>,
    store: FaultStore,
    name: String,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MultipartUpload for FaultUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let part = self.inner.put_part(data);
        let (store, name) = (self.store.clone(), self.name.clone());
        async move { store.plain(Operation::Upload, &name, part).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let done = self.inner.complete();
        self.store.plain(Operation::Upload, &self.name, done).await
    }

    async fn abort(&mut self) -> Result<()> {
        let gone = self.inner.abort();
        self.store.plain(Operation::Upload, &self.name, gone).await
    }
}
