//! The rows of a table file against what its index says of them: pure.

use std::collections::BTreeMap;

use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use alluvium_segment::record_batch::{Record, TimestampType};
use alluvium_table::{Stripe, TableSpan, raw_bytes};

use super::digest::{Comparison, Piece};

/// What rows add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sum {
    records: u64,
    raw_bytes: u64,
    /// Smallest and largest timestamp; -1 without records, as in an index.
    timestamps: (i64, i64),
}

impl Sum {
    const NOTHING: Self = Self {
        records: 0,
        raw_bytes: 0,
        timestamps: (-1, -1),
    };

    fn add(self, other: Self) -> Self {
        let timestamps = match (self.records, other.records) {
            (0, _) => other.timestamps,
            (_, 0) => self.timestamps,
            _ => (
                self.timestamps.0.min(other.timestamps.0),
                self.timestamps.1.max(other.timestamps.1),
            ),
        };
        Self {
            records: self.records + other.records,
            raw_bytes: self.raw_bytes + other.raw_bytes,
            timestamps,
        }
    }

    fn of(record: &Record) -> Self {
        Self {
            records: 1,
            raw_bytes: raw_bytes(record) as u64,
            timestamps: (record.timestamp, record.timestamp),
        }
    }
}

/// One span of a file, as its rows come.
struct SpanCheck<'a> {
    span: TableSpan,
    sum: Sum,
    next: Offset,
    comparison: Comparison<'a>,
}

/// A file, as its rows come.
pub(super) struct RowCheck<'a> {
    spans: BTreeMap<PartitionIndex, SpanCheck<'a>>,
    findings: Vec<String>,
}

impl<'a> RowCheck<'a> {
    /// With what segments hold of the topic's partitions.
    pub fn new(
        topic_id: TopicId,
        spans: &[TableSpan],
        pieces: &'a BTreeMap<TopicPartition, Vec<Piece>>,
    ) -> Self {
        let checks = spans.iter().map(|span| {
            let tp = TopicPartition::new(topic_id, span.partition);
            let pieces = pieces.get(&tp).map_or(&[][..], Vec::as_slice);
            let check = SpanCheck {
                span: *span,
                sum: Sum::NOTHING,
                next: span.base_offset,
                comparison: Comparison::new(pieces, &(span.base_offset..span.next_offset)),
            };
            (span.partition, check)
        });
        Self {
            spans: checks.collect(),
            findings: Vec::new(),
        }
    }

    /// The next stripe's rows.
    pub fn stripe(&mut self, stripe: &Stripe, rows: &[(Record, TimestampType)]) {
        let partition = stripe.partition;
        let Some(check) = self.spans.get_mut(&partition) else {
            self.findings.push(format!(
                "it has rows of partition {partition} and no span of it"
            ));
            return;
        };
        let mut sum = Sum::NOTHING;
        for (record, kind) in rows {
            if record.offset < check.next || record.offset >= check.span.next_offset {
                self.findings.push(format!(
                    "partition {partition}: offset {} stands where {} to before {} should",
                    record.offset, check.next, check.span.next_offset
                ));
                return;
            }
            check.next = record.offset.next();
            sum = sum.add(Sum::of(record));
            check.comparison.row(record, *kind);
        }
        check.sum = check.sum.add(sum);
        let told = (
            u64::from(stripe.rows),
            stripe.raw_bytes,
            stripe.max_timestamp,
        );
        if (sum.records, sum.raw_bytes, sum.timestamps.1) != told {
            self.findings.push(format!(
                "partition {partition}: its rows from offset {} on are not what the index says of them",
                stripe.base_offset
            ));
        }
    }

    /// All rows were there: what is wrong, and how many were compared with those of segments.
    pub fn finish(self) -> (Vec<String>, u64) {
        let (mut findings, mut compared) = (self.findings, 0);
        for (partition, mut check) in self.spans {
            let span = check.span;
            let told = Sum {
                records: span.records,
                raw_bytes: span.raw_bytes,
                timestamps: (span.min_timestamp, span.max_timestamp),
            };
            if check.sum != told {
                findings.push(format!(
                    "partition {partition}: its rows are not what the index says of them: {:?}, not {told:?}",
                    check.sum
                ));
            }
            check.comparison.finish();
            compared += check.comparison.compared;
            let differs = check.comparison.findings.into_iter();
            findings.extend(differs.map(|why| format!("partition {partition}: {why}")));
        }
        (findings, compared)
    }
}
