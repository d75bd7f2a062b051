//! Members that go: LeaveGroup and the end of a session.

use super::classic::ClassicGroup;
use super::effects::{Reply, Turn};
use super::error::GroupError;
use super::ids::{MemberId, WaiterId};
use super::pending::PendingWrite;
use super::request::{LeaveRequest, LeavingMember};
use super::state::GroupState;
use super::timers::TimerKey;

impl ClassicGroup {
    /// Answers `waiter`; when the group becomes empty, not before that is stored.
    pub fn leave(&mut self, request: &LeaveRequest, waiter: WaiterId, turn: &mut Turn<'_>) {
        if self.state == GroupState::Dead {
            let error = GroupError::CoordinatorNotAvailable;
            return turn.reply(waiter, Reply::Leave(Err(error)));
        }
        let mut results = Vec::with_capacity(request.members.len());
        for member in &request.members {
            results.push(self.leave_one(member, turn));
        }
        let somebody_left = results.iter().any(Result::is_ok);
        let emptied = match self.state {
            GroupState::Empty | GroupState::Dead => None,
            _ if !somebody_left => None,
            _ => self.rebalance_or_complete_join(turn),
        };
        match emptied {
            Some(token) => {
                let pending = PendingWrite::Leave {
                    waiter: Some(waiter),
                    results,
                };
                self.pending_writes.insert(token, pending);
            }
            None => turn.reply(waiter, Reply::Leave(Ok(results))),
        }
    }

    fn leave_one(
        &mut self,
        leaving: &LeavingMember,
        turn: &mut Turn<'_>,
    ) -> Result<(), GroupError> {
        let id = if leaving.member_id.is_empty() {
            let instance = leaving.instance_id.as_ref();
            let owner = instance.and_then(|instance| self.static_members.get(instance));
            owner.cloned().ok_or(GroupError::UnknownMemberId)?
        } else {
            leaving.member_id.clone()
        };
        if self.pending_join.contains(&id) {
            self.remove(&id);
            return Ok(());
        }
        self.check_member(&id, leaving.instance_id.as_ref())?;
        self.expel(&id, GroupError::UnknownMemberId, turn);
        Ok(())
    }

    /// The member was silent for its session time-out.
    pub fn on_session_deadline(&mut self, id: &MemberId, turn: &mut Turn<'_>) {
        let was_member = match self.members.get(id) {
            // Its deadline is set again when it is answered.
            Some(member) if member.may_be_silent() => return,
            Some(_) => true,
            None => false,
        };
        self.expel(id, GroupError::UnknownMemberId, turn);
        let _emptied = match self.state {
            GroupState::Stable | GroupState::CompletingRebalance if was_member => {
                self.prepare_rebalance(turn)
            }
            // Unlike when somebody leaves, this completes an initial rebalance too, as in Kafka.
            GroupState::PreparingRebalance if self.all_joined() => self.complete_join(turn),
            _ => None,
        };
    }

    /// Handles every deadline that is not after the turn's time.
    pub fn on_time(&mut self, turn: &mut Turn<'_>) {
        while let Some(key) = self.timers.pop_due(turn.now.monotonic) {
            match key {
                TimerKey::Join => self.on_join_deadline(turn),
                TimerKey::Sync => self.on_sync_deadline(turn),
                TimerKey::Session(id) => self.on_session_deadline(&id, turn),
            }
        }
    }
}
