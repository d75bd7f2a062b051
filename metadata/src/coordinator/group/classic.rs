//! The state of one group, and the small changes of which every event consists. The events stand in
//! files of their own: `join`, `rebalance`, `sync`, `membership`, `offset_commit`, `writes`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alluvium_common::clock::TimestampMs;

use super::effects::{Reply, Turn};
use super::error::GroupError;
use super::ids::{GroupId, InstanceId, MemberId, WaiterId, WriteToken};
use super::member::Member;
use super::offsets::Offsets;
use super::pending::PendingWrite;
use super::record::GroupRecord;
use super::request::{JoinFailure, Joined, Protocol};
use super::state::GroupState;
use super::subscription;
use super::timers::{TimerKey, Timers};

/// Protocol type of consumers; only of these the subscription can be read.
const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// A classic group (the protocol before KIP-848).
///
/// Always: `awaiting_join` members have a JoinGroup waiting; `leader` is a member, and is none only
/// when there are no members; `static_members` maps to members; ids of `pending_join` are no members.
#[derive(Debug)]
pub(super) struct ClassicGroup {
    pub id: GroupId,
    pub state: GroupState,
    /// A rebalance from `Empty` waits for further members even when all known ones have joined.
    pub previous_state: GroupState,
    pub state_since_ms: TimestampMs,
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: Option<MemberId>,
    pub members: BTreeMap<MemberId, Member>,
    pub static_members: BTreeMap<InstanceId, MemberId>,
    /// Were given an id and told to come again.
    pub pending_join: BTreeSet<MemberId>,
    /// Were told of the generation and have not sent SyncGroup.
    pub pending_sync: BTreeSet<MemberId>,
    pub awaiting_join: usize,
    /// How many members support a protocol.
    protocol_counts: BTreeMap<String, usize>,
    /// A member joined during the initial rebalance since its delay began.
    pub new_member_added: bool,
    /// What is left of the initial rebalance after the delay that runs.
    pub initial_delay: Option<InitialDelay>,
    /// `None` where the members' metadata says nothing about topics.
    pub subscribed_topics: Option<BTreeSet<String>>,
    pub timers: Timers,
    pub offsets: Offsets,
    pub pending_writes: BTreeMap<WriteToken, PendingWrite>,
}

/// `group.initial.rebalance.delay.ms` is waited again for each time somebody joins meanwhile, but not
/// beyond the rebalance time-out.
#[derive(Debug, Clone, Copy)]
pub(super) struct InitialDelay {
    pub running: Duration,
    pub remaining: Duration,
}

impl ClassicGroup {
    pub fn empty(id: GroupId, now_ms: TimestampMs) -> Self {
        Self {
            id,
            state: GroupState::Empty,
            previous_state: GroupState::Empty,
            state_since_ms: now_ms,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            awaiting_join: 0,
            protocol_counts: BTreeMap::new(),
            new_member_added: false,
            initial_delay: None,
            subscribed_topics: None,
            timers: Timers::default(),
            offsets: Offsets::default(),
            pending_writes: BTreeMap::new(),
        }
    }

    /// A group as it was stored. Its members' sessions begin anew.
    pub fn load(id: GroupId, record: GroupRecord, now: Duration) -> Self {
        let mut group = Self::empty(id, record.state_since_ms);
        group.generation = record.generation;
        group.protocol_type = record.protocol_type;
        group.protocol = record.protocol;
        for stored in record.members {
            let member = Member::loaded(stored, group.protocol.as_deref());
            let deadline = now.saturating_add(member.session_timeout);
            let key = TimerKey::Session(member.id.clone());
            group.timers.set(key, deadline);
            group.insert(member);
        }
        if !group.members.is_empty() {
            group.state = GroupState::Stable;
            group.previous_state = GroupState::CompletingRebalance;
        }
        if let Some(leader) = record.leader
            && group.members.contains_key(&leader)
        {
            group.leader = Some(leader);
        }
        group.subscribed_topics = group.read_subscribed_topics();
        group
    }

    pub fn is_leader(&self, id: &MemberId) -> bool {
        self.leader.as_ref() == Some(id)
    }

    pub fn transition(&mut self, state: GroupState, turn: &Turn<'_>) {
        self.previous_state = self.state;
        self.state = state;
        self.state_since_ms = turn.now.wall_ms;
    }

    /// Adds a member that is not there yet; the first one becomes the leader.
    pub fn insert(&mut self, member: Member) {
        if let Some(instance) = &member.instance_id {
            self.static_members
                .insert(instance.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.pending_join.remove(&member.id);
        self.count_protocols(&member.protocols, true);
        self.awaiting_join += usize::from(member.awaiting_join.is_some());
        self.members.insert(member.id.clone(), member);
    }

    /// Takes a member (or a pending one) out. Who waits in it must have been answered before.
    pub fn remove(&mut self, id: &MemberId) {
        if let Some(member) = self.members.remove(id) {
            self.count_protocols(&member.protocols, false);
            self.awaiting_join -= usize::from(member.awaiting_join.is_some());
            if let Some(instance) = &member.instance_id {
                self.static_members.remove(instance);
            }
        }
        self.pending_join.remove(id);
        self.pending_sync.remove(id);
        self.timers.cancel(&TimerKey::Session(id.clone()));
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// Answers whoever waits in the member's requests, then takes the member out.
    pub fn expel(&mut self, id: &MemberId, error: GroupError, turn: &mut Turn<'_>) {
        self.answer_join(id, Err(error), turn);
        if let Some(waiter) = self.take_sync_waiter(id) {
            turn.reply(waiter, Reply::Sync(Err(error)));
        }
        self.remove(id);
    }

    pub fn set_protocols(&mut self, id: &MemberId, protocols: Vec<Protocol>) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let old = std::mem::replace(&mut member.protocols, protocols.clone());
        self.count_protocols(&old, false);
        self.count_protocols(&protocols, true);
    }

    fn count_protocols(&mut self, protocols: &[Protocol], more: bool) {
        for protocol in protocols {
            let count = self
                .protocol_counts
                .entry(protocol.name.clone())
                .or_default();
            *count = if more { *count + 1 } else { *count - 1 };
            if *count == 0 {
                self.protocol_counts.remove(&protocol.name);
            }
        }
    }

    /// Parks a JoinGroup. A client that sent a second one has given the first one up.
    pub fn park_join(&mut self, id: &MemberId, waiter: WaiterId, turn: &mut Turn<'_>) {
        self.answer_join(id, Err(GroupError::RebalanceInProgress), turn);
        if let Some(member) = self.members.get_mut(id) {
            member.awaiting_join = Some(waiter);
            self.awaiting_join += 1;
        }
    }

    /// Parks a SyncGroup, with the same care for an earlier one.
    pub fn park_sync(&mut self, id: &MemberId, waiter: WaiterId, turn: &mut Turn<'_>) {
        if let Some(member) = self.members.get_mut(id)
            && let Some(earlier) = member.awaiting_sync.replace(waiter)
        {
            turn.reply(earlier, Reply::Sync(Err(GroupError::RebalanceInProgress)));
        }
    }

    /// Answers the member's JoinGroup, if one waits. An error carries the empty member id when it
    /// tells the client to begin anew.
    pub fn answer_join(
        &mut self,
        id: &MemberId,
        result: Result<Joined, GroupError>,
        turn: &mut Turn<'_>,
    ) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let Some(waiter) = member.awaiting_join.take() else {
            return;
        };
        self.awaiting_join -= 1;
        let result = result.map_err(|error| JoinFailure {
            error,
            member_id: match error {
                GroupError::UnknownMemberId => MemberId::default(),
                _ => id.clone(),
            },
        });
        turn.reply(waiter, Reply::Join(result));
    }

    pub fn take_sync_waiter(&mut self, id: &MemberId) -> Option<WaiterId> {
        self.members.get_mut(id)?.awaiting_sync.take()
    }

    /// What the member is told of the current generation.
    pub fn joined(&self, id: &MemberId, with_members: bool, skip_assignment: bool) -> Joined {
        let protocol = self.protocol.as_deref();
        let members = if with_members {
            self.members.values().map(|m| m.joined(protocol)).collect()
        } else {
            Vec::new()
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: id.clone(),
            members,
            skip_assignment,
        }
    }

    /// Expects the next sign of life within the member's session time-out.
    pub fn restart_session(&mut self, id: &MemberId, turn: &Turn<'_>) {
        if let Some(member) = self.members.get(id) {
            self.start_session(id, member.session_timeout, turn);
        }
    }

    pub fn start_session(&mut self, id: &MemberId, timeout: Duration, turn: &Turn<'_>) {
        let deadline = turn.now.monotonic.saturating_add(timeout);
        self.timers.set(TimerKey::Session(id.clone()), deadline);
    }

    /// The longest of the members' rebalance time-outs.
    pub fn rebalance_timeout(&self) -> Duration {
        let longest = self.members.values().map(|m| m.rebalance_timeout).max();
        longest.unwrap_or_default()
    }

    pub fn all_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_join.is_empty()
    }

    /// Whether a member with these protocols could be in the group: one of them is common to all.
    pub fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let is_common = |protocol: &Protocol| {
            let count = self.protocol_counts.get(&protocol.name);
            count.copied().unwrap_or(0) == self.members.len()
        };
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(is_common)
    }

    /// The common protocol that most members like best.
    pub fn select_protocol(&self) -> Option<String> {
        let is_common = |entry: &(&String, &usize)| *entry.1 == self.members.len();
        let candidates: BTreeSet<&str> = self
            .protocol_counts
            .iter()
            .filter(is_common)
            .map(|(name, _)| name.as_str())
            .collect();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(name) = member.vote(&candidates) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let winner = votes.into_iter().max_by_key(|(_, count)| *count);
        winner.map(|(name, _)| name.to_owned())
    }

    /// Fails unless the member is in the group and, where static, still owns its instance id.
    pub fn check_member(
        &self,
        id: &MemberId,
        instance: Option<&InstanceId>,
    ) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            match self.static_members.get(instance) {
                None => return Err(GroupError::UnknownMemberId),
                Some(owner) if owner != id => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        match self.members.contains_key(id) {
            true => Ok(()),
            false => Err(GroupError::UnknownMemberId),
        }
    }

    pub fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// Where the topics are not known, consumers might be subscribed to any.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    pub fn read_subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        let mut all = BTreeSet::new();
        if self.members.is_empty() {
            return Some(all);
        }
        let protocol = Some(self.protocol.as_deref()?);
        for member in self.members.values() {
            all.append(&mut subscription::topics(&member.metadata(protocol))?);
        }
        Some(all)
    }
}
