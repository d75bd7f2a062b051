//! Load and faults that bring bugs to light.

use std::time::Duration;

use alluvium_tests::cluster::{BucketTrouble, Cut, Fault, Link, SESSION, Setup};
use alluvium_tests::load::LoadOptions;
use alluvium_tests::schedule::{Event, Schedule};
use alluvium_tests::trial::Trial;

/// Names how many brokers a cluster has here.
const BROKERS_VARIABLE: &str = "ALLUVIUM_TEST_BROKERS";
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
    /// The leader is frozen beyond its lease and wakes up: needs others who take over.
    Frozen,
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

fn brokers() -> usize {
    std::env::var(BROKERS_VARIABLE)
        .ok()
        .map_or(1, |text| text.parse().expect("a number of brokers"))
}

impl Plan {
    /// Nothing where there are too few brokers for it.
    pub fn trial(self) -> Option<Trial> {
        let is_possible = self != Self::Frozen || brokers() > 1;
        if !is_possible {
            eprintln!("skipped: needs several brokers ({BROKERS_VARIABLE})");
            return None;
        }
        let class = match self {
            Self::LocalKills | Self::LocalWithoutBucket => "local",
            _ => "object",
        };
        Some(Trial {
            name: "",
            setup: self.setup(),
            load: LoadOptions {
                patience: PATIENCE,
                in_flight: 5,
                pace: ms(2),
                ..LoadOptions::of(class, 1)
            },
            schedule: Schedule::of(self.events()),
        })
    }

    fn setup(self) -> Setup {
        let setup = Setup::new(brokers());
        match self {
            // Nothing is uploaded by time, and files are given back soon.
            Self::LocalWithoutBucket => setup
                .set("wal.file.bytes", 64 << 10)
                .set("segment.upload.ms", 200),
            Self::UnevenBucket => setup.set("segment.upload.waiting.ms", 5),
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
            Self::Frozen => {
                let long = u64::try_from(SESSION.as_millis()).expect("short") * 2;
                vec![
                    event(100, 2 * long, Fault::Bucket(Slow)),
                    event(500, long, Fault::Freeze(1)),
                    event(1_000 + long, long, Fault::Freeze(2)),
                ]
            }
        }
    }
}
