//! Pages from other brokers.
//!
//! In a rack, every object has one broker that fetches it from the object store, whatever the number of brokers, readers
//! and consumer groups; the others ask that one. It is a shortcut only: whoever does not get a page fetches it itself.

use std::ops::Range;
use std::sync::Arc;

use alluvium_segment::segment_index::SegmentRef;
use bytes::Bytes;
use futures::future::BoxFuture;

use crate::budget::ReadClass;
use crate::metrics::SegmentCacheMetrics;

/// Other brokers that may be asked for pages.
pub trait PagePeers: Send + Sync {
    /// Asks the broker whose business the object is. `None` when that is this one, so that there is nobody to ask.
    fn ask(
        &self,
        segment: &Arc<SegmentRef>,
        positions: Range<u64>,
        class: ReadClass,
    ) -> Option<BoxFuture<'_, Option<Bytes>>>;
}

/// Where a page that is not here may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From other brokers, if they have it, else from the object store.
    PeersFirst,
    /// From the object store.
    StoreOnly,
}

/// The page as another broker has it. `None` when it must come from the object store.
pub(super) async fn ask(
    peers: &dyn PagePeers,
    metrics: &SegmentCacheMetrics,
    class: ReadClass,
    segment: &Arc<SegmentRef>,
    positions: &Range<u64>,
) -> Option<Bytes> {
    let asked = peers.ask(segment, positions.clone(), class)?;
    let expected = positions.end - positions.start;
    let given = asked.await.filter(|bytes| bytes.len() as u64 == expected);
    match given {
        Some(_) => metrics.peer_pages.inc(),
        None => metrics.peer_fallbacks.inc(),
    };
    given
}
