//! The first pass over what is dirty: the latest offset of each key, for as much of it as the map has room for.
//!
//! Files are read in the manifest's order, which is that of offsets, each once for all partitions. When the map is full,
//! each partition is covered up to where the reading came.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use alluvium_common::background::BackgroundThreads;
use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::manifest::{Manifest, TableEntry};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;

use super::map::OffsetMap;
use super::metrics::CleanMetrics;
use super::plan::Dirt;
use crate::publish::PublishError;
use crate::rewrite::{KeyStep, Source};

/// Reads at the same time: the next while one is put into the map.
const READS_PARALLEL: usize = 2;

/// Bytes of key columns that are read at a time.
const STEP_BYTES: u64 = 8 << 20;

/// What to read with.
pub struct CoverSeams<'a> {
    /// The bucket.
    pub objects: &'a Arc<dyn ObjectStore>,
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
}

/// Fills the map. Gives it with the partitions of which it knows something.
pub async fn cover(
    with: CoverSeams<'_>,
    manifest: &Manifest,
    dirt: Vec<Dirt>,
    map: OffsetMap,
) -> Result<(OffsetMap, Vec<Covered>), PublishError> {
    let covered = dirt.into_iter().map(|dirt| {
        let covered = Covered {
            end: dirt.from,
            dirt,
            last: None,
        };
        (covered.dirt.partition, covered)
    });
    let mut pass = Pass {
        with,
        map,
        covered: covered.collect(),
    };
    let is_full = pass.run(manifest).await?;
    let mut covered: Vec<_> = pass.covered.into_values().collect();
    if !is_full {
        // The last span need not reach up to there.
        covered.iter_mut().for_each(|one| one.end = one.dirt.to);
    }
    covered.retain(|one| one.end > one.dirt.from);
    Ok((pass.map, covered))
}

struct Pass<'a> {
    with: CoverSeams<'a>,
    map: OffsetMap,
    covered: BTreeMap<PartitionIndex, Covered>,
}

impl Pass<'_> {
    /// Whether the map is full before the end.
    async fn run(&mut self, manifest: &Manifest) -> Result<bool, PublishError> {
        let tables = manifest.tables().iter();
        let dirty = tables.filter(|table| self.has_dirt(table)).cloned();
        let opened = dirty.collect::<Vec<_>>().into_iter().map(|table| {
            let objects = Arc::clone(self.with.objects);
            async move { Source::open(&*objects, table).await }
        });
        let mut opened = futures::stream::iter(opened).buffered(READS_PARALLEL);
        while let Some(source) = opened.try_next().await? {
            for span in &source.entry.spans.clone() {
                let Some(covered) = self.covered.get_mut(&span.partition) else {
                    continue;
                };
                let dirt = &covered.dirt;
                if span.next_offset <= dirt.from || span.base_offset >= dirt.to {
                    continue;
                }
                let stripes = source.stripes_of(span.partition);
                let mut behind = manifest.spans_from(span.partition, span.next_offset);
                if behind.next().is_none() {
                    covered.last = last_record(&source, &stripes);
                }
                let from = dirt.from;
                let full_at = self.read(&source, span.partition, stripes, from).await?;
                if let Some(covered) = self.covered.get_mut(&span.partition) {
                    covered.end = full_at.unwrap_or(span.next_offset);
                }
                if full_at.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn has_dirt(&self, table: &TableEntry) -> bool {
        let mut spans = table.spans.iter();
        spans.any(|span| {
            let covered = self.covered.get(&span.partition);
            covered.is_some_and(|one| {
                span.next_offset > one.dirt.from && span.base_offset < one.dirt.to
            })
        })
    }

    /// Reads keys at `from` and later. Gives the offset of the first for which there is no room.
    async fn read(
        &mut self,
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
                let (objects, source) = (Arc::clone(self.with.objects), source.clone());
                async move { source.read_keys(&*objects, stripes).await }
            });
        let mut reads = futures::stream::iter(reads).buffered(READS_PARALLEL);
        while let Some(step) = reads.try_next().await? {
            let mut map = std::mem::replace(&mut self.map, OffsetMap::new(0, 0));
            let put = self.with.threads.run(move || {
                let put = put(&mut map, partition, &step, from);
                (map, put)
            });
            let (map, put) = put.await?;
            self.map = map;
            let (keys, full_at) = put?;
            self.with.metrics.keys.inc_by(keys);
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
