//! OffsetCommit, OffsetDelete and the retention of offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alluvium_common::clock::TimestampMs;
use alluvium_common::seeded_bug;
use alluvium_common::topic::{TopicId, TopicPartition};

use super::classic::ClassicGroup;
use super::effects::{Reply, Turn, WriteOp};
use super::error::GroupError;
use super::ids::WaiterId;
use super::pending::PendingWrite;
use super::record::OffsetRecord;
use super::request::{CommitRequest, OffsetDeleteRequest, OffsetToCommit};
use super::state::GroupState;

impl ClassicGroup {
    /// Answers `waiter` at once if nothing is to be stored, else when it is.
    pub fn commit(&mut self, request: CommitRequest, waiter: WaiterId, turn: &mut Turn<'_>) {
        if let Err(error) = self.check_commit(&request) {
            return turn.reply(waiter, Reply::Commit(Err(error)));
        }
        // Consumers may commit instead of sending heartbeats, also while a rebalance calls them back.
        if matches!(
            self.state,
            GroupState::Stable | GroupState::PreparingRebalance
        ) {
            self.restart_session(&request.member_id, turn);
        }
        let expire_ms = request
            .retention
            .map(|keep| turn.now.wall_ms.saturating_add(millis(keep)));
        let mut results = Vec::with_capacity(request.offsets.len());
        let mut offsets = BTreeMap::new();
        for asked in request.offsets {
            if is_longer(&asked.metadata, turn.config.offset_metadata_max) {
                results.push(Err(GroupError::OffsetMetadataTooLarge));
                continue;
            }
            results.push(Ok(()));
            offsets.insert(asked.partition, record(asked, turn.now.wall_ms, expire_ms));
        }
        if offsets.is_empty() {
            return turn.reply(waiter, Reply::Commit(Ok(results)));
        }
        let put = |(partition, offset): (&TopicPartition, &OffsetRecord)| {
            WriteOp::PutOffset(*partition, offset.clone())
        };
        let token = turn.write(&self.id, offsets.iter().map(put).collect());
        let is_answered = seeded_bug::is("offsets-answered-early");
        if is_answered {
            turn.reply(waiter, Reply::Commit(Ok(results.clone())));
        }
        let pending = PendingWrite::Commit {
            waiter: (!is_answered).then_some(waiter),
            offsets: offsets.into_iter().collect(),
            results,
        };
        self.pending_writes.insert(token, pending);
    }

    fn check_commit(&self, request: &CommitRequest) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let names_nobody = request.member_id.is_empty() && request.instance_id.is_none();
        match request.generation {
            None if self.state == GroupState::Empty => return Ok(()),
            None if names_nobody => return Err(GroupError::UnknownMemberId),
            _ => {}
        }
        self.check_member(&request.member_id, request.instance_id.as_ref())?;
        let is_current = request.generation == Some(self.generation);
        if !is_current && !seeded_bug::is("stale-generation-accepted") {
            return Err(GroupError::IllegalGeneration);
        }
        if self.state == GroupState::CompletingRebalance {
            // The member knows the new generation but not yet what it owns in it.
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Answers `waiter` at once if nothing is to be deleted, else when it is.
    pub fn delete_offsets(
        &mut self,
        request: &OffsetDeleteRequest,
        waiter: WaiterId,
        turn: &mut Turn<'_>,
    ) {
        let refused = match self.state {
            GroupState::Dead => Some(GroupError::GroupIdNotFound),
            GroupState::Empty => None,
            // Of a consumer group it is known which topics are in use.
            _ if self.uses_consumer_protocol() => None,
            _ => Some(GroupError::NonEmptyGroup),
        };
        if let Some(error) = refused {
            return turn.reply(waiter, Reply::OffsetDelete(Err(error)));
        }
        let known = self.known_partitions();
        let mut results = Vec::with_capacity(request.partitions.len());
        let mut partitions = BTreeSet::new();
        for (topic, partition) in &request.partitions {
            if self.is_subscribed_to(topic.as_str()) {
                results.push(Err(GroupError::GroupSubscribedToTopic));
                continue;
            }
            results.push(Ok(()));
            if known.contains(partition) {
                partitions.insert(*partition);
            }
        }
        self.write_offset_deletes(partitions, Some(waiter), results, turn);
    }

    fn write_offset_deletes(
        &mut self,
        partitions: BTreeSet<TopicPartition>,
        waiter: Option<WaiterId>,
        results: Vec<Result<(), GroupError>>,
        turn: &mut Turn<'_>,
    ) {
        if partitions.is_empty() {
            if let Some(waiter) = waiter {
                turn.reply(waiter, Reply::OffsetDelete(Ok(results)));
            }
            return;
        }
        let partitions: Vec<_> = partitions.into_iter().collect();
        let ops = partitions.iter().copied().map(WriteOp::DeleteOffset);
        let token = turn.write(&self.id, ops.collect());
        let pending = PendingWrite::OffsetDelete {
            waiter,
            partitions,
            results,
        };
        self.pending_writes.insert(token, pending);
    }

    /// Partitions with an offset that is stored or about to be: a delete comes after the commits that
    /// were asked for before it.
    fn known_partitions(&self) -> BTreeSet<TopicPartition> {
        let stored = self.offsets.iter().map(|(partition, _)| *partition);
        stored.chain(self.partitions_in_flight()).collect()
    }

    fn partitions_in_flight(&self) -> impl Iterator<Item = TopicPartition> {
        self.pending_writes
            .values()
            .filter_map(|write| match write {
                PendingWrite::Commit { offsets, .. } => Some(offsets),
                _ => None,
            })
            .flatten()
            .map(|(partition, _)| *partition)
    }

    /// One group of DeleteGroups: the group is `Dead` until nothing is left of it.
    pub fn delete(&mut self, waiter: WaiterId, turn: &mut Turn<'_>) {
        let error = match self.state {
            GroupState::Empty => return self.write_group_delete(Some(waiter), turn),
            GroupState::Dead => GroupError::GroupIdNotFound,
            _ => GroupError::NonEmptyGroup,
        };
        turn.reply(waiter, Reply::DeleteGroup(Err(error)));
    }

    fn write_group_delete(&mut self, waiter: Option<WaiterId>, turn: &mut Turn<'_>) {
        let offsets = self.known_partitions().into_iter();
        let mut ops: Vec<WriteOp> = offsets.map(WriteOp::DeleteOffset).collect();
        ops.push(WriteOp::DeleteGroup);
        self.transition(GroupState::Dead, turn);
        self.timers.clear();
        self.pending_join.clear();
        let token = turn.write(&self.id, ops);
        self.pending_writes
            .insert(token, PendingWrite::DeleteGroup { waiter });
    }

    /// Offsets of deleted topics go, whatever the group's state.
    pub fn on_topics_deleted(&mut self, topics: &[TopicId], turn: &mut Turn<'_>) {
        if self.state == GroupState::Dead {
            return;
        }
        let stored = topics
            .iter()
            .flat_map(|topic| self.offsets.of_topic(*topic))
            .copied();
        let in_flight = self
            .partitions_in_flight()
            .filter(|partition| topics.contains(&partition.topic_id));
        let partitions: BTreeSet<_> = stored.chain(in_flight).collect();
        self.write_offset_deletes(partitions, None, Vec::new(), turn);
    }

    /// Drops offsets past their retention, and the group if nothing is left of it.
    pub fn expire(&mut self, turn: &mut Turn<'_>) {
        if self.state == GroupState::Dead {
            return;
        }
        let in_flight: BTreeSet<_> = self.partitions_in_flight().collect();
        let is_expired = |partition: &TopicPartition, offset: &OffsetRecord| {
            !in_flight.contains(partition)
                && !self.is_subscribed_to(offset.topic.as_str())
                && self.expires_at(offset, turn.config.offsets_retention) <= turn.now.wall_ms
        };
        let expired: BTreeSet<TopicPartition> = self
            .offsets
            .iter()
            .filter(|(partition, offset)| is_expired(partition, offset))
            .map(|(partition, _)| *partition)
            .collect();
        let nothing_left = expired.len() == self.offsets.iter().count();
        let idle = self.pending_writes.is_empty() && self.pending_join.is_empty();
        if nothing_left && idle && self.state == GroupState::Empty {
            self.write_group_delete(None, turn);
        } else {
            self.write_offset_deletes(expired, None, Vec::new(), turn);
        }
    }

    /// Retention counts from when the group became empty; where consumers assign partitions
    /// themselves, or a member stopped subscribing, from the commit. Groups of other kinds that have
    /// members keep everything.
    fn expires_at(&self, offset: &OffsetRecord, retention: Duration) -> TimestampMs {
        if self.protocol_type.is_none() || self.is_stable_consumer_group() {
            return expiry(offset, offset.commit_ms, retention);
        }
        match self.state {
            GroupState::Empty => expiry(offset, self.state_since_ms, retention),
            _ => TimestampMs::MAX,
        }
    }

    fn is_stable_consumer_group(&self) -> bool {
        self.state == GroupState::Stable
            && self.uses_consumer_protocol()
            && self.subscribed_topics.is_some()
    }
}

fn expiry(offset: &OffsetRecord, since_ms: TimestampMs, retention: Duration) -> TimestampMs {
    offset
        .expire_ms
        .unwrap_or_else(|| since_ms.saturating_add(millis(retention)))
}

fn record(
    asked: OffsetToCommit,
    commit_ms: TimestampMs,
    expire_ms: Option<TimestampMs>,
) -> OffsetRecord {
    OffsetRecord {
        topic: asked.topic,
        offset: asked.offset,
        leader_epoch: asked.leader_epoch,
        metadata: asked.metadata,
        commit_ms,
        expire_ms,
    }
}

/// Kafka counts UTF-16 units, of which a string has at most as many as it has bytes.
fn is_longer(text: &str, max: usize) -> bool {
    text.len() > max && text.encode_utf16().count() > max
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
