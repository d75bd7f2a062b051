//! Load and faults that bring bugs to light.

use std::time::Duration;

use alluvium_tests::cluster::{BucketTrouble, Cut, Fault, Link, SESSION, Setup};
use alluvium_tests::load::LoadOptions;
use alluvium_tests::schedule::{Event, Schedule};
use alluvium_tests::trial::Trial;

/// Enough for others to take over while one fails.
const SEVERAL: usize = 3;
/// A phase that takes longer does not end: a bug got it stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// A plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Topics `object`, a bucket that is slow, and kills.
    ObjectKills,
    /// Topics `local` whose log is uploaded often, and kills.
    LocalKills,
    /// Topics `local` beside a bucket that is away, little files of the write-ahead log, and kills.
    LocalWithoutBucket,
    /// Answers to clients are lost, then the broker dies.
    LostAnswersAndKills,
    /// The bucket is away, connections of clients break, then the broker dies.
    RetriesWithoutBucket,
    /// The bucket is now quick, now slow, and many uploads overtake each other; and kills.
    UnevenBucket,
    /// etcd is slow, and kills.
    SlowEtcdAndKills,
    /// Requests to etcd are lost.
    LostCommits,
    /// Several brokers, each in turn cut off from etcd for longer than its session.
    CutOff,
    /// Several brokers, whose requests to etcd in turn arrive when their sessions are over.
    LateEtcd,
    /// Several brokers, each in turn cut off from the others.
    CutPeers,
    /// Several brokers, each in turn stopped in good order and started again.
    Stops,
    /// Several brokers, topics `local` whose log is seldom uploaded, and kills that outlast a session.
    LongKills,
    /// Records are published within a second and their segments deleted, while brokers die for longer than a session.
    PublishingAndLongKills,
    /// The same with one broker, whose answers to clients are lost before it dies.
    PublishingAndLostAnswers,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn event(at: u64, lasting: u64, fault: Fault) -> Event {
    let (at, lasting) = (ms(at), ms(lasting));
    Event { at, lasting, fault }
}

fn kills(at: &[u64]) -> Vec<Event> {
    at.iter()
        .map(|at| event(*at, 200, Fault::Kill(1)))
        .collect()
}

/// The same happens to each broker, one after the other.
fn in_turn(first: u64, every: u64, lasting: u64, fault: impl Fn(usize) -> Fault) -> Vec<Event> {
    let turns = (1..=SEVERAL).zip((0..).map(|turn| first + turn * every));
    turns
        .map(|(broker, at)| event(at, lasting, fault(broker)))
        .collect()
}

/// Milliseconds.
fn session() -> u64 {
    u64::try_from(SESSION.as_millis()).expect("short")
}

impl Plan {
    /// Every plan.
    pub const ALL: [Self; 15] = [
        Self::ObjectKills,
        Self::LocalKills,
        Self::LocalWithoutBucket,
        Self::LostAnswersAndKills,
        Self::RetriesWithoutBucket,
        Self::UnevenBucket,
        Self::SlowEtcdAndKills,
        Self::LostCommits,
        Self::CutOff,
        Self::LateEtcd,
        Self::CutPeers,
        Self::Stops,
        Self::LongKills,
        Self::PublishingAndLongKills,
        Self::PublishingAndLostAnswers,
    ];

    /// What is run.
    pub fn trial(self) -> Trial {
        let class = match self {
            Self::LocalKills | Self::LocalWithoutBucket | Self::LongKills => "local",
            _ => "object",
        };
        Trial {
            name: "",
            setup: self.setup(),
            load: LoadOptions {
                patience: PATIENCE,
                in_flight: 5,
                // So many that some move with whoever comes and goes.
                groups: if self == Self::Stops { 6 } else { 1 },
                pace: ms(2),
                ..LoadOptions::of(class, 1)
            },
            schedule: Schedule::of(self.events()),
        }
    }

    /// One, where only a restart is wanted: then it is known who is killed.
    fn brokers(self) -> usize {
        match self {
            Self::CutOff | Self::LateEtcd | Self::CutPeers | Self::Stops | Self::LongKills => {
                SEVERAL
            }
            Self::PublishingAndLongKills => SEVERAL,
            _ => 1,
        }
    }

    fn setup(self) -> Setup {
        let setup = Setup::new(self.brokers());
        match self {
            // Nothing is uploaded by time, and files are given back soon.
            Self::LocalWithoutBucket => setup
                .set("wal.file.bytes", 64 << 10)
                .set("segment.upload.ms", 200),
            Self::LongKills => setup.set("segment.upload.ms", 3_000),
            Self::UnevenBucket => setup.set("segment.upload.waiting.ms", 5),
            Self::PublishingAndLongKills | Self::PublishingAndLostAnswers => setup.publishing(),
            _ => setup,
        }
    }

    fn events(self) -> Vec<Event> {
        use BucketTrouble::{Away, Slow};
        let with = |mut events: Vec<Event>, more: Vec<Event>| {
            events.extend(more);
            events
        };
        match self {
            Self::ObjectKills | Self::UnevenBucket => with(
                vec![event(100, 7_000, Fault::Bucket(Slow))],
                kills(&[1_500, 4_000, 6_500]),
            ),
            Self::LocalKills => kills(&[600, 1_500, 2_400, 3_300, 4_200]),
            Self::LocalWithoutBucket => with(
                vec![event(100, 5_000, Fault::Bucket(Away))],
                kills(&[2_000, 4_500]),
            ),
            Self::LostAnswersAndKills => {
                let lost = |at| event(at, 900, Fault::Cut(1, Link::Clients, Cut::Answers));
                with(
                    vec![lost(500), lost(2_500), lost(4_500)],
                    kills(&[900, 2_900, 4_900]),
                )
            }
            // Long enough for what was answered in vain to be published before the broker dies.
            Self::PublishingAndLostAnswers => {
                let lost = |at| event(at, 4_500, Fault::Cut(1, Link::Clients, Cut::Answers));
                with(vec![lost(500), lost(7_500)], kills(&[4_800, 11_800]))
            }
            Self::RetriesWithoutBucket => {
                let broken = |at| event(at, 100, Fault::Cut(1, Link::Clients, Cut::Reset));
                with(
                    vec![
                        event(300, 5_000, Fault::Bucket(Away)),
                        broken(800),
                        broken(1_600),
                    ],
                    kills(&[2_500]),
                )
            }
            Self::SlowEtcdAndKills => with(
                vec![event(300, 9_000, Fault::Cut(1, Link::Etcd, Cut::Slow))],
                kills(&[2_500, 6_000]),
            ),
            Self::LostCommits => {
                let lost = |at| event(at, 1_200, Fault::Cut(1, Link::Etcd, Cut::Requests));
                with(vec![lost(500), lost(2_500)], kills(&[4_000]))
            }
            Self::CutOff => {
                let cut = |broker| Fault::Cut(broker, Link::Etcd, Cut::Silence);
                in_turn(500, 2 * session() + 1_000, 2 * session(), cut)
            }
            Self::LateEtcd => {
                let late = |broker| Fault::Cut(broker, Link::Etcd, Cut::Late);
                in_turn(500, 4 * session(), session() * 3 / 2, late)
            }
            Self::CutPeers => {
                let cut = |broker| Fault::Cut(broker, Link::Peers, Cut::Silence);
                in_turn(500, session(), session(), cut)
            }
            Self::Stops => with(
                vec![event(100, 20_000, Fault::Bucket(Slow))],
                // Long enough for partitions and groups to be given back to who was started again.
                in_turn(500, 7_000, 1_000, Fault::Stop),
            ),
            Self::LongKills => in_turn(1_500, 3 * session(), 2 * session(), Fault::Kill),
            Self::PublishingAndLongKills => {
                in_turn(2_500, 3 * session(), session() * 3 / 2, Fault::Kill)
            }
        }
    }
}
