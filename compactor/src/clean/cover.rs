//! The first pass over what is dirty: the latest offset of each key, for as much of it as the map has room for.
//!
//! Files are read in the manifest's order, which is that of offsets, each once for all partitions. When the map is full,
//! each partition is covered up to where the reading came.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use alluvium_common::background::BackgroundThreads;
use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::manifest::{Manifest, SpanEntry, TableEntry};
use futures::{StreamExt, TryStreamExt};

use super::map::OffsetMap;
use super::metrics::CleanMetrics;
use super::plan::Dirt;
use crate::pace::PacedObjects;
use crate::publish::PublishError;
use crate::rewrite::{KeyStep, Source};

/// Reads at the same time: the next while one is put into the map.
const READS_PARALLEL: usize = 2;

/// Bytes of key columns that are read at a time.
const STEP_BYTES: u64 = 8 << 20;

/// What to read with.
pub struct CoverSeams<'a> {
    /// The bucket.
    pub objects: &'a PacedObjects,
    /// Where keys are decoded.
    pub threads: &'a BackgroundThreads,
    /// What is counted.
    pub metrics: &'a CleanMetrics,
}

/// What the map knows of a partition.
#[derive(Debug, Clone, PartialEq)]
pub struct Covered {
    /// What was dirty of it.
    pub dirt: Dirt,
    /// Up to here the map knows the latest offset of each key.
    pub end: Offset,
    /// The last record of all, which stays: who reads to the end must get there.
    pub last: Option<Offset>,
    /// Where the span of that begins.
    last_span: Option<Offset>,
}

impl Covered {
    fn has_dirt(&self, span: &SpanEntry) -> bool {
        span.next_offset > self.dirt.from && span.base_offset < self.dirt.to
    }
}

/// A first pass that has begun. Table files are never changed, so that what was read of them stays true, whatever is
/// published or joined before the pass goes on.
pub struct Pass {
    map: OffsetMap,
    covered: BTreeMap<PartitionIndex, Covered>,
    /// Files that are still to be read, in order.
    pending: VecDeque<Arc<TableEntry>>,
    is_full: bool,
}

impl Pass {
    /// Nothing is read yet of what is dirty in the files of `manifest`.
    pub fn begin(manifest: &Manifest, dirt: Vec<Dirt>, map: OffsetMap) -> Self {
        let covered = dirt.into_iter().map(|dirt| {
            let last = manifest.spans_from(dirt.partition, Offset::ZERO).last();
            let covered = Covered {
                end: dirt.from,
                last: None,
                last_span: last.map(|found| found.offsets().start),
                dirt,
            };
            (covered.dirt.partition, covered)
        });
        let covered: BTreeMap<_, _> = covered.collect();
        let has_dirt = |table: &&Arc<TableEntry>| {
            let mut spans = table.spans.iter();
            spans.any(|span| {
                covered
                    .get(&span.partition)
                    .is_some_and(|one| one.has_dirt(span))
            })
        };
        let tables = manifest.tables().iter();
        Self {
            pending: tables.filter(has_dirt).cloned().collect(),
            is_full: false,
            covered,
            map,
        }
    }

    /// Reads on, about `bytes_max` of files. Whether the pass is over.
    pub async fn step(
        &mut self,
        with: &CoverSeams<'_>,
        bytes_max: u64,
    ) -> Result<bool, PublishError> {
        let mut bytes = 0;
        let taken = self.pending.iter().take_while(|table| {
            let is_wanted = bytes < bytes_max.max(1);
            bytes += table.size_bytes;
            is_wanted
        });
        let count = taken.count();
        let opened = self.pending.drain(..count).map(|table| {
            let objects = with.objects.clone();
            async move { Source::open(&objects, table).await }
        });
        let opened: Vec<_> = opened.collect();
        let mut opened = futures::stream::iter(opened).buffered(READS_PARALLEL);
        while let Some(source) = opened.try_next().await? {
            self.read_all(with, &source).await?;
            if self.is_full {
                return Ok(true);
            }
        }
        Ok(self.pending.is_empty())
    }

    /// What the map knows, with the partitions of which it knows something.
    pub fn end(self) -> (OffsetMap, Vec<Covered>) {
        let mut covered: Vec<_> = self.covered.into_values().collect();
        if !self.is_full {
            // The last span need not reach up to there.
            covered.iter_mut().for_each(|one| one.end = one.dirt.to);
        }
        covered.retain(|one| one.end > one.dirt.from);
        (self.map, covered)
    }

    async fn read_all(
        &mut self,
        with: &CoverSeams<'_>,
        source: &Source,
    ) -> Result<(), PublishError> {
        for span in &source.entry.spans {
            let covered = self.covered.get_mut(&span.partition);
            let Some(covered) = covered.filter(|one| one.has_dirt(span)) else {
                continue;
            };
            let stripes = source.stripes_of(span.partition);
            if covered.last_span == Some(span.base_offset) {
                covered.last = last_record(source, &stripes);
            }
            let from = covered.dirt.from;
            let full_at = self
                .read(with, source, span.partition, stripes, from)
                .await?;
            if let Some(covered) = self.covered.get_mut(&span.partition) {
                covered.end = full_at.unwrap_or(span.next_offset);
            }
            if full_at.is_some() {
                self.is_full = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads keys at `from` and later. Gives the offset of the first for which there is no room.
    async fn read(
        &mut self,
        with: &CoverSeams<'_>,
        source: &Source,
        partition: PartitionIndex,
        stripes: Range<usize>,
        from: Offset,
    ) -> Result<Option<Offset>, PublishError> {
        let all = source.file.stripes();
        let is_clean = |number: &usize| all[*number].next_offset <= from;
        let first = stripes.clone().take_while(is_clean).count() + stripes.start;
        let reads = steps(source, first..stripes.end)
            .into_iter()
            .map(|stripes| {
                let (objects, source) = (with.objects.clone(), source.clone());
                async move { source.read_keys(&objects, stripes).await }
            });
        let mut reads = futures::stream::iter(reads).buffered(READS_PARALLEL);
        while let Some(step) = reads.try_next().await? {
            let mut map = std::mem::replace(&mut self.map, OffsetMap::new(0, 0));
            let put = with.threads.run(move || {
                let put = put(&mut map, partition, &step, from);
                (map, put)
            });
            let (map, put) = put.await?;
            self.map = map;
            let (keys, full_at) = put?;
            with.metrics.keys.inc_by(keys);
            if full_at.is_some() {
                return Ok(full_at);
            }
        }
        Ok(None)
    }
}

fn last_record(source: &Source, stripes: &Range<usize>) -> Option<Offset> {
    let last = source.file.stripes().get(stripes.end.checked_sub(1)?)?;
    Offset::new(last.next_offset.get() - 1)
}

/// Cuts stripes into as many as are read at a time.
fn steps(source: &Source, stripes: Range<usize>) -> Vec<Range<usize>> {
    let mut steps = Vec::new();
    let (mut open, mut bytes) = (stripes.start, 0);
    for number in stripes.clone() {
        let ranges = source.file.key_ranges(number).into_iter();
        bytes += ranges.map(|range| range.end - range.start).sum::<u64>();
        if bytes >= STEP_BYTES {
            steps.push(open..number + 1);
            (open, bytes) = (number + 1, 0);
        }
    }
    if open < stripes.end {
        steps.push(open..stripes.end);
    }
    steps
}

/// How many keys were read, and the offset of the first for which there is no room. Records without a key are none of the
/// map's: they do not survive a cleaning.
fn put(
    map: &mut OffsetMap,
    partition: PartitionIndex,
    step: &KeyStep,
    from: Offset,
) -> Result<(u64, Option<Offset>), PublishError> {
    let (mut keys, mut full_at) = (0, None);
    for stripe in step.stripes() {
        step.keys(stripe, |offset, key| {
            let Some(key) = key.filter(|_| offset >= from && full_at.is_none()) else {
                return;
            };
            keys += 1;
            if !map.put(partition, key, offset) {
                full_at = Some(offset);
            }
        })?;
        if full_at.is_some() {
            break;
        }
    }
    Ok((keys, full_at))
}
