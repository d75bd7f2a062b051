//! Opens partitions that were placed here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use alluvium_cache::tail::TailBudget;
use alluvium_common::epoch::BrokerId;
use alluvium_common::error::ErrorKind;
use alluvium_common::topic::TopicPartition;
use alluvium_ingest::pipeline::Pipeline;
use alluvium_ingest::recovery::{
    HandedIndex, Led, MetadataCommits, RecoveryError, TakeOver, take_over_handed,
};
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

use super::FormerLeaders;
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
    pub former: Option<Arc<dyn FormerLeaders>>,
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
            // Nothing is published yet.
            manifest: None,
        })
    });
    led.collect()
}

impl Opener {
    /// Opens what nobody else has changed meanwhile. Whether that was all. `former`: who was seen handing them over.
    pub async fn open(&self, led: Vec<Led>, former: HashMap<TopicPartition, BrokerId>) -> bool {
        let (count, began) = (led.len(), Instant::now());
        let handed = self.ask_former(&led, &former).await;
        let opened = self.open_group(led, handed).await;
        if opened > 0 {
            info!(partitions = opened, took = ?began.elapsed(), "opened partitions");
        }
        opened == count
    }

    /// Footers are read once for the whole group. Where one of them is damaged, the group is halved, so that in
    /// the end only those partitions stay closed that need it. What was handed over is believed the first time only.
    fn open_group(&self, led: Vec<Led>, handed: Vec<HandedIndex>) -> BoxFuture<'_, usize> {
        async move {
            match self.try_open(led.clone(), handed).await {
                Ok(opened) => opened,
                Err(error) if error.kind() == ErrorKind::BadData && led.len() > 1 => {
                    let mut first = led;
                    let second = first.split_off(first.len() / 2);
                    let first = self.open_group(first, Vec::new()).await;
                    first + self.open_group(second, Vec::new()).await
                }
                Err(error) => {
                    report(&led, &error);
                    0
                }
            }
        }
        .boxed()
    }

    async fn try_open(
        &self,
        led: Vec<Led>,
        handed: Vec<HandedIndex>,
    ) -> Result<usize, RecoveryError> {
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
        let (recovered, _) = take_over_handed(&take, led, Vec::new(), handed).await?;
        let opened = recovered.len();
        for partition in recovered {
            let (topic, rules) = (partition.topic, partition.rules);
            self.pipeline.open_partition(topic, rules, partition.state);
        }
        Ok(opened)
    }
}

impl Opener {
    /// What the last leaders of `led` left, where commit logs are named and all closed: only then somebody handed them
    /// over.
    async fn ask_former(
        &self,
        led: &[Led],
        former_leaders: &HashMap<TopicPartition, BrokerId>,
    ) -> Vec<HandedIndex> {
        let Some(former) = &self.former else {
            return Vec::new();
        };
        let mut by_leader: BTreeMap<BrokerId, Vec<TopicPartition>> = BTreeMap::new();
        for led in led {
            let Some(last) = led.record.tail.last() else {
                continue;
            };
            let seen = former_leaders.get(&led.tp);
            let leader = seen.copied().unwrap_or(last.broker_id);
            if last.last_seq.is_some() && leader != self.me.broker_id {
                by_leader.entry(leader).or_default().push(led.tp);
            }
        }
        let asked = by_leader.into_iter().map(|(one, tps)| former.ask(one, tps));
        futures::future::join_all(asked).await.concat()
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
