//! The partitions that this broker leads: opened, handed over and closed as the picture of the cluster says.
//!
//! One task looks at the picture whenever it changes, compares it with what is open here (`duties`) and starts what
//! has to be done: opening (`opener`) and handing over (`hand_over`) take time and run beside it, each for all the
//! partitions that were found together. A partition that something is being done with is left alone until that is
//! over. Everything is decided anew from the picture each time, so that nothing depends on having seen every change.

mod durability;
mod duties;
mod hand_over;
mod opener;
mod shelf;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use alluvium_cache::log::Logs;
use alluvium_cache::tail::TailBudget;
use alluvium_common::epoch::BrokerId;
use alluvium_common::offset::Offset;
use alluvium_common::topic::{TopicId, TopicPartition};
use alluvium_compactor::manifests::Manifests;
use alluvium_ingest::pipeline::Pipeline;
use alluvium_ingest::recovery::{HandedIndex, MetadataCommits};
use alluvium_ingest::validate::TopicRules;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::leadership::PartitionWriter;
use alluvium_metadata::model::TopicRecord;
use alluvium_metadata::session::Session;
use alluvium_metadata::store::MetadataStore;
use alluvium_metadata::topic_config::TopicSettings;
use alluvium_metadata::view::{ClusterView, Picture, Placed};
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::error;

pub use duties::{Me, partitions_of};
pub use opener::add_manifests;
pub use shelf::Shelf;

use crate::topic_service::PartitionHost;
use durability::{WalNames, WalStep, wal_step};
use duties::{Duties, duties};
use hand_over::HandOver;
use opener::Opener;

/// Pause before what did not succeed is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// How long those who change a topic wait for its partitions to follow. They follow all the same when it takes longer:
/// then clients learn of it from the partitions' own answers.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// The brokers that led partitions before this one.
pub trait FormerLeaders: Send + Sync {
    /// What `former` knew of partitions when it handed them over; of those that it does not remember, nothing.
    fn ask(&self, former: BrokerId, tps: Vec<TopicPartition>) -> BoxFuture<'_, Vec<HandedIndex>>;
}

/// What the partitions of a broker work with.
pub struct PartitionSeams {
    /// This broker in its session.
    pub me: Me,
    /// That session.
    pub session: Arc<Session>,
    /// The picture of the cluster.
    pub view: Arc<ClusterView>,
    /// The write path.
    pub pipeline: Arc<Pipeline>,
    /// The logs that readers find.
    pub logs: Arc<Logs>,
    /// Memory of the tails.
    pub tail_budget: Arc<TailBudget>,
    /// Where records and commit logs are.
    pub store: Arc<dyn MetadataStore>,
    /// Their keys.
    pub keys: Keys,
    /// Where segments are.
    pub objects: Arc<dyn ObjectStore>,
    /// What is published.
    pub manifests: Arc<Manifests>,
    /// Broker-wide settings of topics.
    pub defaults: BTreeMap<String, String>,
    /// Who may spare this broker the reading of footers; `None` where there are no others.
    pub former: Option<Arc<dyn FormerLeaders>>,
    /// Where what others may want to know is left for them.
    pub shelf: Arc<Shelf>,
}

/// Follows the picture.
pub struct LeaderPartitions {
    me: Me,
    view: Arc<ClusterView>,
    pipeline: Arc<Pipeline>,
    logs: Arc<Logs>,
    defaults: BTreeMap<String, String>,
    opener: Arc<Opener>,
    hand_over: Arc<HandOver>,
    wal_names: Arc<WalNames>,
    /// Partitions that something is being done with.
    busy: Mutex<HashSet<TopicPartition>>,
    /// What the last round saw.
    seen: Mutex<Arc<Picture>>,
    /// Who was seen leading what is to be opened here. Records name only those who wrote something.
    former: Mutex<HashMap<TopicPartition, BrokerId>>,
    /// Partitions that were reported as locked.
    locked: Mutex<HashSet<TopicPartition>>,
    /// Counts rounds.
    rounds: watch::Sender<u64>,
}

/// Each ends with the partitions that it was about.
type Tasks = JoinSet<Vec<TopicPartition>>;

impl LeaderPartitions {
    /// Follows nothing yet: see [`Self::follow`].
    pub fn new(with: PartitionSeams) -> Arc<Self> {
        let writer = PartitionWriter::new(Arc::clone(&with.store), with.keys.clone());
        let opener = Opener {
            me: with.me,
            session: Arc::clone(&with.session),
            pipeline: Arc::clone(&with.pipeline),
            commits: MetadataCommits {
                store: with.store,
                keys: with.keys,
            },
            objects: with.objects,
            manifests: with.manifests,
            view: Arc::clone(&with.view),
            writer: writer.clone(),
            tail_budget: with.tail_budget,
            former: with.former,
        };
        let hand_over = HandOver {
            me: with.me,
            session: Arc::clone(&with.session),
            pipeline: Arc::clone(&with.pipeline),
            view: Arc::clone(&with.view),
            writer: writer.clone(),
            shelf: with.shelf,
        };
        let wal_names = WalNames {
            me: with.me,
            session: with.session,
            pipeline: Arc::clone(&with.pipeline),
            view: Arc::clone(&with.view),
            writer,
        };
        Arc::new(Self {
            me: with.me,
            view: with.view,
            pipeline: with.pipeline,
            logs: with.logs,
            defaults: with.defaults,
            opener: Arc::new(opener),
            hand_over: Arc::new(hand_over),
            wal_names: Arc::new(wal_names),
            busy: Mutex::default(),
            seen: Mutex::default(),
            former: Mutex::default(),
            locked: Mutex::default(),
            rounds: watch::Sender::new(0),
        })
    }

    /// The task. Ends with the session.
    pub async fn follow(self: Arc<Self>) {
        let mut changes = self.view.changes();
        let mut tasks = Tasks::new();
        loop {
            changes.mark_unchanged();
            self.round(&mut tasks);
            self.rounds.send_modify(|rounds| *rounds += 1);
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return;
                },
                Some(ended) = tasks.join_next() => self.ended(ended),
                () = self.pipeline.stopped() => return,
            }
        }
    }

    fn ended(&self, ended: Result<Vec<TopicPartition>, tokio::task::JoinError>) {
        match ended {
            Ok(tps) => {
                let mut busy = self.busy.lock();
                tps.iter().for_each(|tp| {
                    busy.remove(tp);
                });
            }
            // Its partitions stay busy, and closed: nobody knows how far it came.
            Err(panic) => error!(%panic, "opening or closing partitions failed"),
        }
    }

    fn round(&self, tasks: &mut Tasks) {
        let picture = self.view.picture();
        let led: HashSet<_> = self.pipeline.led().into_iter().collect();
        let mut duties = duties(&picture, &self.me, &led);
        self.leave_out_busy(&mut duties);
        for (tp, reason) in &duties.close {
            self.pipeline.close_partition(tp, *reason);
        }
        self.note_former(&picture, &duties.open);
        self.report_locked(&duties.locked);
        self.apply_settings(&picture, tasks);
        self.start_opening(&picture, duties.open, tasks);
        self.start_hand_over(duties.hand_over, tasks);
    }

    fn leave_out_busy(&self, duties: &mut Duties) {
        let busy = self.busy.lock();
        duties.open.retain(|tp| !busy.contains(tp));
        duties.hand_over.retain(|(tp, _)| !busy.contains(tp));
        duties.close.retain(|(tp, _)| !busy.contains(tp));
    }

    /// Remembers the last leaders of what is to be opened until it is.
    fn note_former(&self, picture: &Arc<Picture>, open: &[TopicPartition]) {
        let before = std::mem::replace(&mut *self.seen.lock(), Arc::clone(picture));
        let wanted: HashSet<_> = open.iter().chain(&*self.busy.lock()).copied().collect();
        let mut former = self.former.lock();
        former.retain(|tp, _| wanted.contains(tp));
        for tp in open {
            let leader = before
                .partitions
                .get(*tp)
                .map(|placed| placed.record.leader);
            if let Some(leader) = leader.filter(|leader| *leader != self.me.broker_id) {
                former.insert(*tp, leader);
            }
        }
    }

    /// What the last round saw.
    #[cfg(test)]
    pub(crate) fn seen(&self) -> Arc<Picture> {
        Arc::clone(&self.seen.lock())
    }

    fn report_locked(&self, locked: &[TopicPartition]) {
        let mut reported = self.locked.lock();
        let now: HashSet<_> = locked.iter().copied().collect();
        let new = now.difference(&reported).count();
        if new > 0 {
            error!(
                partitions = new,
                "partitions are placed here whose last records are in the write-ahead log of another data folder: start \
                 this broker with that folder, or, to lose those records, elect a leader uncleanly (ElectLeaders)"
            );
        }
        *reported = now;
    }

    fn start_opening(&self, picture: &Picture, tps: Vec<TopicPartition>, tasks: &mut Tasks) {
        if tps.is_empty() {
            return;
        }
        let led = opener::led(picture, &tps, |tp| self.rules(picture, tp.topic_id));
        let former = self.former.lock().clone();
        let opener = Arc::clone(&self.opener);
        self.start(tasks, tps, async move {
            if !opener.open(led, former).await {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        });
    }

    fn start_hand_over(&self, moves: Vec<(TopicPartition, BrokerId)>, tasks: &mut Tasks) {
        if moves.is_empty() {
            return;
        }
        let tps = moves.iter().map(|(tp, _)| *tp).collect();
        let hand_over = Arc::clone(&self.hand_over);
        self.start(tasks, tps, async move { hand_over.run(moves).await });
    }

    fn start(
        &self,
        tasks: &mut Tasks,
        tps: Vec<TopicPartition>,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        self.busy.lock().extend(&tps);
        tasks.spawn(async move {
            work.await;
            tps
        });
    }

    fn rules(&self, picture: &Picture, topic_id: TopicId) -> Option<TopicRules> {
        let topic = picture.topics.with_id(topic_id)?;
        Some(self.rules_of(topic))
    }

    fn rules_of(&self, topic: &TopicRecord) -> TopicRules {
        TopicRules::from(&TopicSettings::parse(&topic.configs, &self.defaults))
    }

    /// Settings and log start offsets, of what is open here.
    fn apply_settings(&self, picture: &Picture, tasks: &mut Tasks) {
        let (mut name, mut forget) = (Vec::new(), Vec::new());
        for topic in picture.topics.all() {
            let rules = self.rules_of(topic);
            let placed = picture.partitions.of(topic.topic_id);
            for (tp, placed) in placed.filter(|(_, placed)| self.me.leads(placed)) {
                let step = match self.busy.lock().contains(&tp) {
                    true => continue,
                    false => self.apply_to(tp, placed, &rules),
                };
                match step {
                    WalStep::None => {}
                    WalStep::Name => name.push((tp, Arc::clone(placed))),
                    WalStep::Forget => forget.push((tp, Arc::clone(placed))),
                }
            }
        }
        let names = Arc::clone(&self.wal_names);
        self.start_naming(
            tasks,
            name,
            |placed| async move { names.name(placed).await },
        );
        let names = Arc::clone(&self.wal_names);
        self.start_naming(
            tasks,
            forget,
            |placed| async move { names.forget(placed).await },
        );
    }

    fn start_naming<F: Future<Output = ()> + Send + 'static>(
        &self,
        tasks: &mut Tasks,
        placed: Vec<(TopicPartition, Arc<Placed>)>,
        work: impl FnOnce(Vec<(TopicPartition, Arc<Placed>)>) -> F,
    ) {
        if placed.is_empty() {
            return;
        }
        let tps = placed.iter().map(|(tp, _)| *tp).collect();
        self.start(tasks, tps, work(placed));
    }

    fn apply_to(&self, tp: TopicPartition, placed: &Placed, rules: &TopicRules) -> WalStep {
        let Some(partition) = self.pipeline.partition(&tp) else {
            return WalStep::None;
        };
        self.set_log_start(tp, placed.record.log_start);
        let step = wal_step(placed, rules);
        if step != WalStep::Name && *partition.rules() != *rules {
            partition.set_rules(rules.clone());
        }
        step
    }

    /// Whether the partitions of the topic are where the picture wants them, as far as this broker can see.
    fn is_settled(&self, topic_id: TopicId) -> bool {
        let picture = self.view.picture();
        let Some(topic) = picture.topics.with_id(topic_id) else {
            return !self.pipeline.led().iter().any(|tp| tp.topic_id == topic_id);
        };
        let rules = self.rules_of(topic);
        partitions_of(&picture, topic).all(|(tp, placed)| {
            let serving = placed.serving(&picture.brokers);
            match serving {
                Some((broker_id, _)) if broker_id == self.me.broker_id => self
                    .pipeline
                    .partition(&tp)
                    .is_some_and(|partition| *partition.rules() == rules),
                Some(_) => true,
                None => false,
            }
        })
    }
}

impl PartitionHost for LeaderPartitions {
    fn settle(&self, topic_id: TopicId) -> BoxFuture<'_, ()> {
        async move {
            let mut rounds = self.rounds.subscribe();
            let settled = rounds.wait_for(|_| self.is_settled(topic_id));
            // What takes longer goes on without anybody waiting.
            let _patience = tokio::time::timeout(SETTLE_TIME, settled).await;
        }
        .boxed()
    }

    fn set_log_start(&self, tp: TopicPartition, to: Offset) {
        if let Some(log) = self.logs.get(&tp) {
            log.set_log_start(to);
        }
    }
}
