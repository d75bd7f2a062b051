//! Reads at the newest or a past revision, and replay for watches.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::tables::{ReadTables, State};
use crate::store::error::StoreError;
use crate::store::limits::{RANGE_BYTES_MAX, RANGE_KEYS_MAX};
use crate::store::range::{KeyRange, RangeRequest, RangeResponse};
use crate::store::types::{KeyValue, Revision};
use crate::store::watch::WatchBatch;

/// Events looked at for one page of a watch, matching or not: bounds the time of a read that may run on a
/// thread others wait for.
const PAGE_EVENTS_MAX: usize = 2048;

/// Bytes of matching events after which a page ends, at a revision's end.
const PAGE_BYTES_MAX: u64 = 1024 * 1024;

/// Answers a range read. `state` is that of the caller's transaction, which may be ahead of the stored one.
pub(crate) fn range(
    tables: &impl ReadTables,
    state: &State,
    request: &RangeRequest,
) -> Result<RangeResponse, StoreError> {
    check_readable(state, request.revision)?;
    let mut page = Page::new(request.limit);
    match request.revision {
        Some(revision) if revision < state.revision => {
            scan_past(tables, &request.range, revision, &mut page)?;
        }
        _ => tables.scan(&request.range, &mut |kv| page.push(kv))?,
    }
    Ok(RangeResponse {
        revision: state.revision,
        kvs: page.kvs,
        more: page.more,
    })
}

/// Whether a revision can be read: not forgotten, not in the future.
pub(crate) fn check_readable(state: &State, revision: Option<Revision>) -> Result<(), StoreError> {
    match revision {
        Some(requested) if requested < state.compacted => Err(StoreError::Compacted {
            requested,
            compacted: state.compacted,
        }),
        Some(requested) if requested > state.revision => Err(StoreError::FutureRevision {
            requested,
            newest: state.revision,
        }),
        _ => Ok(()),
    }
}

/// Collects keys up to the limits of an answer.
struct Page {
    limit: usize,
    bytes: usize,
    kvs: Vec<KeyValue>,
    more: bool,
}

impl Page {
    fn new(limit: Option<usize>) -> Self {
        let limit = limit.unwrap_or(RANGE_KEYS_MAX).min(RANGE_KEYS_MAX);
        Self {
            limit,
            bytes: 0,
            kvs: Vec::new(),
            more: false,
        }
    }

    fn push(&mut self, kv: KeyValue) -> ControlFlow<()> {
        if self.kvs.len() >= self.limit || self.bytes >= RANGE_BYTES_MAX {
            self.more = true;
            return ControlFlow::Break(());
        }
        self.bytes += kv.key.len() + kv.value.len();
        self.kvs.push(kv);
        ControlFlow::Continue(())
    }
}

/// Reads a range as of a past revision: the current keys, with every change since then taken back.
/// The memory this takes is bounded by the bound on history.
fn scan_past(
    tables: &impl ReadTables,
    range: &KeyRange,
    revision: Revision,
    page: &mut Page,
) -> Result<(), StoreError> {
    let undone = undo_since(tables, range, revision)?;
    let mut undone = undone.into_iter().peekable();
    let mut stopped = false;
    tables.scan(range, &mut |current| {
        while let Some((_, before)) = undone.next_if(|(key, _)| *key < current.key) {
            if push_some(page, before).is_break() {
                stopped = true;
                return ControlFlow::Break(());
            }
        }
        let kept = match undone.next_if(|(key, _)| *key == current.key) {
            Some((_, before)) => before,
            None => Some(current),
        };
        let flow = push_some(page, kept);
        stopped = flow.is_break();
        flow
    })?;
    if !stopped {
        let _ = undone.try_for_each(|(_, before)| push_some(page, before));
    }
    Ok(())
}

fn push_some(page: &mut Page, kv: Option<KeyValue>) -> ControlFlow<()> {
    kv.map_or(ControlFlow::Continue(()), |kv| page.push(kv))
}

/// What the keys of `range` that changed after `revision` were at it: the first change of each after it
/// says what it replaced.
fn undo_since(
    tables: &impl ReadTables,
    range: &KeyRange,
    revision: Revision,
) -> Result<BTreeMap<Bytes, Option<KeyValue>>, StoreError> {
    let mut undone = BTreeMap::new();
    tables.events(revision.next(), &mut |stored| {
        let key = stored.event.key();
        if range.contains(key) {
            undone.entry(key.clone()).or_insert(stored.previous);
        }
        ControlFlow::Continue(())
    })?;
    Ok(undone)
}

/// A watch's wish for more events.
#[derive(Debug, Clone)]
pub(crate) struct EventsRequest {
    pub(crate) range: KeyRange,
    pub(crate) from: Revision,
}

/// Some of a watch's events, and where to go on.
#[derive(Debug)]
pub(crate) struct EventsPage {
    pub(crate) batches: Vec<WatchBatch>,
    pub(crate) next: Revision,
}

/// Reads the events of a range from a revision on, whole revisions only.
pub(crate) fn events_page(
    tables: &impl ReadTables,
    request: &EventsRequest,
) -> Result<EventsPage, StoreError> {
    let state = tables.state()?;
    if request.from < state.compacted {
        return Err(StoreError::Compacted {
            requested: request.from,
            compacted: state.compacted,
        });
    }
    let mut batches: Vec<WatchBatch> = Vec::new();
    let (mut seen, mut bytes, mut current) = (0_usize, 0_u64, Revision::NONE);
    let mut next = request.from.max(state.revision.next());
    tables.events(request.from, &mut |stored| {
        let revision = stored.event.revision();
        let page_full = seen >= PAGE_EVENTS_MAX || bytes >= PAGE_BYTES_MAX;
        if revision != current && page_full {
            next = revision;
            return ControlFlow::Break(());
        }
        (seen, current) = (seen + 1, revision);
        if request.range.contains(stored.event.key()) {
            bytes += stored.size_bytes();
            match batches
                .last_mut()
                .filter(|batch| batch.revision == revision)
            {
                Some(batch) => batch.events.push(stored.event),
                None => batches.push(WatchBatch {
                    revision,
                    events: vec![stored.event],
                }),
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(EventsPage { batches, next })
}
