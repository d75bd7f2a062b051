//! Finding offsets in a manifest.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;

use super::{LeafEntry, ManifestContent, SpanEntry, TableEntry};
use crate::error::FormatError;

/// A manifest with an index of what it says: of two levels it is the root. Never changed, so it is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    content: ManifestContent,
    leaves: Vec<Arc<LeafEntry>>,
    tables: Vec<Arc<TableEntry>>,
    /// Of leaves, and then of tables.
    places: Places,
}

/// A span that a manifest names, and what holds it.
#[derive(Debug, Clone, Copy)]
pub struct RootSpan<'a> {
    /// A table file, or a leaf that lists some.
    pub holder: Holder<'a>,
    /// The span: of a leaf, the union of those in it.
    pub span: &'a SpanEntry,
    stored_bytes: u64,
}

/// See [`RootSpan`].
#[derive(Debug, Clone, Copy)]
pub enum Holder<'a> {
    /// A table file.
    Table(&'a Arc<TableEntry>),
    /// A leaf: which of its table files answers for an offset, if any does, stands in it.
    Leaf(&'a Arc<LeafEntry>),
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
        let leaves = std::mem::take(&mut content.leaves);
        let tables = std::mem::take(&mut content.tables);
        let of_leaves = leaves.iter().map(|leaf| SpansOf::Leaf(&leaf.spans));
        let of_tables = tables.iter().map(|table| SpansOf::Table(&table.spans));
        let places = Places::of(of_leaves.chain(of_tables).map(SpansOf::iter))?;
        for (partition, end) in places.ends() {
            let published = content.partitions.get(&partition);
            let published_end = published.map_or(Offset::ZERO, |published| published.next_offset);
            if end > published_end {
                return Err(FormatError::Malformed(
                    "manifest: a span beyond what is published",
                ));
            }
        }
        for published in content.partitions.values() {
            published.clean.check(published.next_offset)?;
        }
        Ok(Self {
            leaves: leaves.into_iter().map(Arc::new).collect(),
            tables: tables.into_iter().map(Arc::new).collect(),
            content,
            places,
        })
    }

    /// What it says, but for leaves and tables: see [`Self::leaves`] and [`Self::tables`].
    pub fn content(&self) -> &ManifestContent {
        &self.content
    }

    /// What it says, to make the next one from.
    pub fn to_content(&self) -> ManifestContent {
        let leaves = self.leaves.iter().map(|leaf| LeafEntry::clone(leaf));
        let tables = self.tables.iter().map(|table| TableEntry::clone(table));
        ManifestContent {
            leaves: leaves.collect(),
            tables: tables.collect(),
            ..self.content.clone()
        }
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.content.version
    }

    /// The leaves that it names, oldest first.
    pub fn leaves(&self) -> &[Arc<LeafEntry>] {
        &self.leaves
    }

    /// The table files that it names itself: all that are in no leaf.
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

    /// The spans of a partition from the one that holds `offset`, or else the first beyond, in offset order. Of a leaf it
    /// may be that none of its table files answers for `offset`; then one in it answers for what follows.
    pub fn spans_from(
        &self,
        partition: PartitionIndex,
        offset: Offset,
    ) -> impl DoubleEndedIterator<Item = RootSpan<'_>> {
        let places = self.places.from(partition, offset).iter();
        places.map(|place| self.at(place))
    }

    /// Bytes of table files that the partition takes: of a file with several partitions, by their share of the record
    /// bytes.
    pub fn stored_bytes(&self, partition: PartitionIndex) -> u64 {
        let spans = self.spans_from(partition, Offset::ZERO);
        spans.map(|found| found.stored_bytes()).sum()
    }

    fn at(&self, place: &Place) -> RootSpan<'_> {
        let (holder, at) = (place.holder as usize, place.span);
        match holder.checked_sub(self.leaves.len()) {
            None => {
                let leaf = &self.leaves[holder];
                let of_leaf = &leaf.spans[at as usize];
                RootSpan {
                    holder: Holder::Leaf(leaf),
                    span: &of_leaf.span,
                    stored_bytes: of_leaf.stored_bytes,
                }
            }
            Some(number) => {
                let found = TableSpan::at(&self.tables[number], at);
                RootSpan {
                    holder: Holder::Table(found.table),
                    span: found.span,
                    stored_bytes: found.stored_bytes(),
                }
            }
        }
    }
}

impl RootSpan<'_> {
    /// Bytes of table files that the span takes: its share of the record bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// The offsets that the span answers for.
    pub fn offsets(&self) -> Range<Offset> {
        self.span.offsets()
    }
}

impl<'a> TableSpan<'a> {
    pub(super) fn at(table: &'a Arc<TableEntry>, span: u32) -> Self {
        Self {
            span: &table.spans[span as usize],
            table,
        }
    }

    /// Bytes of the table file that the span takes: its share of the record bytes.
    pub fn stored_bytes(&self) -> u64 {
        share_bytes(self.table, self.span, self.table.raw_bytes())
    }

    /// The offsets that the span answers for.
    pub fn offsets(&self) -> Range<Offset> {
        self.span.offsets()
    }
}

impl SpanEntry {
    /// The offsets that it answers for.
    pub fn offsets(&self) -> Range<Offset> {
        self.base_offset..self.next_offset
    }
}

/// Bytes of `table`, whose spans have `raw_bytes` together, that one of them takes.
pub(super) fn share_bytes(table: &TableEntry, span: &SpanEntry, raw_bytes: u64) -> u64 {
    let share = u128::from(table.size_bytes) * u128::from(span.raw_bytes);
    // Not more than the size, unless the spans of a damaged file say nonsense.
    u64::try_from(share / u128::from(raw_bytes.max(1))).unwrap_or(u64::MAX)
}

/// Where the spans of each partition are, in offset order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Places(BTreeMap<PartitionIndex, Vec<Place>>);

/// Where one span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Its end.
    next_offset: Offset,
    /// Number of what holds it.
    pub holder: u32,
    /// Its number in there.
    pub span: u32,
}

impl Places {
    /// Bytes of memory for each span.
    pub const BYTES_PER_SPAN: usize = size_of::<Place>();

    /// Of holders with so many spans each.
    pub fn of<'a, S>(holders: impl Iterator<Item = S>) -> Result<Self, FormatError>
    where
        S: Iterator<Item = &'a SpanEntry>,
    {
        let mut all: BTreeMap<_, Vec<(Offset, Place)>> = BTreeMap::new();
        for (holder, spans) in (0..).zip(holders) {
            for (number, span) in (0..).zip(spans) {
                let place = Place {
                    next_offset: span.next_offset,
                    holder,
                    span: number,
                };
                let of_partition = all.entry(span.partition).or_default();
                of_partition.push((span.base_offset, place));
            }
        }
        let sorted = all.into_iter().map(|(partition, mut places)| {
            places.sort_unstable_by_key(|(base_offset, _)| *base_offset);
            let mut end = Offset::ZERO;
            for (base_offset, place) in &places {
                if *base_offset < end || place.next_offset <= *base_offset {
                    return Err(FormatError::Malformed("manifest: spans overlap"));
                }
                end = place.next_offset;
            }
            let places = places.into_iter().map(|(_, place)| place);
            Ok((partition, places.collect()))
        });
        sorted.collect::<Result<_, _>>().map(Self)
    }

    /// Those of a partition from the one that holds `offset`, or else the first beyond.
    pub fn from(&self, partition: PartitionIndex, offset: Offset) -> &[Place] {
        let places = self.0.get(&partition).map_or(&[][..], Vec::as_slice);
        let first = places.partition_point(|place| place.next_offset <= offset);
        &places[first..]
    }

    /// Where the last span of each partition ends.
    fn ends(&self) -> impl Iterator<Item = (PartitionIndex, Offset)> {
        let all = self.0.iter();
        all.filter_map(|(partition, places)| Some((*partition, places.last()?.next_offset)))
    }
}

/// The spans of what a manifest names.
enum SpansOf<'a> {
    Leaf(&'a [super::LeafSpan]),
    Table(&'a [SpanEntry]),
}

impl<'a> SpansOf<'a> {
    fn iter(self) -> impl Iterator<Item = &'a SpanEntry> {
        let (of_leaf, of_table) = match self {
            Self::Leaf(spans) => (spans, &[][..]),
            Self::Table(spans) => (&[][..], spans),
        };
        of_leaf.iter().map(|one| &one.span).chain(of_table)
    }
}
