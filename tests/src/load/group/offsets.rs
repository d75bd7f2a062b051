//! Committed offsets: written, read back, and written once too often.

use alluvium_protocol::messages::OffsetCommitRequest;
use alluvium_protocol::messages::OffsetFetchRequest;
use alluvium_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use alluvium_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use alluvium_protocol::{ErrorCode, StrBytes};

use super::{Again, Member};
use crate::history::{CommitOutcome, OffsetCommit, OffsetRead};

const COMMIT_VERSION: i16 = 8;
const FETCH_VERSION: i16 = 8;

impl Member {
    /// Commits, and records what is known of it.
    pub(super) async fn commit(
        &mut self,
        generation: i32,
        index: i32,
        offset: i64,
    ) -> Result<(), Again> {
        let request = OffsetCommitRequest {
            group_id: StrBytes::copy_of(&self.group),
            generation_id_or_member_epoch: generation,
            member_id: self.id.clone(),
            topics: vec![OffsetCommitRequestTopic {
                name: StrBytes::copy_of(&self.topic.name),
                partitions: vec![OffsetCommitRequestPartition {
                    partition_index: index,
                    committed_offset: offset,
                    ..OffsetCommitRequestPartition::default()
                }],
                ..OffsetCommitRequestTopic::default()
            }],
            ..OffsetCommitRequest::default()
        };
        let began = self.shared.recorder.tick();
        let answer = self.ask(&request, COMMIT_VERSION).await;
        let code = answer.ok().and_then(|answer| {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.last().map(|found| found.error_code)
        });
        let outcome = match code.map(ErrorCode::from) {
            Some(ErrorCode::None) => CommitOutcome::Acknowledged,
            Some(
                ErrorCode::IllegalGeneration
                | ErrorCode::UnknownMemberId
                | ErrorCode::RebalanceInProgress,
            ) => CommitOutcome::Refused,
            _ => CommitOutcome::Unknown,
        };
        let partition = self.topic.partition(index);
        self.shared.recorder.committed(OffsetCommit {
            group: self.group.clone(),
            generation,
            member: self.id.to_string(),
            partition,
            offset,
            began,
            ended: (outcome != CommitOutcome::Unknown).then(|| self.shared.recorder.tick()),
            outcome,
        });
        if outcome == CommitOutcome::Acknowledged {
            self.shared.progressed("commit offset", Some(partition));
        }
        self.check(code.ok_or(Again)?)
    }

    /// The committed offset of a partition.
    pub(super) async fn committed(&mut self, index: i32) -> Result<Option<i64>, Again> {
        let request = OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup {
                group_id: StrBytes::copy_of(&self.group),
                topics: Some(vec![OffsetFetchRequestTopics {
                    name: StrBytes::copy_of(&self.topic.name),
                    partition_indexes: vec![index],
                    ..OffsetFetchRequestTopics::default()
                }]),
                ..OffsetFetchRequestGroup::default()
            }],
            require_stable: true,
            ..OffsetFetchRequest::default()
        };
        let began = self.shared.recorder.tick();
        let answer = self.ask(&request, FETCH_VERSION).await?;
        let ended = self.shared.recorder.tick();
        let group = answer.groups.first().ok_or(Again)?;
        self.check(group.error_code)?;
        let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
        let found = partitions.last().ok_or(Again)?;
        self.check(found.error_code)?;
        let offset = (found.committed_offset >= 0).then_some(found.committed_offset);
        self.shared.recorder.offset_read(OffsetRead {
            group: self.group.clone(),
            partition: self.topic.partition(index),
            began,
            ended,
            offset,
        });
        Ok(offset)
    }

    /// Commits an offset of its own under the generation before, as a member would that has been frozen meanwhile. It must
    /// be refused, whatever it says.
    pub(super) async fn commit_as_before(&mut self, before: i32) {
        let Some((&index, &offset)) = self.owned.iter().next() else {
            return;
        };
        let (coordinator, id) = (self.coordinator.clone(), self.id.clone());
        // It makes the member join again no more than a stale member's would.
        let _refused = self.commit(before, index, offset / 2).await;
        (self.coordinator, self.id) = (coordinator, id);
    }
}
