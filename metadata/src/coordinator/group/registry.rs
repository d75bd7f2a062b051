//! Groups by name: finds or makes the group an event is for, and keeps deadlines in order.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use alluvium_common::clock::TimestampMs;
use alluvium_common::topic::{TopicId, TopicPartition};

use super::classic::ClassicGroup;
use super::config::GroupConfig;
use super::effects::{Effects, Now, Reply, Turn, WriteOutcome};
use super::error::GroupError;
use super::ids::{GroupId, MemberId, WaiterId, WriteToken};
use super::record::{GroupRecord, OffsetRecord};
use super::request::{
    CommitRequest, HeartbeatRequest, JoinFailure, JoinRequest, LeaveRequest, OffsetDeleteRequest,
    SyncRequest,
};
use super::view::{FetchedOffsets, GroupDescription, GroupListing};

/// Many groups and the time. Does no I/O: every event returns [`Effects`] for somebody else to carry
/// out, and [`GroupRegistry::on_time`] is to be called when [`GroupRegistry::next_deadline`] comes.
#[derive(Debug)]
pub struct GroupRegistry {
    config: GroupConfig,
    groups: HashMap<GroupId, Entry>,
    deadlines: BTreeSet<(Duration, GroupId)>,
    next_token: u64,
}

#[derive(Debug)]
struct Entry {
    group: ClassicGroup,
    /// Where the group stands in `deadlines`.
    deadline: Option<Duration>,
}

impl GroupRegistry {
    /// No groups.
    pub fn new(config: GroupConfig) -> Self {
        Self {
            config,
            groups: HashMap::new(),
            deadlines: BTreeSet::new(),
            next_token: 0,
        }
    }

    /// Adds a stored group; its members' sessions begin at `now`.
    pub fn load_group(&mut self, id: GroupId, record: GroupRecord, now: Now) -> Effects {
        let offsets = self.remove(&id).map(|group| group.offsets);
        let mut group = ClassicGroup::load(id.clone(), record, now.monotonic);
        group.offsets = offsets.unwrap_or_default();
        let over_size = group.members.len() > self.config.max_size;
        self.add(group);
        self.on_group(&id, now, |group, turn| {
            // The setting was lowered: whoever joins last finds no room.
            if over_size {
                let _emptied = group.prepare_rebalance(turn);
            }
        })
    }

    /// Adds a stored offset, to a group without a record if need be.
    pub fn load_offset(
        &mut self,
        id: GroupId,
        partition: TopicPartition,
        offset: OffsetRecord,
        now_ms: TimestampMs,
    ) {
        if !self.groups.contains_key(&id) {
            self.add(ClassicGroup::empty(id.clone(), now_ms));
        }
        if let Some(entry) = self.groups.get_mut(&id) {
            entry.group.offsets.put(partition, offset);
        }
    }

    /// JoinGroup. `fresh_id` is given to a member that has no id yet: the client id (or instance id),
    /// `-`, and a UUID.
    pub fn join(
        &mut self,
        request: &JoinRequest,
        fresh_id: MemberId,
        waiter: WaiterId,
        now: Now,
    ) -> Effects {
        if let Err(error) = self.admit_join(request, now) {
            let failure = JoinFailure {
                error,
                member_id: request.member_id.clone(),
            };
            return answer(waiter, Reply::Join(Err(failure)));
        }
        self.on_group(&request.group_id, now, |group, turn| {
            group.join(request, fresh_id, waiter, turn);
        })
    }

    fn admit_join(&mut self, request: &JoinRequest, now: Now) -> Result<(), GroupError> {
        let allowed = self.config.min_session_timeout..=self.config.max_session_timeout;
        if request.group_id.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        if !allowed.contains(&request.session_timeout) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        if !request.member_id.is_empty() && !self.groups.contains_key(&request.group_id) {
            return Err(GroupError::UnknownMemberId);
        }
        self.find_or_make(&request.group_id, now)
    }

    /// SyncGroup.
    pub fn sync(&mut self, request: SyncRequest, waiter: WaiterId, now: Now) -> Effects {
        let id = request.group_id.clone();
        match self.check_known(&id) {
            Err(error) => answer(waiter, Reply::Sync(Err(error))),
            Ok(()) => self.on_group(&id, now, |group, turn| group.sync(request, waiter, turn)),
        }
    }

    /// Heartbeat, answered at once; it has no effects.
    pub fn heartbeat(&mut self, request: &HeartbeatRequest, now: Now) -> Result<(), GroupError> {
        let id = &request.group_id;
        self.check_known(id)?;
        let mut result = Err(GroupError::UnknownMemberId);
        let effects = self.on_group(id, now, |group, turn| {
            result = group.heartbeat(request, turn);
        });
        debug_assert!(effects.replies.is_empty() && effects.writes.is_empty());
        result
    }

    /// LeaveGroup.
    pub fn leave(&mut self, request: &LeaveRequest, waiter: WaiterId, now: Now) -> Effects {
        let id = &request.group_id;
        match self.check_known(id) {
            Err(error) => answer(waiter, Reply::Leave(Err(error))),
            Ok(()) => self.on_group(id, now, |group, turn| group.leave(request, waiter, turn)),
        }
    }

    /// OffsetCommit. Makes the group if it does not exist and the client does not claim a generation.
    pub fn commit(&mut self, request: CommitRequest, waiter: WaiterId, now: Now) -> Effects {
        let id = request.group_id.clone();
        let found = match request.generation {
            None => self.find_or_make(&id, now),
            Some(_) if self.groups.contains_key(&id) => Ok(()),
            Some(_) => Err(GroupError::GroupIdNotFound),
        };
        match found {
            Err(error) => answer(waiter, Reply::Commit(Err(error))),
            Ok(()) => self.on_group(&id, now, |group, turn| group.commit(request, waiter, turn)),
        }
    }

    /// OffsetFetch: `None` asks for all partitions. An unknown group has no offsets, and that is no
    /// error.
    pub fn fetch_offsets(
        &self,
        id: &GroupId,
        partitions: Option<&[TopicPartition]>,
    ) -> FetchedOffsets {
        match self.groups.get(id) {
            Some(entry) => entry.group.fetch_offsets(partitions),
            None => FetchedOffsets {
                partitions: partitions
                    .unwrap_or_default()
                    .iter()
                    .map(|partition| (*partition, None))
                    .collect(),
            },
        }
    }

    /// OffsetDelete.
    pub fn delete_offsets(
        &mut self,
        request: &OffsetDeleteRequest,
        waiter: WaiterId,
        now: Now,
    ) -> Effects {
        let id = &request.group_id;
        if id.is_empty() {
            return answer(waiter, Reply::OffsetDelete(Err(GroupError::InvalidGroupId)));
        }
        if !self.groups.contains_key(id) {
            let error = GroupError::GroupIdNotFound;
            return answer(waiter, Reply::OffsetDelete(Err(error)));
        }
        self.on_group(id, now, |group, turn| {
            group.delete_offsets(request, waiter, turn);
        })
    }

    /// One group of DeleteGroups.
    pub fn delete_group(&mut self, id: &GroupId, waiter: WaiterId, now: Now) -> Effects {
        if !self.groups.contains_key(id) {
            let error = GroupError::GroupIdNotFound;
            return answer(waiter, Reply::DeleteGroup(Err(error)));
        }
        self.on_group(id, now, |group, turn| group.delete(waiter, turn))
    }

    /// Every group, in no order.
    pub fn list(&self) -> impl Iterator<Item = GroupListing> {
        self.groups.values().map(|entry| entry.group.listing())
    }

    /// One group of DescribeGroups.
    pub fn describe(&self, id: &GroupId) -> Result<GroupDescription, GroupError> {
        match self.groups.get(id) {
            Some(entry) => Ok(entry.group.description()),
            None => Err(GroupError::GroupIdNotFound),
        }
    }

    /// Topics of which some group has a committed offset.
    pub fn topics_with_offsets(&self) -> BTreeSet<TopicId> {
        let of_group = |entry: &Entry| {
            let partitions = entry.group.offsets.iter();
            let topics = partitions.map(|(partition, _)| partition.topic_id);
            topics.collect::<BTreeSet<_>>()
        };
        self.groups.values().flat_map(of_group).collect()
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there are no groups.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The outcome of a write.
    pub fn on_write(
        &mut self,
        id: &GroupId,
        token: WriteToken,
        outcome: WriteOutcome,
        now: Now,
    ) -> Effects {
        let mut is_gone = false;
        let effects = self.on_group(id, now, |group, turn| {
            is_gone = group.on_write(token, outcome, turn);
        });
        if is_gone {
            self.remove(id);
        }
        effects
    }

    /// A write has not ended within `offsets.commit.timeout.ms`; its outcome may still come.
    pub fn on_slow_write(&mut self, id: &GroupId, token: WriteToken, now: Now) -> Effects {
        self.on_group(id, now, |group, turn| group.on_slow_write(token, turn))
    }

    /// When [`GroupRegistry::on_time`] has something to do.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Handles every deadline that is not after `now`.
    pub fn on_time(&mut self, now: Now) -> Effects {
        let mut effects = Effects::default();
        // At most one round for each group that was due: a deadline set anew waits for the next call.
        for _ in 0..self.groups.len() {
            let Some((at, id)) = self.deadlines.first().cloned() else {
                break;
            };
            if at > now.monotonic {
                break;
            }
            effects.append(self.on_group(&id, now, |group, turn| group.on_time(turn)));
        }
        effects
    }

    /// Drops offsets past their retention, and groups of which nothing is left. To be called every
    /// `offsets.retention.check.interval.ms`.
    pub fn expire_offsets(&mut self, now: Now) -> Effects {
        self.on_all(now, |group, turn| group.expire(turn))
    }

    /// Drops the offsets of deleted topics.
    pub fn on_topics_deleted(&mut self, topics: &[TopicId], now: Now) -> Effects {
        self.on_all(now, |group, turn| group.on_topics_deleted(topics, turn))
    }

    /// Forgets every group and answers everybody who waits with `error`: another broker coordinates
    /// them by now, or this one stops.
    pub fn abandon(&mut self, error: GroupError, now: Now) -> Effects {
        let effects = self.on_all(now, |group, turn| group.abandon(error, turn));
        self.groups.clear();
        self.deadlines.clear();
        effects
    }

    fn on_all(
        &mut self,
        now: Now,
        mut event: impl FnMut(&mut ClassicGroup, &mut Turn<'_>),
    ) -> Effects {
        let ids: Vec<GroupId> = self.groups.keys().cloned().collect();
        let mut effects = Effects::default();
        for id in ids {
            effects.append(self.on_group(&id, now, &mut event));
        }
        effects
    }

    fn on_group(
        &mut self,
        id: &GroupId,
        now: Now,
        event: impl FnOnce(&mut ClassicGroup, &mut Turn<'_>),
    ) -> Effects {
        let mut effects = Effects::default();
        let Some(entry) = self.groups.get_mut(id) else {
            return effects;
        };
        let mut turn = Turn {
            config: &self.config,
            now,
            effects: &mut effects,
            next_token: &mut self.next_token,
        };
        event(&mut entry.group, &mut turn);
        let deadline = entry.group.timers.next();
        if deadline != entry.deadline {
            if let Some(old) = std::mem::replace(&mut entry.deadline, deadline) {
                self.deadlines.remove(&(old, id.clone()));
            }
            if let Some(new) = deadline {
                self.deadlines.insert((new, id.clone()));
            }
        }
        effects
    }

    fn check_known(&self, id: &GroupId) -> Result<(), GroupError> {
        if id.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        match self.groups.contains_key(id) {
            true => Ok(()),
            false => Err(GroupError::UnknownMemberId),
        }
    }

    fn find_or_make(&mut self, id: &GroupId, now: Now) -> Result<(), GroupError> {
        if self.groups.contains_key(id) {
            return Ok(());
        }
        if self.groups.len() >= self.config.groups_per_shard_max {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.add(ClassicGroup::empty(id.clone(), now.wall_ms));
        Ok(())
    }

    fn add(&mut self, group: ClassicGroup) {
        self.remove(&group.id.clone());
        let deadline = group.timers.next();
        if let Some(at) = deadline {
            self.deadlines.insert((at, group.id.clone()));
        }
        self.groups
            .insert(group.id.clone(), Entry { group, deadline });
    }

    fn remove(&mut self, id: &GroupId) -> Option<ClassicGroup> {
        let entry = self.groups.remove(id)?;
        if let Some(at) = entry.deadline {
            self.deadlines.remove(&(at, id.clone()));
        }
        Some(entry.group)
    }
}

fn answer(waiter: WaiterId, reply: Reply) -> Effects {
    Effects {
        replies: vec![(waiter, reply)],
        writes: Vec::new(),
    }
}
