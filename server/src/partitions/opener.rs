//! Opens partitions that were placed here.

use std::sync::Arc;

use alluvium_cache::tail::TailBudget;
use alluvium_common::error::ErrorKind;
use alluvium_common::topic::TopicPartition;
use alluvium_ingest::pipeline::Pipeline;
use alluvium_ingest::recovery::{Led, MetadataCommits, RecoveryError, TakeOver, take_over};
use alluvium_ingest::validate::TopicRules;
use alluvium_metadata::leadership::PartitionWriter;
use alluvium_metadata::model::Opener as OpenedBy;
use alluvium_metadata::session::Session;
use alluvium_metadata::view::Picture;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use tokio::time::Instant;
use tracing::{info, warn};

use super::duties::Me;

/// With what partitions are opened.
pub struct Opener {
    pub me: Me,
    pub session: Arc<Session>,
    pub pipeline: Arc<Pipeline>,
    pub commits: MetadataCommits,
    pub objects: Arc<dyn ObjectStore>,
    pub writer: PartitionWriter,
    pub tail_budget: Arc<TailBudget>,
}

/// The partitions as the picture shows them, with the rules of their topics.
pub fn led(
    picture: &Picture,
    tps: &[TopicPartition],
    rules: impl Fn(TopicPartition) -> Option<TopicRules>,
) -> Vec<Led> {
    let led = tps.iter().filter_map(|tp| {
        let topic = picture.topics.with_id(tp.topic_id)?;
        let placed = picture.partitions.get(*tp)?;
        Some(Led {
            tp: *tp,
            topic: topic.name.clone(),
            rules: rules(*tp)?,
            record: placed.record.clone(),
            read_at: placed.mod_revision,
        })
    });
    led.collect()
}

impl Opener {
    /// Opens what nobody else has changed meanwhile. Whether that was all.
    pub async fn open(&self, led: Vec<Led>) -> bool {
        let (count, began) = (led.len(), Instant::now());
        let opened = self.open_group(led).await;
        if opened > 0 {
            info!(partitions = opened, took = ?began.elapsed(), "opened partitions");
        }
        opened == count
    }

    /// Footers are read once for the whole group. Where one of them is damaged, the group is halved, so that in
    /// the end only those partitions stay closed that need it.
    fn open_group(&self, led: Vec<Led>) -> BoxFuture<'_, usize> {
        async move {
            match self.try_open(led.clone()).await {
                Ok(opened) => opened,
                Err(error) if error.kind() == ErrorKind::BadData && led.len() > 1 => {
                    let mut first = led;
                    let second = first.split_off(first.len() / 2);
                    self.open_group(first).await + self.open_group(second).await
                }
                Err(error) => {
                    report(&led, &error);
                    0
                }
            }
        }
        .boxed()
    }

    async fn try_open(&self, led: Vec<Led>) -> Result<usize, RecoveryError> {
        let take = TakeOver {
            commits: &self.commits,
            objects: &self.objects,
            writer: &self.writer,
            fence: self.session.fence(),
            opener: OpenedBy {
                broker_id: self.me.broker_id,
                broker_epoch: self.me.broker_epoch,
                first_seq: self.pipeline.next_commit_sequence(),
                wal: Some(self.me.wal_holder()),
            },
            tail_budget: &self.tail_budget,
        };
        // What the write-ahead log holds of earlier sessions was put back at the start.
        let (recovered, _) = take_over(&take, led, Vec::new()).await?;
        let opened = recovered.len();
        for partition in recovered {
            let (topic, rules) = (partition.topic, partition.rules);
            self.pipeline.open_partition(topic, rules, partition.state);
        }
        Ok(opened)
    }
}

fn report(led: &[Led], error: &RecoveryError) {
    let (partitions, first) = (led.len(), led.first().map(|led| led.topic.to_string()));
    match error.kind() {
        ErrorKind::BadData => tracing::error!(
            partitions, first, %error,
            "partitions stay closed: what is stored of them is damaged; see alluvium verify"
        ),
        _ => warn!(partitions, first, %error, "partitions are not open yet; trying again"),
    }
}
