//! What the former leader of a partition tells its next one, so that no footer need be read.
//!
//! It is taken only where nothing speaks against it: it must have been made for the very record that is opened (the
//! same commit logs, each closed at the same entry), and its segments must follow each other up to the end that it
//! names. Else the footers are read, as after a death.

use std::collections::HashMap;
use std::sync::Arc;

use alluvium_common::offset::Offset;
use alluvium_metadata::model::{PartitionRecord, TailEntry};
use alluvium_segment::footer::{ProducerBatch, ProducerSummary};
use alluvium_segment::index_part::IndexPart;

use super::{PartitionImage, snapshot_of};
use crate::partition::LeaderPartition;
use crate::producer_state::ProducerSnapshot;

/// A partition as its former leader left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedIndex {
    /// The commit logs that its record named, all of them closed.
    pub tail: Vec<TailEntry>,
    /// The end of what is committed.
    pub end: Offset,
    /// Its segments from the log start on, and its producers.
    pub part: IndexPart,
}

impl HandedIndex {
    /// What the leader of `partition` knows, for whoever opens it by `record`. `None` as long as not all of it is
    /// committed and in the index.
    pub fn of(partition: &LeaderPartition, record: &PartitionRecord) -> Option<Self> {
        let log = partition.log();
        let end = partition.log_end();
        let index = log.index.read();
        if index.next_offset() != end || log.tail.uploaded() != end {
            return None;
        }
        let mut producers: Vec<_> = partition.producers().iter().filter_map(summary).collect();
        producers.sort_unstable_by_key(|(producer, _)| producer.producer_id);
        Some(Self {
            tail: record.tail.clone(),
            end,
            part: IndexPart {
                tp: log.tp,
                spans: index.spans_beyond(log.tp, record.log_start).collect(),
                producers,
            },
        })
    }
}

/// As a footer has it; of producers without batches it has nothing.
fn summary(snapshot: &ProducerSnapshot) -> Option<(ProducerSummary, i64)> {
    let batches: Vec<_> = snapshot
        .batches
        .iter()
        .map(|batch| ProducerBatch {
            base_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence,
            base_offset: batch.base_offset,
            last_offset: batch.last_offset,
            max_timestamp: batch.max_timestamp,
        })
        .collect();
    let summary = ProducerSummary {
        producer_id: snapshot.producer_id,
        producer_epoch: snapshot.producer_epoch,
        batches,
    };
    (!summary.batches.is_empty()).then_some((summary, snapshot.last_seen_ms))
}

/// Those images of which something was handed that fits, with it, and the others.
pub(super) fn split(
    images: Vec<PartitionImage>,
    handed: Vec<HandedIndex>,
) -> (Vec<PartitionImage>, Vec<PartitionImage>) {
    let mut handed: HashMap<_, _> = handed.into_iter().map(|one| (one.part.tp, one)).collect();
    let (mut ready, mut rest) = (Vec::new(), Vec::new());
    for image in images {
        let filled = handed.remove(&image.tp).and_then(|one| fill(&image, one));
        match filled {
            Some(filled) => ready.push(filled),
            None => rest.push(image),
        }
    }
    (ready, rest)
}

/// `None` when there is any doubt.
fn fill(empty: &PartitionImage, handed: HandedIndex) -> Option<PartitionImage> {
    let record = &empty.record;
    let all_closed = record.tail.iter().all(|entry| entry.last_seq.is_some());
    if handed.tail != record.tail || !all_closed {
        return None;
    }
    let mut image = PartitionImage::new(empty.tp, record.clone(), empty.manifest.clone());
    for (segment, span) in &handed.part.spans {
        if span.next_offset > image.needed_from {
            image.index.add(Arc::clone(segment), span).ok()?;
        }
    }
    if image.index.next_offset() != handed.end.max(image.needed_from) {
        return None;
    }
    for (producer, last_seen_ms) in &handed.part.producers {
        image
            .producers
            .restore(&snapshot_of(producer, *last_seen_ms));
    }
    image.committed_end = handed.end;
    image.end = handed.end;
    // Which entries hold records is not told: all stay named, as they are.
    let entries = record.tail.iter().enumerate();
    image.held = entries
        .filter_map(|(index, entry)| Some((index, (entry.first_seq, entry.last_seq?))))
        .collect();
    Some(image)
}

#[cfg(test)]
mod tests {
    use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
    use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
    use alluvium_metadata::model::Opener;
    use alluvium_segment::footer::{BlockEncoding, BlockEntry, PartitionSpan};
    use alluvium_segment::object_key::{ObjectKey, SegmentName};
    use alluvium_segment::segment_index::SegmentRef;
    use uuid::Uuid;

    use super::*;

    fn offset(value: i64) -> Offset {
        Offset::new(value).expect("not negative")
    }

    fn tp() -> TopicPartition {
        TopicPartition::new(TopicId(Uuid::from_u128(7)), PartitionIndex(0))
    }

    fn span(base: i64, next: i64) -> (Arc<SegmentRef>, PartitionSpan) {
        let segment = SegmentRef {
            object_key: ObjectKey::segment(&SegmentName {
                broker_id: BrokerId(1),
                broker_epoch: BrokerEpoch(5),
                id: Uuid::from_u128(base as u128),
            }),
            size_bytes: 1_000,
        };
        let span = PartitionSpan {
            tp: tp(),
            base_offset: offset(base),
            next_offset: offset(next),
            max_timestamp: 1,
            leader_epochs: Vec::new(),
            blocks: vec![BlockEntry {
                position: 48,
                stored_length: 10,
                raw_length: 10,
                encoding: BlockEncoding::Raw,
                crc: 0,
                base_offset: offset(base),
                next_offset: offset(next),
                max_timestamp: 1,
                batch_count: 1,
            }],
            producers: Vec::new(),
        };
        (Arc::new(segment), span)
    }

    fn opener(broker: i32, epoch: i64) -> Opener {
        Opener {
            broker_id: BrokerId(broker),
            broker_epoch: BrokerEpoch(epoch),
            first_seq: 3,
            wal: None,
        }
    }

    fn handed_record() -> PartitionRecord {
        let open = PartitionRecord::new(BrokerId(1)).opened(&opener(1, 5), offset(0), |_| None);
        PartitionRecord {
            log_start: offset(15),
            ..open.handed_over(BrokerId(2), Some(8), true)
        }
    }

    fn handed(record: &PartitionRecord) -> HandedIndex {
        HandedIndex {
            tail: record.tail.clone(),
            end: offset(30),
            part: IndexPart {
                spans: vec![span(0, 10), span(10, 20), span(20, 30)],
                ..IndexPart::empty(tp())
            },
        }
    }

    fn taken(record: &PartitionRecord, handed: HandedIndex) -> Option<PartitionImage> {
        let empty = PartitionImage::new(tp(), record.clone(), None);
        let (mut images, rest) = split(vec![empty], vec![handed]);
        assert_eq!(images.len() + rest.len(), 1);
        images.pop()
    }

    #[test]
    fn what_fits_is_opened_without_a_footer() {
        let record = handed_record();
        let image = taken(&record, handed(&record)).expect("fits");
        assert_eq!(
            (image.end(), image.committed_end()),
            (offset(30), offset(30))
        );
        assert_eq!(
            image.index.segment_count(),
            2,
            "nothing below the log start"
        );
        let opened = image.opened(&opener(2, 9));
        assert_eq!(opened.leader_epoch, LeaderEpoch(1));
        assert_eq!(
            opened.epoch_history.last().map(|e| e.start),
            Some(offset(30))
        );
        assert_eq!(
            opened.tail[..1],
            record.tail,
            "the log of before stays named"
        );
        assert_eq!(opened.open_by(), Some((BrokerId(2), BrokerEpoch(9))));
    }

    #[test]
    fn any_doubt_leads_to_the_footers() {
        let record = handed_record();
        let doubts: [fn(&mut HandedIndex); 5] = [
            |handed| handed.end = offset(31),
            |handed| handed.tail[0].last_seq = Some(9),
            |handed| handed.tail.clear(),
            |handed| drop(handed.part.spans.remove(1)),
            |handed| drop(handed.part.spans.pop()),
        ];
        for (number, doubt) in doubts.iter().enumerate() {
            let mut handed = handed(&record);
            doubt(&mut handed);
            assert!(taken(&record, handed).is_none(), "{number}");
        }
        // After a death the last log is still open: nobody can speak for it.
        let open = PartitionRecord::new(BrokerId(1)).opened(&opener(1, 5), offset(0), |_| None);
        assert!(taken(&open, handed(&open)).is_none());
        let mut other = handed(&record);
        other.part.tp.partition = PartitionIndex(1);
        assert!(taken(&record, other).is_none());
    }

    #[test]
    fn an_empty_partition_needs_no_segments() {
        let record = PartitionRecord::new(BrokerId(2));
        let handed = HandedIndex {
            tail: Vec::new(),
            end: Offset::ZERO,
            part: IndexPart::empty(tp()),
        };
        assert_eq!(
            taken(&record, handed).map(|image| image.end()),
            Some(Offset::ZERO)
        );
    }
}
