//! Table files on their way into the bucket.

use alluvium_common::background::BackgroundThreads;
use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::rand::SharedRandom;
use alluvium_common::topic::TopicId;
use alluvium_segment::manifest::TableEntry;
use alluvium_segment::object_key::{ObjectKey, SegmentName, TableName};
use alluvium_table::TableOptions;

use super::TableBuilder;
use super::entry::table_entry;
use super::upload::TableUpload;
use crate::pace::PacedObjects;
use crate::publish::{PublishError, PublishMetrics};

/// What table files are written with.
pub struct TableOutputSeams<'a> {
    /// The bucket.
    pub objects: PacedObjects,
    /// Where rows are made.
    pub threads: &'a BackgroundThreads,
    /// For names.
    pub random: &'a SharedRandom,
    /// What is counted.
    pub metrics: &'a PublishMetrics,
    /// Of which topic.
    pub topic_id: TopicId,
    /// Who writes.
    pub broker_id: BrokerId,
    /// In which session.
    pub broker_epoch: BrokerEpoch,
    /// Size at which a file ends.
    pub table_bytes: u64,
    /// A smaller file is one PUT, a larger one is put in parts of this size.
    pub part_bytes: usize,
}

/// Files are put while they are written, and are garbage until a manifest names them.
pub struct TableOutput<'a> {
    with: TableOutputSeams<'a>,
    /// `None` once a step failed.
    builder: Option<TableBuilder>,
    upload: TableUpload,
    done: Vec<TableEntry>,
}

impl<'a> TableOutput<'a> {
    /// Begins the first file.
    pub fn new(with: TableOutputSeams<'a>, options: &TableOptions) -> Result<Self, PublishError> {
        let builder = TableBuilder::new(options).map_err(PublishError::Table)?;
        Ok(Self {
            upload: begin(&with),
            builder: Some(builder),
            done: Vec::new(),
            with,
        })
    }

    /// Adds rows, and puts what is finished of them. After an error nothing more can be added.
    pub async fn write(
        &mut self,
        rows: impl FnOnce(&mut TableBuilder) -> Result<(), PublishError> + Send + 'static,
    ) -> Result<(), PublishError> {
        let Some(mut builder) = self.builder.take() else {
            return Err(PublishError::Table(alluvium_table::TableError::Order(
                "a step before failed",
            )));
        };
        let (mut builder, written) = self
            .with
            .threads
            .run(move || {
                let written = rows(&mut builder);
                (builder, written)
            })
            .await?;
        written?;
        self.with
            .metrics
            .record_bytes
            .inc_by(builder.take_record_bytes());
        self.upload.put(builder.take_bytes()).await?;
        if builder.size_bytes() >= self.with.table_bytes {
            self.complete(&mut builder).await?;
        }
        self.builder = Some(builder);
        Ok(())
    }

    /// Completes the last file and gives all, if all was `written`. Else what is on its way is given up.
    pub async fn end(
        mut self,
        written: Result<(), PublishError>,
    ) -> Result<Vec<TableEntry>, PublishError> {
        let completed = match (written, self.builder.take()) {
            (Ok(()), Some(mut builder)) => self.complete(&mut builder).await,
            (written, _) => written,
        };
        if let Err(error) = completed {
            self.upload.abort().await;
            return Err(error);
        }
        Ok(self.done)
    }

    /// Ends the file, unless there is no record in it, and begins the next.
    async fn complete(&mut self, builder: &mut TableBuilder) -> Result<(), PublishError> {
        let finished = builder.roll().map_err(PublishError::Table)?;
        let entry = table_entry(self.upload.key().clone(), &finished);
        if entry.spans.is_empty() {
            return Ok(());
        }
        self.upload.put(finished.chunks).await?;
        self.upload.complete().await?;
        self.upload = begin(&self.with);
        self.with.metrics.tables.inc();
        self.with.metrics.table_bytes.inc_by(entry.size_bytes);
        self.done.push(entry);
        Ok(())
    }
}

fn begin(with: &TableOutputSeams<'_>) -> TableUpload {
    let name = TableName {
        topic_id: with.topic_id,
        written: SegmentName {
            broker_id: with.broker_id,
            broker_epoch: with.broker_epoch,
            id: with.random.uuid(),
        },
    };
    TableUpload::new(&with.objects, ObjectKey::table(&name), with.part_bytes)
}
