//! Topics that change to or from durability `local` while they are written to.
//!
//! The record of a partition names the write-ahead log that may hold acknowledged records of it, for whoever would
//! open it after a death. So the log is named before it takes the first batch, and forgotten only when everything
//! that was appended before the change is committed.

use std::sync::Arc;

use alluvium_common::topic::TopicPartition;
use alluvium_ingest::pipeline::Pipeline;
use alluvium_ingest::validate::TopicRules;
use alluvium_metadata::leadership::{LeadershipError, PartitionChange, PartitionWriter, Written};
use alluvium_metadata::model::PartitionRecord;
use alluvium_metadata::session::Session;
use alluvium_metadata::topic_config::Durability;
use alluvium_metadata::view::{ClusterView, Placed};
use tracing::warn;

use super::duties::Me;

/// What the rules of a topic ask for, given the record of a partition that is open here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalStep {
    /// The record is right.
    None,
    /// Name the log; until then the old rules hold.
    Name,
    /// Forget the log, once all is committed.
    Forget,
}

/// The step to take.
pub fn wal_step(placed: &Placed, rules: &TopicRules) -> WalStep {
    match (rules.durability, placed.record.wal) {
        (Durability::Local, None) => WalStep::Name,
        (Durability::Object, Some(_)) => WalStep::Forget,
        _ => WalStep::None,
    }
}

/// Writes which log a partition needs.
pub struct WalNames {
    pub me: Me,
    pub session: Arc<Session>,
    pub pipeline: Arc<Pipeline>,
    pub view: Arc<ClusterView>,
    pub writer: PartitionWriter,
}

impl WalNames {
    /// Names this broker's log in the records; what others changed meanwhile is looked at again.
    pub async fn name(&self, placed: Vec<(TopicPartition, Arc<Placed>)>) {
        let wal = Some(self.me.wal_holder());
        self.write(&placed, |record| PartitionRecord { wal, ..record })
            .await;
    }

    /// Takes the log's name out of the records.
    pub async fn forget(&self, placed: Vec<(TopicPartition, Arc<Placed>)>) {
        if self.pipeline.flush().await {
            self.write(&placed, |record| PartitionRecord {
                wal: None,
                ..record
            })
            .await;
        }
    }

    async fn write(
        &self,
        placed: &[(TopicPartition, Arc<Placed>)],
        edit: impl Fn(PartitionRecord) -> PartitionRecord,
    ) {
        let changes: Vec<_> = placed
            .iter()
            .map(|(tp, placed)| PartitionChange {
                tp: *tp,
                record: edit(placed.record.clone()),
                read_at: placed.mod_revision,
            })
            .collect();
        match self.writer.write(&[self.session.fence()], &changes).await {
            Ok(written) => {
                for written in written {
                    if let Written::Done(revision) = written {
                        self.view.reached(revision).await;
                    }
                }
            }
            Err(LeadershipError::Guard { .. }) => self.session.fenced(),
            Err(error) => warn!(%error, "durability of partitions cannot be changed yet"),
        }
    }
}
