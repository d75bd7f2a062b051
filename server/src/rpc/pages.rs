//! One fetch per object and rack: pages of segments from the broker of the rack that fetches them for all.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use alluvium_cache::budget::ReadClass;
use alluvium_cache::segment_cache::{PagePeers, SegmentCache};
use alluvium_common::epoch::BrokerId;
use alluvium_metadata::view::ClusterView;
use alluvium_segment::object_key::ObjectKey;
use alluvium_segment::segment_index::SegmentRef;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::Status;
use tracing::debug;

use super::service::{Answer, AnswerMemory, Answers};
use super::{CallError, Peers, ReadPages, proto, rendezvous};

/// Most bytes of one answer: the largest page there is.
const PAGE_BYTES_MAX: u64 = 16 << 20;

/// How long a broker that did not answer is not asked again: reads would wait for it in vain, each for as long as a call
/// may take.
const SILENT_PAUSE: Duration = Duration::from_secs(2);

/// Asks the other brokers of the rack.
pub struct RackPages {
    me: BrokerId,
    view: Arc<ClusterView>,
    peers: Arc<Peers>,
    silent: Mutex<HashMap<BrokerId, Instant>>,
}

impl RackPages {
    /// For the broker `me`.
    pub fn new(me: BrokerId, view: Arc<ClusterView>, peers: Arc<Peers>) -> Arc<Self> {
        Arc::new(Self {
            me,
            view,
            peers,
            silent: Mutex::default(),
        })
    }

    /// The broker of this one's rack that fetches the object, if that is another one and can be asked. One that is
    /// about to stop is left out by all alike.
    fn home(&self, object_key: &ObjectKey) -> Option<BrokerId> {
        let picture = self.view.picture();
        let rack = picture.brokers.get(self.me)?.record.rack.as_ref()?;
        let in_rack = picture.brokers.all().filter(|live| {
            let record = &live.record;
            record.rack.as_ref() == Some(rack) && record.rpc.is_some() && !record.draining
        });
        let in_rack = in_rack.map(|live| live.record.broker_id);
        let home = rendezvous::home(object_key.as_str().as_bytes(), in_rack)?;
        (home != self.me && !self.is_silent(home)).then_some(home)
    }

    fn is_silent(&self, broker_id: BrokerId) -> bool {
        let mut silent = self.silent.lock();
        match silent.get(&broker_id) {
            Some(since) if since.elapsed() < SILENT_PAUSE => true,
            Some(_) => {
                silent.remove(&broker_id);
                false
            }
            None => false,
        }
    }

    async fn read(&self, home: BrokerId, request: proto::ReadPagesRequest) -> Option<Bytes> {
        match self.peers.call::<ReadPages>(home, request).await {
            Ok(answer) => Some(answer.bytes),
            Err(error) => {
                debug!(%error, "another broker gives no page; reading it from the object store");
                if !matches!(error, CallError::Busy(_)) {
                    self.silent.lock().insert(home, Instant::now());
                }
                None
            }
        }
    }
}

impl PagePeers for RackPages {
    fn ask(
        &self,
        segment: &Arc<SegmentRef>,
        positions: Range<u64>,
        class: ReadClass,
    ) -> Option<BoxFuture<'_, Option<Bytes>>> {
        let home = self.home(&segment.object_key)?;
        let request = proto::ReadPagesRequest {
            object_key: segment.object_key.as_str().to_owned(),
            object_bytes: segment.size_bytes,
            start: positions.start,
            end: positions.end,
            is_tail: class == ReadClass::Tail,
        };
        Some(self.read(home, request).boxed())
    }
}

/// Gives pages to other brokers.
pub struct Pages {
    cache: SegmentCache,
    memory: AnswerMemory,
}

impl Pages {
    /// From `cache`; answers take their memory from `memory`.
    pub fn new(cache: SegmentCache, memory: AnswerMemory) -> Arc<Self> {
        Arc::new(Self { cache, memory })
    }
}

impl Answers<ReadPages> for Pages {
    async fn answer(
        &self,
        request: proto::ReadPagesRequest,
    ) -> Result<Answer<proto::ReadPagesAnswer>, Status> {
        let object_key = ObjectKey::parse(&request.object_key);
        let object_key = object_key.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let bytes = request.end.saturating_sub(request.start);
        if bytes == 0 || bytes > PAGE_BYTES_MAX || request.end > request.object_bytes {
            return Err(Status::invalid_argument("no page is like that"));
        }
        let permit = self.memory.take(bytes as usize)?;
        let segment = Arc::new(SegmentRef {
            object_key,
            size_bytes: request.object_bytes,
        });
        let class = match request.is_tail {
            true => ReadClass::Tail,
            false => ReadClass::Backfill,
        };
        let positions = request.start..request.end;
        let read = self.cache.read_for_peer(&segment, positions, class).await;
        let bytes = read.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Answer {
            message: proto::ReadPagesAnswer { bytes },
            permit: Some(permit),
        })
    }
}
