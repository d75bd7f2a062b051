//! JoinGroup.

use super::classic::ClassicGroup;
use super::effects::{Reply, Turn, WriteOp};
use super::error::GroupError;
use super::ids::{MemberId, WaiterId};
use super::member::{Member, distinct};
use super::pending::PendingWrite;
use super::request::{JoinFailure, JoinRequest};
use super::state::GroupState;

impl ClassicGroup {
    /// Answers or parks `waiter`. `fresh_id` is the id to give to a member that has none.
    pub fn join(
        &mut self,
        request: &JoinRequest,
        fresh_id: MemberId,
        waiter: WaiterId,
        turn: &mut Turn<'_>,
    ) {
        if !self.has_room_for(&request.member_id, turn) {
            let error = GroupError::GroupMaxSizeReached;
            self.expel(&request.member_id, error, turn);
            refuse(waiter, error, MemberId::default(), turn);
        } else if self.state == GroupState::Dead {
            let error = GroupError::CoordinatorNotAvailable;
            refuse(waiter, error, request.member_id.clone(), turn);
        } else if !self.supports(&request.protocol_type, &request.protocols) {
            let error = GroupError::InconsistentGroupProtocol;
            refuse(waiter, error, request.member_id.clone(), turn);
        } else if request.member_id.is_empty() {
            self.join_new(request, fresh_id, waiter, turn);
        } else {
            self.join_known(request, waiter, turn);
        }
    }

    /// While a rebalance collects members, those that have joined count; otherwise all do. So a
    /// group over its size (the setting was lowered) sheds those that join last.
    fn has_room_for(&self, id: &MemberId, turn: &Turn<'_>) -> bool {
        let member = self.members.get(id);
        match self.state {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                member.is_some_and(|m| m.awaiting_join.is_some())
                    || self.awaiting_join < turn.config.max_size
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                member.is_some() || self.members.len() < turn.config.max_size
            }
        }
    }

    fn join_new(
        &mut self,
        request: &JoinRequest,
        fresh_id: MemberId,
        waiter: WaiterId,
        turn: &mut Turn<'_>,
    ) {
        if let Some(instance) = &request.instance_id {
            match self.static_members.get(instance).cloned() {
                Some(old_id) => self.replace_static(request, old_id, fresh_id, waiter, turn),
                None => self.add_and_rebalance(request, fresh_id, waiter, turn),
            }
        } else if !request.require_known_member_id {
            self.add_and_rebalance(request, fresh_id, waiter, turn);
        } else if self.pending_join.len() >= turn.config.pending_members_max {
            let error = GroupError::CoordinatorNotAvailable;
            refuse(waiter, error, MemberId::default(), turn);
        } else {
            self.pending_join.insert(fresh_id.clone());
            self.start_session(&fresh_id, request.session_timeout, turn);
            refuse(waiter, GroupError::MemberIdRequired, fresh_id, turn);
        }
    }

    fn join_known(&mut self, request: &JoinRequest, waiter: WaiterId, turn: &mut Turn<'_>) {
        let id = &request.member_id;
        if self.pending_join.contains(id) && request.instance_id.is_none() {
            return self.add_and_rebalance(request, id.clone(), waiter, turn);
        }
        if let Err(error) = self.check_member(id, request.instance_id.as_ref()) {
            return refuse(waiter, error, id.clone(), turn);
        }
        let unchanged = self
            .members
            .get(id)
            .is_some_and(|member| member.matches(&request.protocols));
        let is_leader = self.is_leader(id);
        // A leader that joins a stable group anew wants a rebalance: it may have seen new partitions.
        let rebalance = match self.state {
            GroupState::CompletingRebalance => !unchanged,
            GroupState::Stable => is_leader || !unchanged,
            _ => true,
        };
        if rebalance {
            self.update_and_rebalance(request, waiter, turn);
        } else {
            // The client may have missed the answer to an earlier JoinGroup.
            let with_members = is_leader && self.state == GroupState::CompletingRebalance;
            let joined = self.joined(id, with_members, false);
            turn.reply(waiter, Reply::Join(Ok(joined)));
        }
    }

    fn add_and_rebalance(
        &mut self,
        request: &JoinRequest,
        id: MemberId,
        waiter: WaiterId,
        turn: &mut Turn<'_>,
    ) {
        if self.state == GroupState::PreparingRebalance && self.previous_state == GroupState::Empty
        {
            self.new_member_added = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        self.insert(Member::joining(id.clone(), request));
        self.park_join(&id, waiter, turn);
        // The client does not know its member id yet and so sends no heartbeats. Still its JoinGroup
        // must not wait for ever: a client that retries gets a new id each time.
        self.start_session(&id, turn.config.new_member_join_timeout, turn);
        self.rebalance_or_complete_join(turn);
    }

    fn update_and_rebalance(
        &mut self,
        request: &JoinRequest,
        waiter: WaiterId,
        turn: &mut Turn<'_>,
    ) {
        self.update(&request.member_id, request);
        self.park_join(&request.member_id, waiter, turn);
        self.rebalance_or_complete_join(turn);
    }

    fn update(&mut self, id: &MemberId, request: &JoinRequest) {
        self.set_protocols(id, distinct(&request.protocols));
        if let Some(member) = self.members.get_mut(id) {
            member.session_timeout = request.session_timeout;
            member.rebalance_timeout = request.rebalance_timeout;
        }
    }

    /// A static member came back without its member id, or a second client claims its instance id:
    /// the new one takes over, the old one is fenced (KIP-345).
    fn replace_static(
        &mut self,
        request: &JoinRequest,
        old_id: MemberId,
        new_id: MemberId,
        waiter: WaiterId,
        turn: &mut Turn<'_>,
    ) {
        let old_leader = self.leader.clone();
        self.rename(&old_id, &new_id, turn);
        self.update(&new_id, request);
        self.restart_session(&new_id, turn);
        if self.state == GroupState::Stable && self.select_protocol() == self.protocol {
            // Nothing that the assignment depends on changed, so nobody else is disturbed. The new id
            // has to be stored first: after a restart the old one would be the valid one.
            let record = self.record(|member| member.assignment.clone());
            let token = turn.write(&self.id, vec![WriteOp::PutGroup(record)]);
            let pending = PendingWrite::StaticMember {
                waiter: Some(waiter),
                member_id: new_id,
                instance_id: request.instance_id.clone(),
                old_leader: old_leader.unwrap_or_default(),
                supports_skip_assignment: request.supports_skip_assignment,
            };
            self.pending_writes.insert(token, pending);
            return;
        }
        self.park_join(&new_id, waiter, turn);
        match self.state {
            // The leader may have been told of the old id already and would assign to it.
            GroupState::CompletingRebalance | GroupState::Stable => {
                let _ = self.prepare_rebalance(turn);
            }
            _ => {
                let _ = self.complete_join_if_all_joined(turn);
            }
        }
    }

    fn rename(&mut self, old_id: &MemberId, new_id: &MemberId, turn: &mut Turn<'_>) {
        let was_leader = self.is_leader(old_id);
        let Some(mut member) = self.members.get(old_id).cloned() else {
            return;
        };
        self.expel(old_id, GroupError::FencedInstanceId, turn);
        member.id = new_id.clone();
        member.awaiting_join = None;
        member.awaiting_sync = None;
        member.is_new = false;
        self.insert(member);
        if was_leader {
            self.leader = Some(new_id.clone());
        }
    }
}

fn refuse(waiter: WaiterId, error: GroupError, member_id: MemberId, turn: &mut Turn<'_>) {
    let failure = JoinFailure { error, member_id };
    turn.reply(waiter, Reply::Join(Err(failure)));
}
