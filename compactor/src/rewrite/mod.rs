//! Writing table files anew: several joined, or one without the records that nobody wants any more.
//!
//! What goes in are table files that are next to each other in the manifest; what comes out takes their place there, and
//! answers for the same offsets. Rows are read stripe by stripe and written in the same order, so that memory is bounded
//! by what is read at a time, whatever the size of the files.

pub mod join;
mod source;
mod steps;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use alluvium_common::topic::PartitionIndex;
use alluvium_segment::manifest::{ManifestContent, TableEntry};
use alluvium_segment::record_batch::Record;
use alluvium_table::{TableError, TableOptions};
use futures::{StreamExt, TryStreamExt};

use crate::pace::PacedObjects;
use crate::publish::PublishError;
use crate::tables::{TableBuilder, TableOutput, TableOutputSeams};
use source::ReadStep;
pub use source::{KeyStep, Source};
use steps::steps;

/// Steps read at the same time: the next while one is written.
const STEPS_PARALLEL: usize = 2;

/// Whether a record of a partition stays.
pub type Keep = Arc<dyn Fn(PartitionIndex, &Record) -> bool + Send + Sync>;

/// All stay.
pub fn keep_all() -> Keep {
    Arc::new(|_, _| true)
}

/// Writes the records of `tables`, which are next to each other in a manifest, as far as they are to stay. Gives the new
/// files.
///
/// # Errors
/// A file cannot be read or written, or is damaged.
pub async fn rewrite(
    seams: TableOutputSeams<'_>,
    options: &TableOptions,
    tables: &[Arc<TableEntry>],
    keep: &Keep,
) -> Result<Vec<TableEntry>, PublishError> {
    let objects = seams.objects.clone();
    let sources = open(&objects, tables).await?;
    let options = TableOptions {
        raw_headers: sources.iter().any(|source| source.file.has_raw_headers()),
        ..options.clone()
    };
    let mut output = TableOutput::new(seams, &options)?;
    let written = write_all(&objects, &sources, &mut output, keep).await;
    output.end(written).await
}

async fn write_all(
    objects: &PacedObjects,
    sources: &[Source],
    output: &mut TableOutput<'_>,
    keep: &Keep,
) -> Result<(), PublishError> {
    let reads = steps(sources).into_iter().map(|step| {
        let (objects, source) = (objects.clone(), sources[step.source].clone());
        async move { source.read(&objects, step).await }
    });
    let mut reads = futures::stream::iter(reads).buffered(STEPS_PARALLEL);
    while let Some(step) = reads.try_next().await? {
        let keep = Arc::clone(keep);
        output
            .write(move |builder| write(builder, &step, &keep))
            .await?;
    }
    Ok(())
}

async fn open(
    objects: &PacedObjects,
    tables: &[Arc<TableEntry>],
) -> Result<Vec<Source>, PublishError> {
    let opened = tables.iter().cloned().map(|table| {
        let objects = objects.clone();
        async move { Source::open(&objects, table).await }
    });
    let opened = futures::stream::iter(opened).buffered(STEPS_PARALLEL);
    Ok(opened.try_collect().await?)
}

fn write(builder: &mut TableBuilder, step: &ReadStep, keep: &Keep) -> Result<(), PublishError> {
    let damaged = |error: TableError| match error {
        TableError::Format(format) => step.damaged(format),
        error => PublishError::Table(error),
    };
    let partition = step.step.partition;
    builder
        .enter(partition, step.step.from)
        .map_err(PublishError::Table)?;
    for number in step.step.stripes.clone() {
        let records = step.records(number).map_err(damaged)?;
        let codec = step.codec(number);
        for (record, timestamp_type) in &records {
            if keep(partition, record) {
                let pushed = builder.push_record(record, *timestamp_type, codec);
                pushed.map_err(PublishError::Table)?;
            }
        }
    }
    builder.reach(step.step.reach);
    Ok(())
}

/// Puts `new` in the place of the tables at `replaced`.
pub fn replace_tables(content: &mut ManifestContent, replaced: Range<usize>, new: Vec<TableEntry>) {
    content.tables.splice(replaced, new);
}
