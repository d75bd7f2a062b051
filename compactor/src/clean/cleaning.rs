//! One cleaning of a topic, from the first pass to the manifest that says what is clean.
//!
//! Both passes are done in steps, so that publishing need not wait for all of it.
//!
//! The second pass writes table files anew, a run of neighbours at a time, and lets each run count before the next: every
//! manifest in between names only records that were there, and for each key the latest. The last one says what is clean.
//! A cleaning that ends before that has done no harm, and is begun again.

use std::sync::Arc;

use alluvium_common::background::BackgroundThreads;
use alluvium_common::topic::TopicId;
use alluvium_segment::manifest::Manifest;
use alluvium_table::TableOptions;

use super::cover::{CoverSeams, Pass};
use super::map::OffsetMap;
use super::plan::Dirt;
use super::time::CleanTime;
use super::writing::Writing;
use crate::publish::PublishError;
use crate::tables::TableOutputSeams;
use crate::topic_manifest::TopicManifest;

/// What a step works with.
pub struct CleanJob<'a> {
    /// The topic, and its manifest that counts.
    pub manifest: TopicManifest<'a>,
    /// How table files are written.
    pub options: &'a TableOptions,
    /// With what.
    pub output: TableOutputSeams<'a>,
    /// Where keys are decoded.
    pub threads: &'a BackgroundThreads,
    /// Bytes of table files that are read for their keys at a time.
    pub cover_bytes: u64,
    /// Bytes of table files that are written anew at a time.
    pub run_bytes: u64,
    /// What time it is.
    pub time: CleanTime,
}

impl CleanJob<'_> {
    /// The manifest that counts: without one there is nothing to clean. Nor with leaves, which it can only have when the
    /// topic was not compacted for a while: what they list would not be written anew, and not be clean (I21).
    pub fn before(&self) -> Result<&Arc<Manifest>, PublishError> {
        let before = self.manifest.before.as_ref();
        let before = before.filter(|before| before.leaves().is_empty());
        before.ok_or(PublishError::Superseded)
    }
}

/// See the module's documentation.
pub struct Cleaning {
    /// Of which topic.
    pub topic_id: TopicId,
    delete_retention_ms: i64,
    stage: Stage,
}

enum Stage {
    /// The first pass.
    Cover(Pass),
    /// The second.
    Write(Writing),
}

/// What a step came to.
pub struct Stepped {
    /// The manifest that counts now.
    pub manifest: Arc<Manifest>,
    /// What is left to do.
    pub rest: Option<Cleaning>,
}

impl Cleaning {
    /// Nothing is read yet.
    pub fn begin(
        job: &CleanJob<'_>,
        dirt: Vec<Dirt>,
        map: OffsetMap,
        delete_retention_ms: i64,
    ) -> Result<Self, PublishError> {
        let before = job.before()?;
        Ok(Self {
            topic_id: job.manifest.topic_id,
            stage: Stage::Cover(Pass::begin(before, dirt, map)),
            delete_retention_ms,
        })
    }

    /// Reads the next keys, or writes the next files anew, or says that all is clean when these were the last.
    pub async fn step(self, job: CleanJob<'_>) -> Result<Stepped, PublishError> {
        let followed = job.manifest.begin().await?;
        let writing = match self.stage {
            Stage::Write(writing) => writing,
            Stage::Cover(mut pass) => {
                let with = CoverSeams {
                    objects: &job.output.objects,
                    threads: job.threads,
                    metrics: &job.manifest.with.metrics.clean,
                };
                if !pass.step(&with, job.cover_bytes).await? {
                    return Ok(Stepped {
                        manifest: Arc::clone(job.before()?),
                        rest: Some(Self {
                            stage: Stage::Cover(pass),
                            ..self
                        }),
                    });
                }
                Writing::begin(job.before()?, pass, self.delete_retention_ms)
            }
        };
        let (manifest, rest) = writing.step(job, followed).await?;
        Ok(Stepped {
            manifest,
            rest: rest.map(|writing| Self {
                stage: Stage::Write(writing),
                ..self
            }),
        })
    }
}
