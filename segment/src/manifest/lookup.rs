//! Finding offsets in a manifest.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;

use super::{ManifestContent, SpanEntry, TableEntry};
use crate::error::FormatError;

/// A manifest with an index of what it says. Never changed, so it is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    content: ManifestContent,
    tables: Vec<Arc<TableEntry>>,
    /// Of each partition, its spans in offset order: number of the table file, number of the span in it.
    places: BTreeMap<PartitionIndex, Vec<(u32, u32)>>,
}

/// A span and the table file that holds it.
#[derive(Debug, Clone, Copy)]
pub struct TableSpan<'a> {
    /// The file.
    pub table: &'a Arc<TableEntry>,
    /// The span in it.
    pub span: &'a SpanEntry,
}

impl Manifest {
    /// Indexes `content`.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] when spans are empty, overlap or reach beyond what is published, or what is clean makes
    /// no sense.
    pub fn new(mut content: ManifestContent) -> Result<Self, FormatError> {
        let tables = std::mem::take(&mut content.tables);
        let tables: Vec<_> = tables.into_iter().map(Arc::new).collect();
        let mut places: BTreeMap<_, Vec<(u32, u32)>> = BTreeMap::new();
        for (number, table) in (0..).zip(&tables) {
            for (at, span) in (0..).zip(&table.spans) {
                places.entry(span.partition).or_default().push((number, at));
            }
        }
        let mut manifest = Self {
            content,
            tables,
            places: BTreeMap::new(),
        };
        for (partition, places) in &mut places {
            places.sort_unstable_by_key(|place| manifest.at(*place).span.base_offset);
            let mut end = Offset::ZERO;
            for place in &*places {
                let span = manifest.at(*place).span;
                if span.base_offset < end || span.next_offset <= span.base_offset {
                    return Err(FormatError::Malformed("manifest: spans overlap"));
                }
                end = span.next_offset;
            }
            if end > manifest.published_end(*partition) {
                return Err(FormatError::Malformed(
                    "manifest: a span beyond what is published",
                ));
            }
        }
        for published in manifest.content.partitions.values() {
            published.clean.check(published.next_offset)?;
        }
        manifest.places = places;
        Ok(manifest)
    }

    /// What it says, but for the tables: see [`Self::tables`].
    pub fn content(&self) -> &ManifestContent {
        &self.content
    }

    /// What it says, to make the next one from.
    pub fn to_content(&self) -> ManifestContent {
        let tables = self.tables.iter().map(|table| TableEntry::clone(table));
        ManifestContent {
            tables: tables.collect(),
            ..self.content.clone()
        }
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.content.version
    }

    /// All table files.
    pub fn tables(&self) -> &[Arc<TableEntry>] {
        &self.tables
    }

    /// First offset of the partition that is not published.
    pub fn published_end(&self, partition: PartitionIndex) -> Offset {
        let published = self.content.partitions.get(&partition);
        published.map_or(Offset::ZERO, |published| published.next_offset)
    }

    /// First offset of the partition from which on all records are there that were published: key compaction may have removed
    /// some below.
    pub fn removed_before(&self, partition: PartitionIndex) -> Offset {
        let published = self.content.partitions.get(&partition);
        published.map_or(Offset::ZERO, |published| published.clean.removed_before)
    }

    /// The spans of a partition from the one that holds `offset`, or else the first beyond, in offset order.
    pub fn spans_from(
        &self,
        partition: PartitionIndex,
        offset: Offset,
    ) -> impl DoubleEndedIterator<Item = TableSpan<'_>> {
        let places = self.places.get(&partition).map_or(&[][..], Vec::as_slice);
        let first = places.partition_point(|place| self.at(*place).span.next_offset <= offset);
        places[first..].iter().map(|place| self.at(*place))
    }

    /// Bytes of table files that the partition takes: of a file with several partitions, by their share of the record
    /// bytes.
    pub fn stored_bytes(&self, partition: PartitionIndex) -> u64 {
        let spans = self.spans_from(partition, Offset::ZERO);
        spans.map(|found| found.stored_bytes()).sum()
    }

    fn at(&self, (table, span): (u32, u32)) -> TableSpan<'_> {
        let table = &self.tables[table as usize];
        TableSpan {
            table,
            span: &table.spans[span as usize],
        }
    }
}

impl TableSpan<'_> {
    /// Bytes of the table file that the span takes: its share of the record bytes.
    pub fn stored_bytes(&self) -> u64 {
        let all: u64 = self.table.spans.iter().map(|span| span.raw_bytes).sum();
        let share = u128::from(self.table.size_bytes) * u128::from(self.span.raw_bytes);
        (share / u128::from(all.max(1))) as u64
    }

    /// The offsets that the span answers for.
    pub fn offsets(&self) -> Range<Offset> {
        self.span.base_offset..self.span.next_offset
    }
}
