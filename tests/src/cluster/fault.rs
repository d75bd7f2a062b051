//! What goes wrong in a cluster, as data.

use std::fmt;
use std::time::Duration;

use super::node::Link;
use super::{Cluster, SESSION};
use crate::proxy;
use crate::s3::{Latency, S3Fault};

/// In thousandths of the bucket's requests that meet a fault.
const BUCKET_FAULTS_PER_MILLE: u32 = 300;
/// What a slow link adds in each direction.
const SLOW: Duration = Duration::from_millis(150);

/// After how long requests arrive that are too late.
const LATE: Duration = SESSION.saturating_mul(2);

/// How a link fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Connections break.
    Reset,
    /// Everything is lost in silence.
    Silence,
    /// Requests are lost, answers to earlier ones arrive.
    Requests,
    /// Requests arrive, answers are lost.
    Answers,
    /// Everything is late.
    Slow,
    /// Requests arrive when the sender's session is long over.
    Late,
}

impl Cut {
    /// Every way.
    pub const ALL: [Self; 6] = [
        Self::Reset,
        Self::Silence,
        Self::Requests,
        Self::Answers,
        Self::Slow,
        Self::Late,
    ];

    fn link(self) -> proxy::Link {
        match self {
            Self::Reset => proxy::Link::CUT,
            Self::Silence => proxy::Link::LOSE_ALL,
            Self::Requests => proxy::Link::LOSE_REQUESTS,
            Self::Answers => proxy::Link::LOSE_ANSWERS,
            Self::Slow => proxy::Link::late(SLOW),
            Self::Late => proxy::Link::late_requests(LATE),
        }
    }
}

/// How the bucket fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketTrouble {
    /// 503 SlowDown, now and then.
    SlowDown,
    /// 500, now and then.
    InternalError,
    /// 409, as for a conditional request that meets another.
    Conflict,
    /// 412, as for a conditional request that comes second.
    Precondition,
    /// It happens, and the answer is lost.
    LostReplies,
    /// 60 ms in the middle, 220 ms for one in a hundred.
    Slow,
    /// Every request is refused.
    Away,
}

impl BucketTrouble {
    /// Every way.
    pub const ALL: [Self; 7] = [
        Self::SlowDown,
        Self::InternalError,
        Self::Conflict,
        Self::Precondition,
        Self::LostReplies,
        Self::Slow,
        Self::Away,
    ];
}

/// One thing that goes wrong for a while. Brokers are named by number, from 1, and so are processes that compact only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; started again when it is over.
    Kill(usize),
    /// SIGTERM; started again when it is over.
    Stop(usize),
    /// SIGSTOP, then SIGCONT.
    Freeze(usize),
    /// SIGKILL for a process that compacts only.
    KillCompactor(usize),
    /// SIGTERM for one.
    StopCompactor(usize),
    /// SIGSTOP for one, then SIGCONT.
    FreezeCompactor(usize),
    /// A link of one fails.
    CutCompactor(usize, Link, Cut),
    /// A link of a broker fails.
    Cut(usize, Link, Cut),
    /// The disk of a broker is full.
    FullDisk(usize),
    /// A new broker comes, and stays.
    Join,
    /// The leader of etcd is killed; started again when it is over.
    EtcdLeaderKilled,
    /// The leader of etcd hangs.
    EtcdLeaderFrozen,
    /// All of etcd hangs.
    EtcdAway,
    /// The bucket fails.
    Bucket(BucketTrouble),
}

/// What a fault happens to; two faults at a time happen to different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The process of a broker.
    Process(usize),
    /// The process of a compactor, or a link of it.
    Compactor(usize),
    /// A link of a broker.
    Link(usize, Link),
    /// The disk of a broker.
    Disk(usize),
    /// The number of brokers.
    Brokers,
    /// etcd.
    Etcd,
    /// The bucket.
    Bucket,
}

impl Fault {
    /// What it happens to.
    pub fn subject(self) -> Subject {
        match self {
            Self::Kill(number) | Self::Stop(number) | Self::Freeze(number) => {
                Subject::Process(number)
            }
            Self::KillCompactor(number)
            | Self::StopCompactor(number)
            | Self::FreezeCompactor(number)
            | Self::CutCompactor(number, ..) => Subject::Compactor(number),
            Self::Cut(number, link, _) => Subject::Link(number, link),
            Self::FullDisk(number) => Subject::Disk(number),
            Self::Join => Subject::Brokers,
            Self::EtcdLeaderKilled | Self::EtcdLeaderFrozen | Self::EtcdAway => Subject::Etcd,
            Self::Bucket(_) => Subject::Bucket,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(number) => write!(f, "kill {number}"),
            Self::Stop(number) => write!(f, "stop {number}"),
            Self::Freeze(number) => write!(f, "freeze {number}"),
            Self::KillCompactor(number) => write!(f, "kill compactor {number}"),
            Self::StopCompactor(number) => write!(f, "stop compactor {number}"),
            Self::FreezeCompactor(number) => write!(f, "freeze compactor {number}"),
            Self::CutCompactor(number, link, cut) => {
                write!(f, "{link:?} of compactor {number}: {cut:?}")
            }
            Self::Cut(number, link, cut) => write!(f, "{link:?} of {number}: {cut:?}"),
            Self::FullDisk(number) => write!(f, "full disk {number}"),
            Self::Join => f.write_str("join"),
            Self::EtcdLeaderKilled => f.write_str("etcd leader killed"),
            Self::EtcdLeaderFrozen => f.write_str("etcd leader frozen"),
            Self::EtcdAway => f.write_str("etcd away"),
            Self::Bucket(trouble) => write!(f, "bucket: {trouble:?}"),
        }
    }
}

impl Cluster {
    /// Makes `fault` begin.
    pub async fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(number) => self.node(number).kill(),
            Fault::Stop(number) => self.node(number).ask_to_stop(),
            Fault::Freeze(number) => self.node(number).freeze(),
            Fault::KillCompactor(number) => self.worker(number).kill(),
            Fault::StopCompactor(number) => self.worker(number).ask_to_stop(),
            Fault::FreezeCompactor(number) => self.worker(number).freeze(),
            Fault::CutCompactor(number, link, cut) => {
                self.worker(number).set_link(link, cut.link());
            }
            Fault::Cut(number, link, cut) => self.node(number).set_link(link, cut.link()),
            Fault::FullDisk(number) => {
                // Without the right to mount there is no small disk, and nothing happens.
                self.node(number).fill_disk();
            }
            Fault::Join => self.add().await,
            Fault::EtcdLeaderKilled => {
                let leader = self.etcd.leader().await;
                self.etcd.kill(leader);
                self.stopped_member = Some(leader);
            }
            Fault::EtcdLeaderFrozen => {
                let leader = self.etcd.leader().await;
                self.etcd.freeze(leader);
            }
            Fault::EtcdAway => (0..self.etcd.len()).for_each(|member| self.etcd.freeze(member)),
            Fault::Bucket(trouble) => self.trouble(trouble),
        }
    }

    /// Makes `fault` end.
    pub async fn end(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(number) | Fault::Stop(number) => self.node(number).revive(),
            Fault::Freeze(number) => self.node(number).thaw(),
            Fault::KillCompactor(number) | Fault::StopCompactor(number) => {
                self.worker(number).revive();
            }
            Fault::FreezeCompactor(number) => self.worker(number).thaw(),
            Fault::CutCompactor(number, link, _) => {
                self.worker(number).set_link(link, proxy::Link::PASS);
            }
            Fault::Cut(number, link, _) => self.node(number).set_link(link, proxy::Link::PASS),
            Fault::FullDisk(number) => self.node(number).free_disk(),
            Fault::Join => {}
            Fault::EtcdLeaderKilled | Fault::EtcdLeaderFrozen | Fault::EtcdAway => {
                self.heal_etcd().await;
            }
            Fault::Bucket(_) => self.s3.faults().heal(),
        }
    }

    pub(super) async fn heal_etcd(&mut self) {
        if let Some(member) = self.stopped_member.take() {
            self.etcd.spawn(member);
        }
        (0..self.etcd.len()).for_each(|member| self.etcd.thaw(member));
    }

    fn trouble(&self, trouble: BucketTrouble) {
        let refuse = |status, code| S3Fault::Refuse { status, code };
        let faults = self.s3.faults();
        let (per_mille, fault) = match trouble {
            BucketTrouble::SlowDown => (BUCKET_FAULTS_PER_MILLE, S3Fault::SLOW_DOWN),
            BucketTrouble::InternalError => (BUCKET_FAULTS_PER_MILLE, S3Fault::INTERNAL_ERROR),
            BucketTrouble::Conflict => {
                let conflict = refuse(409, "ConditionalRequestConflict");
                (BUCKET_FAULTS_PER_MILLE, conflict)
            }
            BucketTrouble::Precondition => {
                let precondition = refuse(412, "PreconditionFailed");
                (BUCKET_FAULTS_PER_MILLE, precondition)
            }
            BucketTrouble::LostReplies => (BUCKET_FAULTS_PER_MILLE, S3Fault::LoseReply),
            BucketTrouble::Away => (1_000, S3Fault::SLOW_DOWN),
            BucketTrouble::Slow => return faults.set_latency(Some(Latency::CLOUD)),
        };
        match trouble {
            // Reads are never refused so; only a conditional create is.
            BucketTrouble::Conflict | BucketTrouble::Precondition => {
                faults.add(crate::s3::S3FaultRule {
                    operation: Some("PutObject"),
                    per_mille,
                    times: None,
                    fault,
                });
            }
            _ => faults.sometimes(per_mille, fault),
        }
    }
}
