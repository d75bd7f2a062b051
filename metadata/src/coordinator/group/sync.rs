//! SyncGroup, and Heartbeat beside it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::classic::ClassicGroup;
use super::effects::{Reply, Turn, WriteOp};
use super::error::GroupError;
use super::ids::{MemberId, WaiterId};
use super::pending::PendingWrite;
use super::request::{HeartbeatRequest, SyncRequest, Synced};
use super::state::GroupState;
use super::timers::TimerKey;

impl ClassicGroup {
    /// Answers or parks `waiter`.
    pub fn sync(&mut self, request: SyncRequest, waiter: WaiterId, turn: &mut Turn<'_>) {
        if let Err(error) = self.check_sync(&request) {
            return turn.reply(waiter, Reply::Sync(Err(error)));
        }
        let id = request.member_id.clone();
        match self.state {
            GroupState::CompletingRebalance => {
                self.note_synced(&id);
                self.park_sync(&id, waiter, turn);
                if self.is_leader(&id) && !self.is_storing_assignment() {
                    self.store_assignment(request.assignments, turn);
                }
            }
            GroupState::Stable => {
                self.note_synced(&id);
                let synced = self.synced(&id);
                turn.reply(waiter, Reply::Sync(Ok(synced)));
            }
            _ => turn.reply(waiter, Reply::Sync(Err(GroupError::RebalanceInProgress))),
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), GroupError> {
        match self.state {
            GroupState::Dead => return Err(GroupError::CoordinatorNotAvailable),
            GroupState::Empty => return Err(GroupError::UnknownMemberId),
            _ => {}
        }
        self.check_member(&request.member_id, request.instance_id.as_ref())?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |asked: &Option<String>, own: &Option<String>| {
            asked.is_some() && own.is_some() && asked != own
        };
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol, &self.protocol)
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn note_synced(&mut self, id: &MemberId) {
        self.pending_sync.remove(id);
        if self.pending_sync.is_empty() {
            self.timers.cancel(&TimerKey::Sync);
        }
    }

    fn is_storing_assignment(&self) -> bool {
        let is_current = |write: &PendingWrite| matches!(write, PendingWrite::Assignment { generation, .. } if *generation == self.generation);
        self.pending_writes.values().any(is_current)
    }

    /// Nobody may act on an assignment that a restart would forget (I14), so it is stored first.
    fn store_assignment(&mut self, assignments: Vec<(MemberId, Bytes)>, turn: &mut Turn<'_>) {
        let mut assignment: BTreeMap<MemberId, Bytes> = assignments.into_iter().collect();
        assignment.retain(|id, _| self.members.contains_key(id));
        let record = self.record(|member| assignment.get(&member.id).cloned().unwrap_or_default());
        let token = turn.write(&self.id, vec![WriteOp::PutGroup(record)]);
        let pending = PendingWrite::Assignment {
            generation: self.generation,
            assignment,
        };
        self.pending_writes.insert(token, pending);
    }

    /// The assignment is stored (or will not be). By then the group may be elsewhere.
    pub fn on_assignment_stored(
        &mut self,
        generation: i32,
        mut assignment: BTreeMap<MemberId, Bytes>,
        result: Result<(), GroupError>,
        turn: &mut Turn<'_>,
    ) {
        if self.state != GroupState::CompletingRebalance || generation != self.generation {
            return;
        }
        if let Err(error) = result {
            self.reset_assignments(error, turn);
            let _ = self.rebalance_or_complete_join(turn);
            return;
        }
        for member in self.members.values_mut() {
            member.assignment = assignment.remove(&member.id).unwrap_or_default();
        }
        self.transition(GroupState::Stable, turn);
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in &ids {
            if let Some(waiter) = self.take_sync_waiter(id) {
                let synced = self.synced(id);
                turn.reply(waiter, Reply::Sync(Ok(synced)));
                self.restart_session(id, turn);
            }
        }
    }

    fn synced(&self, id: &MemberId) -> Synced {
        let assignment = self.members.get(id).map(|m| m.assignment.clone());
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: assignment.unwrap_or_default(),
        }
    }

    /// Members that never sent SyncGroup are removed, or the generation would wait for ever for a
    /// leader that is gone.
    pub fn on_sync_deadline(&mut self, turn: &mut Turn<'_>) {
        let waiting = matches!(
            self.state,
            GroupState::CompletingRebalance | GroupState::Stable
        );
        if !waiting || self.pending_sync.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.pending_sync) {
            self.expel(&id, GroupError::UnknownMemberId, turn);
        }
        let _ = self.prepare_rebalance(turn);
    }

    /// Heartbeat: prolongs the session; answered at once.
    pub fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        turn: &mut Turn<'_>,
    ) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.check_member(&request.member_id, request.instance_id.as_ref())?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        self.restart_session(&request.member_id, turn);
        match self.state {
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            _ => Ok(()),
        }
    }
}
