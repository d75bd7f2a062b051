//! Runs one load against one broker and says what it cost: CPU of broker and client, requests, memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::clock::{Deadline, now_ns, since};
use crate::metrics::{self, Counters};
use crate::procfs;

/// How long the broker must use almost no CPU to count as settled.
const QUIET: Duration = Duration::from_millis(250);
/// CPU-seconds within [`QUIET`] that still count as none.
const QUIET_CPU_SECONDS: f64 = 0.02;

/// The broker to drive.
#[derive(Debug, Clone)]
pub struct Target {
    /// `HOST:PORT` of its Kafka listener.
    pub bootstrap: String,
    /// Its process, if it runs on this machine: no CPU figures without.
    pub pid: Option<u32>,
    /// Its metrics page, if it has one.
    pub metrics: Option<SocketAddr>,
    /// Longest wait for the broker to come to rest after a load, which is part of the load's cost.
    pub settle_max: Duration,
}

/// What a load cost.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cost {
    /// CPU-seconds of the broker, from the start of the load until the broker was at rest again.
    pub broker_cpu_seconds: Option<f64>,
    /// CPU-seconds of this process over the same time.
    pub client_cpu_seconds: f64,
    /// Time from the start of the load until the broker was at rest again.
    pub seconds: f64,
    /// CPU-seconds of the broker's living threads, by name.
    pub broker_threads: BTreeMap<String, f64>,
    /// Largest resident memory of the broker during the load, in bytes.
    pub broker_peak_bytes: Option<u64>,
    /// What the broker's own counters added.
    pub counters: Option<Counters>,
}

impl Target {
    /// Runs `load`, waits for the broker to come to rest, and returns what `load` returned with what it cost.
    pub fn measure<T>(&self, load: impl FnOnce() -> Result<T>) -> Result<(T, Cost)> {
        let before = self.sample()?;
        let started = now_ns();
        let result = load()?;
        self.settle()?;
        // Before the next sample begins a new peak.
        let peak = self
            .pid
            .map(procfs::memory)
            .transpose()?
            .map(|memory| memory.peak);
        let after = self.sample()?;
        let cost = Cost {
            broker_cpu_seconds: self.pid.map(|_| after.broker - before.broker),
            client_cpu_seconds: after.client - before.client,
            seconds: since(started).as_secs_f64(),
            broker_threads: difference(after.threads, &before.threads),
            broker_peak_bytes: peak,
            counters: after
                .counters
                .zip(before.counters)
                .map(|(after, before)| after.since(&before)),
        };
        Ok((result, cost))
    }

    fn sample(&self) -> Result<Sample> {
        if let Some(pid) = self.pid {
            // Without it, the peak is that of the whole life, which is still a bound.
            let _ = procfs::reset_peak(pid);
        }
        Ok(Sample {
            broker: self
                .pid
                .map(procfs::cpu_seconds)
                .transpose()?
                .unwrap_or_default(),
            threads: self
                .pid
                .map(procfs::cpu_by_thread)
                .transpose()?
                .unwrap_or_default(),
            client: procfs::cpu_seconds(std::process::id())?,
            counters: self.metrics.map(metrics::read).transpose()?,
        })
    }

    /// Waits until the broker has done what the load left it to do: uploads, JIT compilation, log cleaning.
    pub fn settle(&self) -> Result<()> {
        let Some(pid) = self.pid else { return Ok(()) };
        let deadline = Deadline::after(self.settle_max);
        let mut last = procfs::cpu_seconds(pid)?;
        while !deadline.passed() {
            thread::sleep(QUIET.min(deadline.left()));
            let now = procfs::cpu_seconds(pid)?;
            if now - last < QUIET_CPU_SECONDS {
                break;
            }
            last = now;
        }
        Ok(())
    }
}

struct Sample {
    broker: f64,
    threads: BTreeMap<String, f64>,
    client: f64,
    counters: Option<Counters>,
}

fn difference(
    after: BTreeMap<String, f64>,
    before: &BTreeMap<String, f64>,
) -> BTreeMap<String, f64> {
    after
        .into_iter()
        .map(|(name, seconds)| {
            let used = seconds - before.get(&name).copied().unwrap_or_default();
            (name, used)
        })
        .filter(|(_, used)| *used > 0.0)
        .collect()
}
