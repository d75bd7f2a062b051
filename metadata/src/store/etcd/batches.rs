//! Joins the messages of a watch into batches of one whole revision each (M5).
//!
//! A message may hold several revisions, and the end of one revision may follow in the next message: etcd splits by
//! size and says so (`fragment`). A revision is whole when an event of another one comes, or when a message that is
//! not continued ends. So at most one revision is held back, however long the message would have been in one piece.

use std::collections::VecDeque;

use crate::store::types::{Event, Revision};
use crate::store::watch::WatchBatch;

#[derive(Debug, Default)]
pub(super) struct Batches {
    ready: VecDeque<WatchBatch>,
    partial: Option<WatchBatch>,
}

impl Batches {
    /// Adds the events of one message. `continued`: the next message belongs to it.
    pub(super) fn push(&mut self, events: impl IntoIterator<Item = Event>, continued: bool) {
        for event in events {
            self.add(event.revision(), event);
        }
        if !continued {
            self.finish();
        }
    }

    fn add(&mut self, revision: Revision, event: Event) {
        match &mut self.partial {
            Some(partial) if partial.revision == revision => partial.events.push(event),
            _ => {
                self.finish();
                self.partial = Some(WatchBatch {
                    revision,
                    events: vec![event],
                });
            }
        }
    }

    fn finish(&mut self) {
        self.ready.extend(self.partial.take());
    }

    /// The next whole revision.
    pub(super) fn pop(&mut self) -> Option<WatchBatch> {
        self.ready.pop_front()
    }

    /// Whether nothing waits: neither whole nor begun.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.partial.is_none()
    }

    /// The stream broke: what was begun comes again, as a whole.
    pub(super) fn forget_partial(&mut self) {
        self.partial = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(revisions: &[u64]) -> Vec<Event> {
        let event = |revision: &u64| Event::Delete {
            key: "k".into(),
            revision: Revision(*revision),
        };
        revisions.iter().map(event).collect()
    }

    fn popped(batches: &mut Batches) -> Vec<(u64, usize)> {
        std::iter::from_fn(|| batches.pop())
            .map(|batch| (batch.revision.0, batch.events.len()))
            .collect()
    }

    #[test]
    fn a_revision_in_pieces_is_delivered_whole() {
        let mut batches = Batches::default();
        batches.push(events(&[2, 3, 3]), true);
        assert_eq!(popped(&mut batches), [(2, 1)], "3 may go on");
        batches.push(events(&[3, 3]), true);
        assert_eq!(popped(&mut batches), []);
        assert!(!batches.is_empty());
        batches.push(events(&[4]), false);
        assert_eq!(popped(&mut batches), [(3, 4), (4, 1)]);
        assert!(batches.is_empty());
    }

    #[test]
    fn what_broke_off_is_forgotten_and_what_is_whole_is_not() {
        let mut batches = Batches::default();
        batches.push(events(&[2, 3]), true);
        batches.forget_partial();
        assert_eq!(popped(&mut batches), [(2, 1)]);
        batches.push(events(&[3, 3]), false);
        assert_eq!(popped(&mut batches), [(3, 2)]);
    }
}
