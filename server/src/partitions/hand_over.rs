//! Hands partitions over to other brokers: stop taking batches, commit what was taken, and only then let go.

use std::sync::Arc;
use std::time::Duration;

use alluvium_cache::tail::CloseReason;
use alluvium_common::epoch::BrokerId;
use alluvium_common::seeded_bug;
use alluvium_common::topic::TopicPartition;
use alluvium_ingest::pipeline::Pipeline;
use alluvium_ingest::recovery::HandedIndex;
use alluvium_metadata::leadership::{LeadershipError, PartitionChange, PartitionWriter, Written};
use alluvium_metadata::session::Session;
use alluvium_metadata::view::{ClusterView, Picture};
use tokio::time::Instant;
use tracing::{info, warn};

use super::duties::Me;
use super::shelf::Shelf;

/// Pause before records are written, or read, once more.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// With what partitions are handed over.
pub struct HandOver {
    pub me: Me,
    pub session: Arc<Session>,
    pub pipeline: Arc<Pipeline>,
    pub view: Arc<ClusterView>,
    pub writer: PartitionWriter,
    pub shelf: Arc<Shelf>,
}

impl HandOver {
    /// Hands over what the picture still wants to be.
    pub async fn run(&self, moves: Vec<(TopicPartition, BrokerId)>) {
        let began = Instant::now();
        let tps: Vec<_> = moves.iter().map(|(tp, _)| *tp).collect();
        let Ok(last_seq) = self.pipeline.drain(&tps).await else {
            // The session is lost: all partitions are closed with it.
            return;
        };
        let last_seq = match seeded_bug::is("tail-closed-too-early") {
            true => last_seq.map(|seq| seq.saturating_sub(1)),
            false => last_seq,
        };
        let changes = self.changes(&moves, last_seq);
        let Some(written) = self.write(&changes).await else {
            return;
        };
        let mut handed_over = 0;
        for (tp, written) in tps.iter().zip(written) {
            if let Some(Written::Done(revision)) = written {
                // Before it is closed: an older picture would have it opened here again.
                self.view.reached(revision).await;
                self.pipeline.close_partition(tp, CloseReason::NotLeader);
                handed_over += 1;
            } else {
                self.undo(*tp).await;
            }
        }
        info!(partitions = handed_over, took = ?began.elapsed(), "handed partitions over");
    }

    fn changes(
        &self,
        moves: &[(TopicPartition, BrokerId)],
        last_seq: Option<u64>,
    ) -> Vec<Option<PartitionChange>> {
        let picture = self.view.picture();
        let change = |(tp, target): &(TopicPartition, BrokerId)| {
            self.change(&picture, *tp, *target, last_seq)
        };
        moves.iter().map(change).collect()
    }

    /// `None` when the move was called off meanwhile.
    fn change(
        &self,
        picture: &Picture,
        tp: TopicPartition,
        target: BrokerId,
        last_seq: Option<u64>,
    ) -> Option<PartitionChange> {
        let placed = picture.partitions.get(tp)?;
        let wanted = self.me.leads(placed) && placed.record.moving_to == Some(target);
        let partition = self.pipeline.partition(&tp).filter(|_| wanted)?;
        let holds = partition.has_appended();
        let record = placed.record.handed_over(target, last_seq, holds);
        // Before the record is written: the target asks as soon as it sees it.
        if let Some(index) = HandedIndex::of(&partition, &record) {
            self.shelf.put(index);
        }
        Some(PartitionChange {
            tp,
            record,
            read_at: placed.mod_revision,
        })
    }

    /// Writes until it is known what became of each change: nothing may be taken for a partition that may be another's
    /// already (F4). `None` when the session is over before that.
    async fn write(&self, changes: &[Option<PartitionChange>]) -> Option<Vec<Option<Written>>> {
        let wanted: Vec<_> = changes.iter().flatten().cloned().collect();
        loop {
            match self.writer.write(&[self.session.fence()], &wanted).await {
                Ok(written) => {
                    let mut written = written.into_iter();
                    let in_place = changes.iter().map(|change| {
                        change.as_ref()?;
                        written.next()
                    });
                    return Some(in_place.collect());
                }
                Err(LeadershipError::Guard { .. }) => {
                    self.session.fenced();
                    return None;
                }
                Err(LeadershipError::Store(error)) => {
                    warn!(%error, "a hand-over cannot be written; trying again");
                }
            }
            self.pause().await?;
        }
    }

    /// Somebody else changed the record. If the partition is still this session's, it goes on here.
    async fn undo(&self, tp: TopicPartition) {
        self.shelf.take_back(tp);
        loop {
            match self.writer.read(tp).await {
                Ok(Some(placed)) if self.me.leads(&placed) => {
                    return self.pipeline.resume(&[tp]);
                }
                Ok(_) => return self.pipeline.close_partition(&tp, CloseReason::NotLeader),
                Err(error) => warn!(%error, "a partition's record cannot be read; trying again"),
            }
            if self.pause().await.is_none() {
                return;
            }
        }
    }

    async fn pause(&self) -> Option<()> {
        tokio::select! {
            () = self.session.lost() => None,
            () = tokio::time::sleep(RETRY_PAUSE) => Some(()),
        }
    }
}
