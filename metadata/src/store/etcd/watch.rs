//! Watches: a stream each, opened again behind what was delivered when it breaks.
//!
//! A watch pulls. What its user has not taken yet waits in HTTP/2's window and in etcd, so a slow watcher costs this
//! process one message.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tonic::Streaming;
use tracing::debug;

use super::batches::Batches;
use super::caller::{Caller, Repeat};
use super::convert::{self, signed, unsigned};
use super::endpoints::Place;
use super::error::{Class, Failure};
use super::namespace::{Namespace, Span};
use super::proto;
use crate::store::error::StoreError;
use crate::store::range::KeyRange;
use crate::store::types::Revision;
use crate::store::watch::{WatchBatch, WatchError, WatchRequest, WatchSource};

/// Streams that may break one after the other without bringing anything; then the watch ends.
const BROKEN_MAX: u32 = 20;
/// Pause before a stream is opened that replaces one which brought nothing.
const BROKEN_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct EtcdWatch {
    caller: Arc<Caller>,
    space: Namespace,
    range: KeyRange,
    /// First revision that is not delivered and not known to be without interest.
    next: Revision,
    stream: Option<Open>,
    batches: Batches,
    broken: u32,
}

#[derive(Debug)]
struct Open {
    place: Place,
    messages: Streaming<proto::WatchResponse>,
}

impl EtcdWatch {
    /// Opens the first stream.
    pub(super) async fn start(
        caller: Arc<Caller>,
        space: Namespace,
        request: WatchRequest,
    ) -> Result<Self, StoreError> {
        // This member may lag behind what other members have answered, so that "now" is for all of them to say.
        let newest = newest(&caller, &space, &request.range).await?;
        let next = request.from.unwrap_or(newest.next());
        let mut watch = Self {
            caller,
            space,
            range: request.range,
            next: next.max(Revision::FIRST),
            stream: None,
            batches: Batches::default(),
            broken: 0,
        };
        watch.stream = watch
            .open(watch.next)
            .await
            .map_err(|failure| failure.not_done().into_error())?;
        Ok(watch)
    }

    /// Opens a stream that starts with the events of `from`. None over a range that holds nothing.
    async fn open(&self, from: Revision) -> Result<Option<Open>, Failure> {
        let Span::Keys { key, range_end } = self.space.span(&self.range) else {
            return Ok(None);
        };
        let create = proto::WatchCreateRequest {
            key,
            range_end,
            start_revision: signed(from.0),
            progress_notify: true,
            fragment: true,
        };
        let (place, messages) = self
            .caller
            .call_placed(Repeat::Freely, |wire| wire.watch(create.clone()))
            .await?;
        Ok(Some(Open { place, messages }))
    }

    /// Opens a stream in place of one that broke.
    ///
    /// It starts one revision early, and what is known of that is left out. For etcd before 3.4.34 and 3.5.16
    /// forgets deletions of the very revision that it compacts to, although it lets watches start there: asking for
    /// one revision more turns that into an error.
    async fn open_again(&self) -> Result<Option<Open>, WatchError> {
        // With authentication this also notices a token that is no longer valid, of which the watch itself says
        // no more than that permission is denied.
        newest(&self.caller, &self.space, &self.range).await?;
        let from = Revision(self.next.0.saturating_sub(1)).max(Revision::FIRST);
        let opened = self.open(from).await;
        Ok(opened.map_err(|failure| failure.not_done().into_error())?)
    }

    fn take(&mut self, message: proto::WatchResponse) -> Result<(), Taken> {
        if message.canceled && message.compact_revision > 0 {
            return Err(Taken::Ended(WatchError::Compacted {
                requested: self.next,
                compacted: Revision(unsigned(message.compact_revision)),
            }));
        }
        if message.canceled {
            return Err(Taken::Broken(Failure::watch_canceled(
                &message.cancel_reason,
            )));
        }
        let idle = message.events.is_empty() && !message.created && !message.fragment;
        let next = self.next;
        let events = message
            .events
            .into_iter()
            .map(|event| convert::event(&self.space, event))
            .filter(|event| event.revision() >= next);
        self.batches.push(events, message.fragment);
        if idle && self.batches.is_empty() {
            // All up to here was delivered, so a stream that breaks much later need not ask for it.
            let told = proto::revision(&message.header);
            self.next = self.next.max(told.next());
            self.broken = 0;
        }
        Ok(())
    }

    /// The stream brought nothing more. Waits a little if it never did.
    async fn broke(&mut self, place: Place, failure: Failure) -> Result<(), WatchError> {
        debug!(reason = failure.reason, next = %self.next, "a watch broke");
        self.stream = None;
        self.batches.forget_partial();
        self.caller.leave(place);
        self.broken += 1;
        if self.broken > BROKEN_MAX || failure.class == Class::Refused {
            return Err(failure.not_done().into_error().into());
        }
        if self.broken > 1 {
            tokio::time::sleep(BROKEN_PAUSE).await;
        }
        Ok(())
    }
}

enum Taken {
    Ended(WatchError),
    Broken(Failure),
}

#[async_trait]
impl WatchSource for EtcdWatch {
    async fn next(&mut self) -> Result<WatchBatch, WatchError> {
        loop {
            if let Some(batch) = self.batches.pop() {
                self.next = batch.revision.next();
                self.broken = 0;
                return Ok(batch);
            }
            let Some(open) = &mut self.stream else {
                match self.open_again().await? {
                    Some(open) => self.stream = Some(open),
                    None => std::future::pending::<()>().await,
                }
                continue;
            };
            let place = open.place;
            let failure = match open.messages.message().await {
                Ok(Some(message)) => match self.take(message) {
                    Ok(()) => continue,
                    Err(Taken::Ended(error)) => return Err(error),
                    Err(Taken::Broken(failure)) => failure,
                },
                Ok(None) => Failure::watch_canceled("the stream ended"),
                Err(status) => Failure::of(&status),
            };
            self.broke(place, failure).await?;
        }
    }
}

/// The newest revision of all members (M1).
pub(super) async fn newest(
    caller: &Caller,
    space: &Namespace,
    range: &KeyRange,
) -> Result<Revision, StoreError> {
    let nothing = convert::nothing(space, range, None);
    let answer = caller
        .call(Repeat::Freely, |wire| wire.range(nothing.clone()))
        .await
        .map_err(|failure| failure.not_done().into_error())?;
    Ok(proto::revision(&answer.header))
}

/// The oldest revision that can be read, as a watch from the first is told; etcd says it nowhere else. None if
/// nobody tells in time, or nothing was compacted.
pub(super) async fn compacted(
    caller: &Caller,
    space: &Namespace,
    range: &KeyRange,
    patience: Duration,
) -> Option<Revision> {
    let create = proto::WatchCreateRequest {
        key: space.probe(range),
        start_revision: 1,
        ..proto::WatchCreateRequest::default()
    };
    let asking = async {
        let opened = caller.call(Repeat::Freely, |wire| wire.watch(create.clone()));
        let mut messages = opened.await.ok()?;
        while let Ok(Some(message)) = messages.message().await {
            if message.compact_revision > 0 {
                return Some(Revision(unsigned(message.compact_revision)));
            }
        }
        None
    };
    tokio::time::timeout(patience, asking).await.ok().flatten()
}
