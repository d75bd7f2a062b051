//! Which spans continue a partition's log: pure.
//!
//! As in Kafka the log with the highest leader epoch at its end wins, then the longest. A span follows another if it
//! begins where that ends and its leader epoch is not lower; and where the snapshot knows that a leader epoch began at an
//! offset, only spans of that epoch or a higher one may hold the offset.

use std::collections::BTreeMap;

/// What a segment holds of the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Which segment.
    pub segment: usize,
    /// First offset.
    pub base: i64,
    /// The offset after the last.
    pub next: i64,
    /// Leader epoch of its first batch.
    pub first_epoch: i32,
    /// Leader epoch of its last batch.
    pub last_epoch: i32,
}

/// Where a chain can get to: leader epoch and offset of its end.
type Reach = (i32, i64);

/// The candidates that continue a log from `start`, in order. `min_epoch` is the leader epoch of the log's end;
/// `begun` tells whether the span may hold the offsets it does.
pub fn extend(
    start: i64,
    min_epoch: i32,
    candidates: &[Span],
    begun: impl Fn(&Span) -> bool,
) -> Vec<Span> {
    let mut by_base: BTreeMap<i64, Vec<Span>> = BTreeMap::new();
    for span in candidates {
        if span.base >= start && span.next > span.base && begun(span) {
            by_base.entry(span.base).or_default().push(*span);
        }
    }
    // From the end backwards: what follows a span is known before the span is judged.
    let mut reach: BTreeMap<i64, Vec<(Span, Reach)>> = BTreeMap::new();
    for (base, spans) in by_base.iter().rev() {
        let judged = spans.iter().map(|span| {
            let follows = best(&reach, span.next, span.last_epoch);
            let end = follows.map_or((span.last_epoch, span.next), |(_, reach)| reach);
            (*span, end)
        });
        let judged: Vec<_> = judged.collect();
        reach.insert(*base, judged);
    }
    let (mut at, mut epoch, mut chain) = (start, min_epoch, Vec::new());
    while let Some((span, _)) = best(&reach, at, epoch) {
        (at, epoch) = (span.next, span.last_epoch);
        chain.push(span);
    }
    chain
}

/// Of the spans that begin at `base` under `min_epoch` or a higher one, the one that leads furthest. Of equals the
/// one of the youngest segment.
fn best(
    reach: &BTreeMap<i64, Vec<(Span, Reach)>>,
    base: i64,
    min_epoch: i32,
) -> Option<(Span, Reach)> {
    let fitting = reach.get(&base)?.iter();
    fitting
        .filter(|(span, _)| span.first_epoch >= min_epoch)
        .max_by_key(|(span, reach)| (*reach, span.segment))
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(segment: usize, base: i64, next: i64, epochs: (i32, i32)) -> Span {
        Span {
            segment,
            base,
            next,
            first_epoch: epochs.0,
            last_epoch: epochs.1,
        }
    }

    fn chosen(start: i64, min_epoch: i32, candidates: &[Span]) -> Vec<usize> {
        let chain = extend(start, min_epoch, candidates, |_| true);
        chain.into_iter().map(|span| span.segment).collect()
    }

    #[test]
    fn spans_follow_each_other_and_a_gap_ends_the_chain() {
        let spans = [
            span(0, 30, 40, (1, 1)),
            span(1, 10, 20, (1, 1)),
            span(2, 50, 60, (1, 1)),
            span(3, 20, 30, (1, 1)),
            span(4, 5, 10, (1, 1)),
        ];
        assert_eq!(chosen(10, 0, &spans), [1, 3, 0]);
        assert_eq!(chosen(0, 0, &spans), [0_usize; 0]);
        assert_eq!(chosen(40, 0, &spans), [0_usize; 0]);
    }

    #[test]
    fn of_two_copies_one_is_chosen() {
        let spans = [
            span(0, 0, 5, (0, 0)),
            span(1, 0, 5, (0, 0)),
            span(2, 5, 9, (0, 0)),
        ];
        assert_eq!(chosen(0, 0, &spans), [1, 2]);
    }

    #[test]
    fn the_higher_leader_epoch_wins_though_it_is_shorter() {
        // The old leader's last segment was never committed; the new one began at 15.
        let spans = [
            span(0, 10, 20, (1, 1)),
            span(1, 10, 15, (2, 2)),
            span(2, 15, 18, (2, 2)),
        ];
        assert_eq!(chosen(10, 1, &spans), [1, 2]);
        // Both begin with replayed batches of epoch 1.
        let spans = [span(0, 10, 20, (1, 1)), span(1, 10, 16, (1, 2))];
        assert_eq!(chosen(10, 1, &spans), [1]);
        // Once that epoch has begun the older one does not continue it.
        let spans = [span(0, 10, 15, (2, 2)), span(1, 15, 99, (1, 1))];
        assert_eq!(chosen(10, 1, &spans), [0]);
        assert_eq!(chosen(15, 2, &spans), [0_usize; 0]);
    }

    #[test]
    fn an_epoch_that_the_snapshot_knows_is_respected() {
        let orphan = [span(0, 10, 20, (1, 1))];
        // Epoch 2 began at 10, says the snapshot.
        let begun = |span: &Span| span.next <= 10 || span.last_epoch >= 2;
        assert_eq!(extend(10, 1, &orphan, begun), []);
    }
}
