//! Retries: the one policy for every store. `object_store`'s own are switched off (`cloud.rs`).
//!
//! What makes trying again safe here: our names are unique and never used twice, and an object is
//! written once, so a repeated PUT stores the same bytes under the same name. A PUT whose reply was
//! lost is therefore simply sent again. Create-if-absent needs care: a second attempt that finds an
//! object may have found its own, so the bytes are compared before the answer is "already exists".
//! Whatever compares versions is repeated only when the first attempt certainly did nothing.
//!
//! An upload in parts is begun with retries, but its parts are not retried: `object_store` numbers a
//! part when it is handed over, so a second hand-over would be another part. Such an upload fails as a
//! whole and its caller starts a new one.

mod body;
mod policy;
mod run;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use ::object_store::path::Path;
use ::object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, UploadPart,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use parking_lot::Mutex;

pub use self::body::BodyCutShort;
pub use self::policy::RetryPolicy;
pub use self::run::AttemptTimedOut;
use self::run::{Repeat, Retries, Turn};
use super::metrics::StoreMetrics;
use super::operation::Operation;
use crate::rand::SharedRandom;

/// Objects deleted by one request: S3's limit for one call.
const DELETE_BATCH: usize = 1000;

/// A store that tries again.
#[derive(Debug, Clone)]
pub struct RetryStore {
    inner: Arc<dyn ObjectStore>,
    retries: Arc<Retries>,
}

impl RetryStore {
    /// Retries what `inner` fails to do.
    pub fn new(
        inner: Arc<dyn ObjectStore>,
        policy: RetryPolicy,
        random: SharedRandom,
        metrics: StoreMetrics,
    ) -> Self {
        Self {
            inner,
            retries: Arc::new(Retries::new(policy, random, metrics)),
        }
    }

    /// Deletes a batch; what is already gone counts as deleted, at every store.
    async fn delete_batch(self, batch: Vec<Path>) -> Result<Vec<Path>> {
        let left = Mutex::new(batch.clone());
        let attempt = |_| async {
            let names: Vec<_> = left.lock().iter().cloned().map(Ok).collect();
            let mut results = self
                .inner
                .delete_stream(futures::stream::iter(names).boxed());
            let mut failed = None;
            while let Some(result) = results.next().await {
                match result {
                    Ok(deleted) => left.lock().retain(|name| *name != deleted),
                    // The path told may have the store's own prefix before our name.
                    Err(Error::NotFound { path, .. }) => {
                        left.lock().retain(|name| !path.ends_with(name.as_ref()));
                    }
                    Err(error) => failed = Some(error),
                }
            }
            failed.map_or(Ok(()), Err)
        };
        self.retries
            .run(Operation::Delete, 0, Repeat::Safe, attempt)
            .await?;
        Ok(batch)
    }

    /// Whether `location` holds exactly `payload`: then it was our own earlier attempt that put it.
    async fn holds(&self, location: &Path, payload: &PutPayload) -> Result<Option<PutResult>> {
        let result = self.get_opts(location, GetOptions::default()).await?;
        let (e_tag, version) = (result.meta.e_tag.clone(), result.meta.version.clone());
        if result.meta.size != payload.content_length() as u64 {
            return Ok(None);
        }
        let stored = result.bytes().await?;
        let same = Bytes::from(payload.clone()) == stored;
        Ok(same.then_some(PutResult { e_tag, version }))
    }
}

impl fmt::Display for RetryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "retry({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for RetryStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let repeat = match opts.mode {
            PutMode::Overwrite | PutMode::Create => Repeat::Safe,
            PutMode::Update(_) => Repeat::IfNotDone,
        };
        let attempt = |maybe_done: bool| {
            let (payload, opts) = (payload.clone(), opts.clone());
            async move {
                let result = self.inner.put_opts(location, payload.clone(), opts).await;
                match result {
                    Err(exists @ Error::AlreadyExists { .. }) if maybe_done => {
                        self.holds(location, &payload).await?.ok_or(exists)
                    }
                    other => other,
                }
            }
        };
        let bytes = payload.content_length() as u64;
        self.retries
            .run(Operation::Put, bytes, repeat, attempt)
            .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let begin = |_| self.inner.put_multipart_opts(location, opts.clone());
        let inner = self
            .retries
            .run(Operation::Upload, 0, Repeat::Safe, begin)
            .await?;
        Ok(Box::new(TimedUpload {
            inner,
            retries: Arc::clone(&self.retries),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let operation = match options.head {
            true => Operation::Head,
            false => Operation::Get,
        };
        let open = |_| self.inner.get_opts(location, options.clone());
        let result = self.retries.run(operation, 0, Repeat::Safe, open).await?;
        let source = body::Source {
            inner: Arc::clone(&self.inner),
            retries: Arc::clone(&self.retries),
            location: location.clone(),
            options,
        };
        Ok(body::resumable(source, result))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let bytes = ranges
            .iter()
            .map(|range| range.end.saturating_sub(range.start))
            .sum();
        let read = |_| self.inner.get_ranges(location, ranges);
        self.retries
            .run(Operation::Get, bytes, Repeat::Safe, read)
            .await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .try_chunks(DELETE_BATCH)
            .map_err(|broken| broken.1)
            .and_then(move |batch| store.clone().delete_batch(batch))
            .map_ok(|deleted| futures::stream::iter(deleted.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        list(self.clone(), prefix.cloned(), None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        list(self.clone(), prefix.cloned(), Some(offset.clone()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let read = |_| self.inner.list_with_delimiter(prefix);
        self.retries
            .run(Operation::List, 0, Repeat::Safe, read)
            .await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let repeat = match options.mode {
            CopyMode::Overwrite => Repeat::Safe,
            CopyMode::Create => Repeat::IfNotDone,
        };
        let copy = |_| self.inner.copy_opts(from, to, options.clone());
        self.retries.run(Operation::Copy, 0, repeat, copy).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let rename = |_| self.inner.rename_opts(from, to, options.clone());
        self.retries
            .run(Operation::Copy, 0, Repeat::IfNotDone, rename)
            .await
    }
}

/// A listing that goes on after the last name it gave, as long as names come in order. Local folders
/// give them in no order, but then there is no network that breaks off either.
fn list(
    store: RetryStore,
    prefix: Option<Path>,
    offset: Option<Path>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let open = |store: &RetryStore, prefix: &Option<Path>, after: &Option<Path>| match after {
        Some(after) => store.inner.list_with_offset(prefix.as_ref(), after),
        None => store.inner.list(prefix.as_ref()),
    };
    let start = Listing {
        names: open(&store, &prefix, &offset),
        after: offset,
        ordered: true,
    };
    let step = move |mut listing: Listing| {
        let (store, prefix) = (store.clone(), prefix.clone());
        async move {
            let retries = Arc::clone(&store.retries);
            let mut turn = Turn::new(&retries, Operation::List, Repeat::Safe);
            loop {
                let next = listing.names.next().map(Option::transpose);
                match retries.in_time(Operation::List, 0, next).await {
                    Ok(None) => return Ok(None),
                    Ok(Some(meta)) => {
                        listing.ordered &= listing.after.as_ref() < Some(&meta.location);
                        listing.after = Some(meta.location.clone());
                        return Ok(Some((meta, listing)));
                    }
                    Err(error) if !listing.ordered => return Err(error),
                    Err(error) => {
                        turn.next(error).await?;
                        listing.names = open(&store, &prefix, &listing.after);
                    }
                }
            }
        }
    };
    futures::stream::try_unfold(start, step)
        .into_stream()
        .boxed()
}

struct Listing {
    names: BoxStream<'static, Result<ObjectMeta>>,
    after: Option<Path>,
    /// Every name so far was greater than the one before it.
    ordered: bool,
}

/// An upload in parts under time limits.
#[derive(Debug)]
struct TimedUpload {
    inner: Box<dyn MultipartUpload>,
    retries: Arc<Retries>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MultipartUpload for TimedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let bytes = data.content_length() as u64;
        let part = self.inner.put_part(data);
        let retries = Arc::clone(&self.retries);
        async move { retries.in_time(Operation::Upload, bytes, part).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let done = self.inner.complete();
        self.retries.in_time(Operation::Upload, 0, done).await
    }

    async fn abort(&mut self) -> Result<()> {
        let gone = self.inner.abort();
        self.retries.in_time(Operation::Upload, 0, gone).await
    }
}
