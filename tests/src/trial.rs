//! A cluster under load and faults, from its start to the verdict.
//!
//! ```text
//! start -> load -> schedule -> heal -> everything succeeds again -> drain -> final reads -> history judged
//!       -> brokers stopped -> bucket and etcd audited
//! ```

use std::fmt;
use std::time::Duration;

use alluvium_common::rand::{Random, SystemRandom};

use crate::cluster::{Cluster, Setup};
use crate::history::stored::check_stored;
use crate::history::{Recorder, Report, check};
use crate::load::{Load, LoadOptions};
use crate::schedule::Schedule;

/// How many schedules a test runs.
const ROUNDS_VARIABLE: &str = "ALLUVIUM_TEST_ROUNDS";
/// The seed of the one schedule that is to be run again.
const SEED_VARIABLE: &str = "ALLUVIUM_TEST_SEED";
/// Things that succeed before the first fault: the load is under way then.
const WARM_UP: u64 = 100;

/// What is tried.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Told in the line.
    pub name: &'static str,
    /// The cluster.
    pub setup: Setup,
    /// Its load.
    pub load: LoadOptions,
    /// Its faults.
    pub schedule: Schedule,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Of which trial.
    pub name: &'static str,
    /// Of which schedule.
    pub schedule: Schedule,
    /// What the checker says.
    pub report: Report,
    /// The longest time in which a partition acknowledged nothing.
    pub longest_gap: Duration,
    /// Processes that ended by themselves.
    pub ended_by_themselves: usize,
    /// Offsets that were published, of all partitions that were left.
    pub published: i64,
}

impl Trial {
    /// Runs it to the end.
    pub async fn run(self) -> Outcome {
        let recorder = Recorder::default();
        let (with_bugs, publishing) = (self.setup.with_bugs, self.setup.publishing);
        let mut cluster = self.setup.start().await;
        let load = Load::start(&cluster, &self.load, &recorder).await;
        load.progress(WARM_UP).await;
        self.schedule.run(&mut cluster).await;
        cluster.heal().await;
        load.know(&cluster);
        load.recover(|| cluster.supervise()).await;
        let published = !publishing || cluster.publishes(self.load.patience).await;
        let topics = load.topics().to_vec();
        let longest_gap = load.gaps().longest("produce ");
        load.finish().await;
        Load::read_all(&topics, &cluster, self.load.patience, &recorder).await;
        let mut report = check(&recorder.take());
        if !published {
            report.add("I22", "nothing is published after the faults".to_owned());
        }
        let published = audit(&mut cluster, &mut report).await;
        if !report.is_clean() && !with_bugs {
            keep_logs(&cluster, self.schedule.seed);
        }
        Outcome {
            name: self.name,
            schedule: self.schedule,
            report,
            longest_gap,
            ended_by_themselves: cluster.ended_by_themselves(),
            published,
        }
    }
}

/// Writes what the processes have logged where it outlives the test, and says where.
fn keep_logs(cluster: &Cluster, seed: u64) {
    for node in cluster.nodes().iter().chain(cluster.workers()) {
        let name = node.name();
        let file = format!("alluvium-trial-{seed}-{}.log", name.replace(' ', "-"));
        let path = std::env::temp_dir().join(file);
        match std::fs::write(&path, node.broker().log().text()) {
            Ok(()) => println!("log of {name}: {}", path.display()),
            Err(error) => println!("{} cannot be written: {error}", path.display()),
        }
    }
}

/// What is left when all processes have stopped. How many offsets of it are published.
pub async fn audit(cluster: &mut Cluster, report: &mut Report) -> i64 {
    for bad in cluster.terminate().await {
        report.add("I22", bad);
    }
    let stored = cluster.stored().await;
    check_stored(&stored, report);
    if let Err(found) = cluster.verify().await {
        report.add("I19", format!("the audit found:\n{found}"));
    }
    let partitions = stored.partitions.iter();
    partitions.map(|partition| partition.published_end).sum()
}

impl Outcome {
    /// Tells it in a line, and fails if anything is wrong.
    pub fn assert_clean(&self) {
        println!("{self}");
        self.report.assert_clean();
        assert!(self.report.acknowledged > 0, "nothing happened");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: seed {}: {}: {}, published {}, longest gap {:.1?}, ended by themselves {}",
            self.name,
            self.schedule.seed,
            self.schedule,
            self.report,
            self.published,
            self.longest_gap,
            self.ended_by_themselves
        )
    }
}

/// Whether a long run was asked for, by saying how many rounds.
pub fn is_soak() -> bool {
    number(ROUNDS_VARIABLE).is_some()
}

/// Seeds of the schedules of this run: so many, or the one that is to be run again. Each is told before it is used.
pub fn seeds(rounds_default: usize) -> Vec<u64> {
    if let Some(seed) = number(SEED_VARIABLE) {
        return vec![seed];
    }
    let rounds = number(ROUNDS_VARIABLE).unwrap_or(rounds_default as u64);
    (0..rounds)
        .map(|_| SystemRandom.below(u64::from(u32::MAX)))
        .collect()
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}
