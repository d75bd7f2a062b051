//! The join phase of a rebalance: from the first reason for it until every member knows the next
//! generation.

use std::time::Duration;

use bytes::Bytes;

use super::classic::{ClassicGroup, InitialDelay};
use super::effects::{Reply, Turn, WriteOp};
use super::error::GroupError;
use super::ids::{MemberId, WriteToken};
use super::member::Member;
use super::pending::PendingWrite;
use super::record::GroupRecord;
use super::state::GroupState;
use super::timers::TimerKey;

/// A client may ask for a rebalance time-out of nothing; waiting for its next attempt must not spin.
const WAIT_FOR_STATIC_MIN: Duration = Duration::from_secs(1);

impl ClassicGroup {
    /// Begins a rebalance, or sees whether the one under way has all its members now.
    /// Returns the write of the empty group, if the last member is gone.
    pub fn rebalance_or_complete_join(&mut self, turn: &mut Turn<'_>) -> Option<WriteToken> {
        if self.state.can_rebalance() {
            self.prepare_rebalance(turn)
        } else {
            self.complete_join_if_all_joined(turn)
        }
    }

    pub fn prepare_rebalance(&mut self, turn: &mut Turn<'_>) -> Option<WriteToken> {
        if self.state == GroupState::CompletingRebalance {
            self.reset_assignments(GroupError::RebalanceInProgress, turn);
        }
        self.pending_sync.clear();
        self.timers.cancel(&TimerKey::Sync);
        let initial = self.state == GroupState::Empty;
        self.transition(GroupState::PreparingRebalance, turn);
        if initial {
            self.begin_initial_delay(turn);
            return None;
        }
        if self.all_joined() {
            return self.complete_join(turn);
        }
        self.set_join_deadline(self.rebalance_timeout(), turn);
        None
    }

    /// An initial rebalance is completed by its delay alone.
    pub fn complete_join_if_all_joined(&mut self, turn: &mut Turn<'_>) -> Option<WriteToken> {
        let collecting = self.state == GroupState::PreparingRebalance
            && self.previous_state != GroupState::Empty;
        if collecting && self.all_joined() {
            return self.complete_join(turn);
        }
        None
    }

    fn begin_initial_delay(&mut self, turn: &mut Turn<'_>) {
        let running = turn.config.initial_rebalance_delay;
        let remaining = self.rebalance_timeout().saturating_sub(running);
        self.initial_delay = Some(InitialDelay { running, remaining });
        self.new_member_added = false;
        self.set_join_deadline(running, turn);
    }

    /// The join phase's deadline has passed.
    pub fn on_join_deadline(&mut self, turn: &mut Turn<'_>) {
        if self.state != GroupState::PreparingRebalance {
            return;
        }
        if let Some(delay) = self.initial_delay
            && self.new_member_added
            && !delay.remaining.is_zero()
        {
            self.new_member_added = false;
            let running = turn.config.initial_rebalance_delay.min(delay.remaining);
            let remaining = delay.remaining.saturating_sub(delay.running);
            self.initial_delay = Some(InitialDelay { running, remaining });
            self.set_join_deadline(running, turn);
            return;
        }
        self.complete_join(turn);
    }

    fn set_join_deadline(&mut self, after: Duration, turn: &Turn<'_>) {
        let deadline = turn.now.monotonic.saturating_add(after);
        self.timers.set(TimerKey::Join, deadline);
    }

    /// Ends the join phase: dynamic members that did not join are removed, static ones keep their
    /// place until their session ends, and everybody is told of the next generation.
    pub fn complete_join(&mut self, turn: &mut Turn<'_>) -> Option<WriteToken> {
        self.timers.cancel(&TimerKey::Join);
        let is_missing =
            |member: &&Member| member.awaiting_join.is_none() && member.instance_id.is_none();
        let missing: Vec<MemberId> = self
            .members
            .values()
            .filter(is_missing)
            .map(|member| member.id.clone())
            .collect();
        for id in missing {
            self.remove(&id);
        }
        if self.members.is_empty() {
            return Some(self.become_empty(turn));
        }
        if !self.elect_joined_leader() {
            // Only static members are left and none has joined: wait until one does or all expire.
            self.set_join_deadline(self.rebalance_timeout().max(WAIT_FOR_STATIC_MIN), turn);
            return None;
        }
        self.begin_generation(turn);
        None
    }

    /// Keeps the leader if it has joined, else takes one that has; false if nobody has.
    fn elect_joined_leader(&mut self) -> bool {
        let has_joined = |member: &&Member| member.awaiting_join.is_some();
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        if leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        match self.members.values().find(has_joined) {
            Some(joined) => {
                self.leader = Some(joined.id.clone());
                true
            }
            None => false,
        }
    }

    fn become_empty(&mut self, turn: &mut Turn<'_>) -> WriteToken {
        self.next_generation();
        self.protocol = None;
        self.subscribed_topics = self.read_subscribed_topics();
        self.transition(GroupState::Empty, turn);
        let record = self.record(|_| Bytes::new());
        let token = turn.write(&self.id, vec![WriteOp::PutGroup(record)]);
        self.pending_writes.insert(token, PendingWrite::Emptied);
        token
    }

    fn begin_generation(&mut self, turn: &mut Turn<'_>) {
        self.next_generation();
        self.protocol = self.select_protocol();
        self.subscribed_topics = self.read_subscribed_topics();
        self.transition(GroupState::CompletingRebalance, turn);
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in &ids {
            let joined = self.joined(id, self.is_leader(id), false);
            self.answer_join(id, Ok(joined), turn);
            self.restart_session(id, turn);
            if let Some(member) = self.members.get_mut(id) {
                member.is_new = false;
            }
        }
        self.pending_sync = ids.into_iter().collect();
        let deadline = turn.now.monotonic.saturating_add(self.rebalance_timeout());
        self.timers.set(TimerKey::Sync, deadline);
    }

    fn next_generation(&mut self) {
        self.initial_delay = None;
        self.new_member_added = false;
        // Kafka would wrap to a negative number, which clients take for "no generation".
        self.generation = self.generation.checked_add(1).unwrap_or(0);
    }

    /// Sends everybody who waits for an assignment away with `error`.
    pub fn reset_assignments(&mut self, error: GroupError, turn: &mut Turn<'_>) {
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in &ids {
            if let Some(waiter) = self.take_sync_waiter(id) {
                turn.reply(waiter, Reply::Sync(Err(error)));
                self.restart_session(id, turn);
            }
            if let Some(member) = self.members.get_mut(id) {
                member.assignment = Bytes::new();
            }
        }
    }

    /// The group as it is to be stored.
    pub fn record(&self, assignment: impl Fn(&Member) -> Bytes) -> GroupRecord {
        let protocol = self.protocol.as_deref();
        let members = self
            .members
            .values()
            .map(|member| member.record(protocol, assignment(member)))
            .collect();
        GroupRecord {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_since_ms: self.state_since_ms,
            members,
        }
    }
}
