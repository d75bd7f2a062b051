//! One topic's work, from segments to the manifest that counts.

use std::sync::Arc;

use alluvium_common::background::BackgroundThreads;
use alluvium_common::topic::TopicId;
use alluvium_metadata::compaction::{Advance, Advanced, PublicationWriter};
use alluvium_metadata::model::PublishedRecord;
use alluvium_metadata::store::{Compare, Revision};
use alluvium_segment::manifest::{Manifest, ManifestContent, TableEntry};
use alluvium_segment::object_key::{ManifestName, ObjectKey, SegmentName, TableName};
use alluvium_table::TableOptions;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;

use super::bounds::Bounds;
use super::build::TableBuilder;
use super::error::PublishError;
use super::fetch::fetch;
use super::manifests::{next_manifest, table_entry};
use super::plan::TopicWork;
use super::steps::{Step, steps};
use super::upload::TableUpload;
use super::{PublishOptions, PublishSeams};
use crate::fold::{ReadError, checked};
use crate::put::put;

/// Steps read at the same time: the next while one is written.
const STEPS_PARALLEL: usize = 2;

/// See the module's documentation.
pub struct TopicJob<'a> {
    pub with: &'a PublishSeams,
    pub options: &'a PublishOptions,
    pub bounds: &'a Bounds,
    pub writer: &'a PublicationWriter,
    pub threads: &'a BackgroundThreads,
    pub topic_id: TopicId,
    /// The manifest that counts, as far as is known.
    pub before: Option<Arc<Manifest>>,
    /// Whether files have the column of raw headers.
    pub raw_headers: bool,
    /// What must hold for the next manifest to count.
    pub guard: Vec<Compare>,
    /// The request that is done with this.
    pub request: Option<Revision>,
}

/// Reads the manifest that a record names.
pub async fn read_manifest(
    objects: &dyn ObjectStore,
    topic_id: TopicId,
    record: &PublishedRecord,
) -> Result<Manifest, ReadError> {
    let named = record.manifest(topic_id);
    let whole = 0..record.size_bytes;
    checked(objects, &record.object_key, whole, |object| {
        named.open(&object)
    })
    .await
}

impl TopicJob<'_> {
    /// Publishes `work`. Gives the manifest that counts then.
    pub async fn run(&self, work: &TopicWork) -> Result<Arc<Manifest>, PublishError> {
        // F6: what is published is read anew, before hours of work are done in vain.
        let stands = self.writer.read(self.topic_id).await?;
        let version = stands.as_ref().map_or(0, |stands| stands.record.version);
        if version != self.before.as_ref().map_or(0, |before| before.version()) {
            return Err(PublishError::Superseded);
        }
        let tables = self.write_tables(work).await?;
        let before = match &self.before {
            Some(before) => before.to_content(),
            None => ManifestContent::empty(self.topic_id),
        };
        let now_ms = self.with.clock.now_ms();
        let expire_ms = self.options.producers_expire_ms;
        let content = next_manifest(before, work, tables, now_ms, expire_ms);
        // Before it counts: nobody could go on from one that contradicts itself.
        let next = Manifest::new(content.clone())?;
        let record = self.put_manifest(&content).await?;
        let advance = Advance {
            topic_id: self.topic_id,
            read_at: stands.map(|stands| stands.mod_revision),
            record,
            request: self.request,
        };
        match self.writer.advance(&self.guard, &advance).await? {
            Advanced::Done(_) => {
                self.with.metrics.manifests.inc();
                Ok(Arc::new(next))
            }
            Advanced::Changed | Advanced::Refused => Err(PublishError::Superseded),
        }
    }

    async fn write_tables(&self, work: &TopicWork) -> Result<Vec<TableEntry>, PublishError> {
        let metrics = &self.with.metrics;
        let steps = steps(&work.partitions, self.bounds.step_bytes);
        for fetched in steps.iter().flat_map(|step| &step.fetches) {
            metrics.gets.inc();
            let length = fetched.positions.end - fetched.positions.start;
            metrics.get_bytes.inc_by(length);
        }
        let mut upload = self.begin();
        let written = self.write_steps(steps, &mut upload).await;
        if written.is_err() {
            upload.abort().await;
        }
        written
    }

    /// `upload` is that of the first file, and becomes that of the last.
    async fn write_steps(
        &self,
        steps: Vec<Step>,
        upload: &mut TableUpload,
    ) -> Result<Vec<TableEntry>, PublishError> {
        let metrics = &self.with.metrics;
        let objects = Arc::clone(&self.with.objects);
        let fetches = steps
            .into_iter()
            .map(move |step| fetch(Arc::clone(&objects), step));
        let mut fetched = futures::stream::iter(fetches).buffered(STEPS_PARALLEL);
        let options = TableOptions {
            raw_headers: self.raw_headers,
            ..self.options.table.clone()
        };
        let mut builder = TableBuilder::new(&options)?;
        let mut tables = Vec::new();
        while let Some(step) = fetched.try_next().await? {
            let written = self.threads.run(move || {
                let written = builder.write(&step);
                (builder, written)
            });
            let written = written.await?;
            builder = written.0;
            written.1?;
            metrics.record_bytes.inc_by(builder.take_records_bytes());
            upload.put(builder.take_bytes()).await?;
            if builder.size_bytes() >= self.options.table_bytes {
                tables.extend(self.complete(&mut builder, upload).await?);
                *upload = self.begin();
            }
        }
        drop(fetched);
        tables.extend(self.complete(&mut builder, upload).await?);
        Ok(tables)
    }

    fn begin(&self) -> TableUpload {
        let name = TableName {
            topic_id: self.topic_id,
            written: self.written(),
        };
        TableUpload::new(
            &self.with.objects,
            ObjectKey::table(&name),
            self.bounds.part_bytes,
        )
    }

    fn written(&self) -> SegmentName {
        SegmentName {
            broker_id: self.with.session.broker_id(),
            broker_epoch: self.with.session.broker_epoch(),
            id: self.with.random.uuid(),
        }
    }

    /// Ends the file, unless there is no record in it.
    async fn complete(
        &self,
        builder: &mut TableBuilder,
        upload: &mut TableUpload,
    ) -> Result<Option<TableEntry>, PublishError> {
        let finished = builder.roll()?;
        let entry = table_entry(upload.key().clone(), &finished);
        if entry.spans.is_empty() {
            upload.abort().await;
            return Ok(None);
        }
        upload.put(finished.chunks).await?;
        upload.complete().await?;
        self.with.metrics.tables.inc();
        self.with.metrics.table_bytes.inc_by(entry.size_bytes);
        Ok(Some(entry))
    }

    async fn put_manifest(
        &self,
        content: &ManifestContent,
    ) -> Result<PublishedRecord, PublishError> {
        let object = content.encode()?;
        let object_key = ObjectKey::manifest(&ManifestName {
            topic_id: self.topic_id,
            version: content.version,
            written: self.written(),
        });
        let record = PublishedRecord {
            version: content.version,
            object_key,
            size_bytes: object.size_bytes,
            index_length: object.index_length,
            index_crc: object.index_crc,
        };
        put(&*self.with.objects, &record.object_key, object).await?;
        Ok(record)
    }
}
