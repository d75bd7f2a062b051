//! One topic's work, from segments to the manifest that counts.

use std::sync::Arc;

use alluvium_common::background::BackgroundThreads;
use alluvium_common::topic::TopicId;
use alluvium_metadata::store::Revision;
use alluvium_segment::manifest::{Manifest, TableEntry};
use alluvium_table::TableOptions;
use futures::{StreamExt, TryStreamExt};

use super::bounds::Bounds;
use super::error::PublishError;
use super::fetch::fetch;
use super::manifests::next_manifest;
use super::plan::TopicWork;
use super::steps::{Step, steps};
use super::write::write;
use super::{PublishOptions, PublishSeams};
use crate::tables::{PART_BYTES, TableOutput, TableOutputSeams};
use crate::topic_manifest::{Next, TopicManifest};

/// Steps read at the same time: the next while one is written.
const STEPS_PARALLEL: usize = 2;

/// See the module's documentation.
pub struct TopicJob<'a> {
    pub with: &'a PublishSeams,
    pub options: &'a PublishOptions,
    pub bounds: &'a Bounds,
    pub threads: &'a BackgroundThreads,
    /// The manifest that is followed.
    pub manifest: TopicManifest<'a>,
    /// How files are written.
    pub table: TableOptions,
    /// The request that is done with this.
    pub request: Option<Revision>,
}

/// What table files of a topic are written with.
pub fn output_seams<'a>(
    with: &'a PublishSeams,
    options: &PublishOptions,
    threads: &'a BackgroundThreads,
    topic_id: TopicId,
) -> TableOutputSeams<'a> {
    TableOutputSeams {
        objects: with.paced(),
        threads,
        random: &with.random,
        metrics: &with.metrics,
        topic_id,
        broker_id: with.session.broker_id(),
        broker_epoch: with.session.broker_epoch(),
        table_bytes: options.table_bytes,
        part_bytes: PART_BYTES,
    }
}

impl TopicJob<'_> {
    /// Publishes `work`. Gives the manifest that counts then.
    pub async fn run(&self, work: &TopicWork) -> Result<Arc<Manifest>, PublishError> {
        let followed = self.manifest.begin().await?;
        let tables = self.write_tables(work).await?;
        let now_ms = self.with.clock.now_ms();
        let expire_ms = self.options.producers_expire_ms;
        let content = next_manifest(self.manifest.content(), work, tables, now_ms, expire_ms);
        let next = Next {
            request: self.request,
            ..content.into()
        };
        self.manifest.advance(followed, next).await
    }

    async fn write_tables(&self, work: &TopicWork) -> Result<Vec<TableEntry>, PublishError> {
        let metrics = &self.with.metrics;
        let steps = steps(&work.partitions, self.bounds.step_bytes);
        for fetched in steps.iter().flat_map(|step| &step.fetches) {
            metrics.gets.inc();
            let length = fetched.positions.end - fetched.positions.start;
            metrics.get_bytes.inc_by(length);
        }
        let seams = TableOutputSeams {
            part_bytes: self.bounds.part_bytes,
            ..output_seams(
                self.with,
                self.options,
                self.threads,
                self.manifest.topic_id,
            )
        };
        let mut output = TableOutput::new(seams, &self.table)?;
        let written = self.write_steps(steps, &mut output).await;
        output.end(written).await
    }

    async fn write_steps(
        &self,
        steps: Vec<Step>,
        output: &mut TableOutput<'_>,
    ) -> Result<(), PublishError> {
        let objects = self.with.paced();
        let fetches = steps
            .into_iter()
            .map(move |step| fetch(objects.clone(), step));
        let mut fetched = futures::stream::iter(fetches).buffered(STEPS_PARALLEL);
        while let Some(step) = fetched.try_next().await? {
            output.write(move |builder| write(builder, &step)).await?;
        }
        Ok(())
    }
}
