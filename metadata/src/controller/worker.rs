//! The task of one broker's controller.

use std::sync::Arc;

use alluvium_common::epoch::BrokerId;
use alluvium_common::topic::TopicId;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::apply::{Applied, Applier, ApplyError};
use super::coordinators::{plan_coordinators, write_coordinators};
use super::election::Election;
use super::plan::{Circumstances, ClusterPlan, Plan, PlanRules, plan};
use super::presence::{Orphans, Presence};
use super::{AllowUnclean, ControllerOptions, ControllerParts, ControllerStatus, RemoveOrphans};
use crate::coordinator::GroupShard;
use crate::keys::Keys;
use crate::leadership::PartitionWriter;
use crate::leased_key::HoldError;
use crate::model::TopicRecord;
use crate::session::Session;
use crate::store::{MetadataStore, MetadataStoreExt, Revision, StoreError};
use crate::value;
use crate::view::{ClusterView, Picture};

/// Topics whose leftovers are deleted in one round; a topic may have thousands of partitions.
const ORPHANS_PER_ROUND: usize = 4;

pub(super) struct Worker {
    store: Arc<dyn MetadataStore>,
    keys: Keys,
    session: Arc<Session>,
    view: Arc<ClusterView>,
    remover: Arc<dyn RemoveOrphans>,
    allow_unclean: AllowUnclean,
    options: ControllerOptions,
    election: Election,
    writer: PartitionWriter,
    presence: Presence,
    status: watch::Sender<ControllerStatus>,
    term: Option<Term>,
}

/// The time for which this broker is elected, and what it remembers of it.
struct Term {
    epoch: Revision,
    rebalancing: bool,
    orphans: Orphans,
}

impl Worker {
    pub(super) fn new(
        parts: ControllerParts,
        options: ControllerOptions,
        status: watch::Sender<ControllerStatus>,
    ) -> Self {
        let ControllerParts {
            store,
            keys,
            session,
            view,
            orphans: remover,
            allow_unclean,
        } = parts;
        Self {
            election: Election::new(Arc::clone(&store), keys.clone(), Arc::clone(&session)),
            writer: PartitionWriter::new(Arc::clone(&store), keys.clone()),
            presence: Presence::new(options.start_grace),
            store,
            keys,
            session,
            view,
            remover,
            allow_unclean,
            options,
            status,
            term: None,
        }
    }

    /// Until it is stopped or the session is lost.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let session = Arc::clone(&self.session);
        tokio::select! {
            () = self.rounds() => {}
            _ = stop.wait_for(|stop| *stop) => {}
            () = session.lost() => {}
        }
        // The key of a lost session is deleted with its lease.
        if let Some(epoch) = self.depose("it stops")
            && session.is_alive()
            && let Err(error) = self.election.resign(epoch).await
        {
            warn!(%error, "another controller is elected only when this broker's session ends");
        }
    }

    /// Never ends by itself.
    async fn rounds(&mut self) {
        let view = Arc::clone(&self.view);
        let mut changes = view.changes();
        loop {
            changes.mark_unchanged();
            let picture = self.view.picture();
            self.presence.observe(&picture.brokers);
            self.step(&picture).await;
            tokio::time::sleep(self.options.round_pause).await;
            // The view lives as long as this, so the only other end of the wait is the tick.
            let _ticked = tokio::time::timeout(self.options.tick, changes.changed()).await;
        }
    }

    async fn step(&mut self, picture: &Picture) {
        // F3: others may be about to elect another. Once the session is known to go on, so does the election.
        if !self.session.is_alive() {
            self.depose("its session cannot be proved alive");
            return;
        }
        match self.term.as_ref().map(|term| term.epoch) {
            None => self.campaign(picture).await,
            Some(epoch) => self.round(picture, epoch).await,
        }
    }

    /// F6: the picture only says that it may be worth a try; the transaction finds out.
    async fn campaign(&mut self, picture: &Picture) {
        let another = |broker_id| broker_id != self.election.broker_id();
        if picture
            .controller
            .is_some_and(|elected| another(elected.broker_id))
        {
            return;
        }
        match self.election.campaign().await {
            Ok(Some(epoch)) => self.begin_term(epoch).await,
            Ok(None) => debug!("another broker was faster to be elected"),
            Err(HoldError::Fenced) => debug!("not elected: the session is over"),
            Err(error) => warn!(%error, "not known whether this broker is elected; it tries again"),
        }
    }

    async fn begin_term(&mut self, epoch: Revision) {
        let broker_id = self.election.broker_id();
        info!(%broker_id, controller_epoch = %epoch, "this broker is elected controller");
        self.term = Some(Term {
            epoch,
            rebalancing: false,
            orphans: Orphans::default(),
        });
        self.status
            .send_modify(|status| status.elected = Some(epoch));
        self.view.reached(epoch).await;
    }

    /// Ends the term, if there is one, and answers with its epoch.
    fn depose(&mut self, why: &str) -> Option<Revision> {
        let epoch = self.term.take()?.epoch;
        info!(controller_epoch = %epoch, why, "this broker is controller no more");
        self.status.send_modify(ControllerStatus::deposed);
        Some(epoch)
    }

    async fn round(&mut self, picture: &Picture, epoch: Revision) {
        let elected = picture.controller.map(|elected| elected.epoch);
        if picture.revision >= epoch && elected != Some(epoch) {
            self.depose("its key is gone");
            return;
        }
        let plan = self.plan(picture);
        self.report(&plan);
        let applier = Applier {
            writer: &self.writer,
            keys: &self.keys,
            guard: self.election.guard(epoch),
        };
        match applier.apply(picture, &plan.partitions).await {
            Ok(applied) => self.applied(applied).await,
            Err(ApplyError::Deposed) => {
                self.depose("another election took place");
                return;
            }
            Err(ApplyError::Store(error)) => warn!(%error, "partitions could not be placed"),
        }
        if let Err(error) = self.place_coordinators(picture, epoch).await {
            warn!(%error, "coordinators could not be placed");
        }
        if let Err(error) = self.remove_orphans(&plan.orphans).await {
            warn!(%error, "what is left of deleted topics could not be removed");
        }
    }

    fn plan(&mut self, picture: &Picture) -> ClusterPlan {
        let rules = PlanRules {
            unclean: &|topic: &TopicRecord| (self.allow_unclean)(topic),
            weight: &|_| 1,
        };
        let expected = |broker_id: BrokerId| self.presence.is_expected(broker_id);
        let now = self.circumstances(&expected);
        let plan = plan(picture, &self.options.plan, &rules, &now);
        if let Some(term) = &mut self.term {
            term.rebalancing = plan.partitions.rebalancing;
        }
        plan
    }

    fn circumstances<'a>(&self, expected: &'a dyn Fn(BrokerId) -> bool) -> Circumstances<'a> {
        Circumstances {
            usable_for: self.presence.usable_for(),
            rebalancing: self.term.as_ref().is_some_and(|term| term.rebalancing),
            expected,
        }
    }

    fn plan_coordinators(&self, picture: &Picture) -> Plan<GroupShard> {
        let expected = |broker_id: BrokerId| self.presence.is_expected(broker_id);
        plan_coordinators(picture, &self.options.plan, &self.circumstances(&expected))
    }

    async fn place_coordinators(
        &self,
        picture: &Picture,
        epoch: Revision,
    ) -> Result<(), StoreError> {
        let plan = self.plan_coordinators(picture);
        let guard = self.election.guard(epoch);
        let written = write_coordinators(&*self.store, &self.keys, guard, picture, &plan).await?;
        if let Some(revision) = written {
            // The next plan must not order the same again.
            self.view.reached(revision).await;
        }
        Ok(())
    }

    /// Tells of the plan, and aloud when other partitions than before wait for a broker's return.
    fn report(&self, plan: &ClusterPlan) {
        let before = self.status.borrow().waiting_for_log.clone();
        self.status
            .send_modify(|status| status.note(&plan.partitions, plan.orphans.len()));
        let now = self.status.borrow().waiting_for_log.clone();
        for (broker_id, partitions) in &now {
            if before.get(broker_id) != Some(partitions) {
                warn!(
                    %broker_id, partitions,
                    "partitions wait for the write-ahead log of a broker; start it again, or elect leaders uncleanly"
                );
            }
        }
        for broker_id in before.keys().filter(|id| !now.contains_key(*id)) {
            info!(%broker_id, "no partition waits for that broker any more");
        }
    }

    async fn applied(&self, applied: Applied) {
        let Applied {
            assigned,
            moved,
            revision,
        } = applied;
        if revision == Revision::NONE {
            return;
        }
        info!(assigned, moved, "partitions were placed");
        self.status.send_modify(|status| {
            status.assignments_total += assigned;
            status.moves_total += moved;
        });
        // The next plan must not order the same again.
        self.view.reached(revision).await;
    }

    /// Deletes partitions that have long had no topic.
    async fn remove_orphans(&mut self, orphans: &[TopicId]) -> Result<(), StoreError> {
        let Some(term) = &mut self.term else {
            return Ok(());
        };
        let mut old = term.orphans.observe(orphans, self.options.orphan_grace);
        old.truncate(ORPHANS_PER_ROUND);
        if old.is_empty() {
            return Ok(());
        }
        // F6: what is not seen in the picture may be in the store.
        let (_, kvs) = self.store.list(self.keys.topics()).await?;
        let existing: Result<Vec<TopicRecord>, _> =
            kvs.iter().map(|kv| value::decode(&kv.value)).collect();
        let existing = match existing {
            Ok(existing) => existing,
            Err(error) => {
                warn!(%error, "a topic is unreadable, so nothing is removed");
                return Ok(());
            }
        };
        old.retain(|id| existing.iter().all(|topic| topic.topic_id != *id));
        for topic_id in old {
            match self.remover.remove_orphans(topic_id).await {
                Ok(()) => info!(%topic_id, "removed the partitions of a topic that does not exist"),
                Err(error) => warn!(%topic_id, %error, "partitions without a topic stay for now"),
            }
        }
        Ok(())
    }
}
