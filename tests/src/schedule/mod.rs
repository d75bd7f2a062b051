//! Random fault schedules from a seed.
//!
//! A schedule is a list of bursts with quiet windows between them: in a burst up to so many faults happen to different
//! things at overlapping times. It is made before anything runs and depends on the seed and the [`Shape`] only, so that
//! a seed that is printed can be run again.

mod shape;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

pub use self::shape::{Kind, Shape};
use crate::cluster::{Cluster, Fault};

/// Pause between two looks at processes that may have ended by themselves.
const SUPERVISE_EVERY: Duration = Duration::from_millis(100);

/// A fault with its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When it begins, after the start.
    pub at: Duration,
    /// How long it lasts.
    pub lasting: Duration,
    /// What.
    pub fault: Fault,
}

impl Event {
    /// When it is over, after the start.
    pub fn over_at(&self) -> Duration {
        self.at + self.lasting
    }
}

/// What goes wrong when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// What it was made from; 0 for one that was written by hand.
    pub seed: u64,
    /// By beginning.
    pub events: Vec<Event>,
}

impl Schedule {
    /// A schedule made by hand.
    pub fn of(events: Vec<Event>) -> Self {
        let mut events = events;
        events.sort_by_key(|event| event.at);
        Self { seed: 0, events }
    }

    /// When all is over.
    pub fn length(&self) -> Duration {
        let ends = self.events.iter().map(Event::over_at);
        ends.max().unwrap_or_default()
    }

    /// Makes it happen.
    pub async fn run(&self, cluster: &mut Cluster) {
        let start = Instant::now();
        for (when, step) in self.steps() {
            wait(cluster, start + when).await;
            match step {
                Step::Begin(fault) => cluster.begin(fault).await,
                Step::End(fault) => cluster.end(fault).await,
            }
        }
    }

    /// Beginnings and ends, by time; at one time ends come first.
    fn steps(&self) -> Vec<(Duration, Step)> {
        let begins = self.events.iter();
        let begins = begins.map(|event| (event.at, Step::Begin(event.fault)));
        let ends = self.events.iter();
        let ends = ends.map(|event| (event.over_at(), Step::End(event.fault)));
        let mut steps: Vec<_> = ends.chain(begins).collect();
        steps.sort_by_key(|(when, _)| *when);
        steps
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Begin(Fault),
    End(Fault),
}

/// Waits until `when`, and keeps processes running meanwhile.
async fn wait(cluster: &mut Cluster, when: Instant) {
    loop {
        cluster.supervise();
        let now = Instant::now();
        if now >= when {
            return;
        }
        sleep_until(when.min(now + SUPERVISE_EVERY)).await;
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, event) in self.events.iter().enumerate() {
            if number > 0 {
                f.write_str(", ")?;
            }
            let (at, lasting) = (event.at.as_secs_f64(), event.lasting.as_secs_f64());
            write!(f, "{} at {at:.1}s for {lasting:.1}s", event.fault)?;
        }
        Ok(())
    }
}
