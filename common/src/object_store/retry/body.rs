//! The body of a get. A body that breaks off, stalls or ends early is continued where it stopped, as
//! long as the object is still the same one (`If-Match`).

use std::ops::Range;
use std::sync::Arc;

use ::object_store::path::Path;
use ::object_store::{Error, GetOptions, GetResult, GetResultPayload, ObjectStore, Result};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::run::{Repeat, Retries, Turn, timed_out};
use crate::object_store::operation::Operation;

/// The store ended a body before all bytes that it had promised, or sent more.
#[derive(Debug, thiserror::Error)]
#[error("the body ended {missing} bytes early")]
pub struct BodyCutShort {
    missing: u64,
}

/// What it takes to go on reading an object.
pub(super) struct Source {
    pub(super) inner: Arc<dyn ObjectStore>,
    pub(super) retries: Arc<Retries>,
    pub(super) location: Path,
    pub(super) options: GetOptions,
}

/// Replaces the body of `result` by one that survives interruptions.
pub(super) fn resumable(source: Source, result: GetResult) -> GetResult {
    let GetResult {
        payload,
        meta,
        range,
        attributes,
    } = result;
    let payload = match payload {
        GetResultPayload::Stream(body) if !source.options.head => {
            let tag = meta.e_tag.clone();
            GetResultPayload::Stream(stream(source, body, tag, range.clone()))
        }
        other => other,
    };
    GetResult {
        payload,
        meta,
        range,
        attributes,
    }
}

type Body = BoxStream<'static, Result<Bytes>>;

struct Reading {
    source: Source,
    body: Body,
    tag: Option<String>,
    rest: Range<u64>,
}

fn stream(source: Source, body: Body, tag: Option<String>, range: Range<u64>) -> Body {
    let reading = Reading {
        source,
        body,
        tag,
        rest: range,
    };
    futures::stream::try_unfold(reading, |mut reading| async move {
        let chunk = reading.next().await?;
        Ok::<_, Error>(chunk.map(|bytes| (bytes, reading)))
    })
    .into_stream()
    .boxed()
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let retries = Arc::clone(&self.source.retries);
        let mut turn = Turn::new(&retries, Operation::Get, Repeat::Safe);
        let mut broken = None;
        loop {
            if let Some(error) = broken.take() {
                turn.next(error).await?;
                if let Err(error) = self.reopen().await {
                    broken = Some(error);
                    continue;
                }
            }
            match self.chunk().await {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) => broken = Some(error),
            }
        }
    }

    /// The next non-empty chunk of the body at hand.
    async fn chunk(&mut self) -> Result<Bytes> {
        let stall = self.source.retries.policy.attempt_timeout;
        loop {
            let next = tokio::time::timeout(stall, self.body.next()).await;
            let missing = self.rest.end - self.rest.start;
            let bytes = match next {
                Err(_elapsed) => return Err(timed_out(Operation::Get, stall)),
                Ok(None) => return Err(cut_short(missing)),
                Ok(Some(chunk)) => chunk?,
            };
            let length = bytes.len() as u64;
            if length > missing {
                return Err(cut_short(missing));
            }
            if length > 0 {
                self.rest.start += length;
                return Ok(bytes);
            }
        }
    }

    async fn reopen(&mut self) -> Result<()> {
        let source = &self.source;
        let options = GetOptions {
            range: Some(self.rest.clone().into()),
            if_match: self.tag.clone().or(source.options.if_match.clone()),
            ..source.options.clone()
        };
        let again = source.inner.get_opts(&source.location, options);
        let result = source.retries.in_time(Operation::Get, 0, again).await?;
        self.body = result.into_stream();
        Ok(())
    }
}

fn cut_short(missing: u64) -> Error {
    Error::Generic {
        store: "retry",
        source: Box::new(BodyCutShort { missing }),
    }
}
