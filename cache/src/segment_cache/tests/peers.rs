//! Pages from and for other brokers.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::*;

/// Gives what a test says, and counts how often it is asked.
struct Peer {
    given: Mutex<Option<Vec<u8>>>,
    asked: AtomicUsize,
}

impl PagePeers for Peer {
    fn ask(
        &self,
        _: &Arc<SegmentRef>,
        positions: Range<u64>,
        _: ReadClass,
    ) -> Option<BoxFuture<'_, Option<Bytes>>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let given = self.given.lock().as_ref().map(|object| {
            let (start, end) = (positions.start as usize, positions.end as usize);
            Bytes::copy_from_slice(&object[start.min(object.len())..end.min(object.len())])
        });
        Some(Box::pin(std::future::ready(given)))
    }
}

#[tokio::test]
async fn peers_are_asked_before_the_object_store_and_never_believed() {
    let object: Vec<u8> = Fixture::new(sealed(1, 2)).await.encoded.chunks.concat();
    let mut damaged = object.clone();
    damaged.iter_mut().for_each(|byte| *byte ^= 1);
    let short = object[..10].to_vec();
    // What the peer gives; pages from it, fallbacks, whether the object store was asked.
    let cases = [
        (Some(object), true, false, false),
        (None, false, true, true),
        (Some(short), false, true, true),
        (Some(damaged), true, false, true),
    ];
    for (number, (given, from_peer, fell_back, from_store)) in cases.into_iter().enumerate() {
        let fixture = Fixture::new(sealed(1, 2)).await;
        let cache = fixture.open(SegmentCacheConfig::default()).await;
        let peer = Arc::new(Peer {
            given: Mutex::new(given),
            asked: AtomicUsize::new(0),
        });
        cache.ask_first(Arc::clone(&peer) as _);
        fixture.read(&cache, 0).await;
        let metrics = &fixture.metrics;
        assert_eq!(metrics.peer_pages.get() > 0, from_peer, "{number}");
        assert_eq!(metrics.peer_fallbacks.get() > 0, fell_back, "{number}");
        assert_eq!(
            metrics.gets(ReadClass::Backfill).get() > 0,
            from_store,
            "{number}"
        );
    }
}

#[tokio::test]
async fn peers_are_answered_from_here_or_from_the_object_store() {
    let fixture = Fixture::new(sealed(1, 2)).await;
    let cache = fixture.open(SegmentCacheConfig::default()).await;
    let peer = Arc::new(Peer {
        given: Mutex::new(None),
        asked: AtomicUsize::new(0),
    });
    cache.ask_first(Arc::clone(&peer) as _);
    let object: Vec<u8> = fixture.encoded.chunks.concat();
    for _ in 0..2 {
        let read = cache.read_for_peer(&fixture.segment, 100..2_000, ReadClass::Backfill);
        assert_eq!(read.await.expect("reads"), object[100..2_000]);
    }
    assert_eq!(
        peer.asked.load(Ordering::Relaxed),
        0,
        "never a third broker"
    );
    assert_eq!(fixture.metrics.gets(ReadClass::Backfill).get(), 1);
}
