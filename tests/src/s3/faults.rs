//! What the server does wrong on purpose, and how slow it is. Changeable while it runs.

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::rand::{Random, SeededRandom};
use parking_lot::Mutex;

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum S3Fault {
    /// Refused with this status and error code; nothing happens.
    Refuse {
        /// HTTP status.
        status: u16,
        /// S3 error code.
        code: &'static str,
    },
    /// It happens, and then the connection closes without an answer.
    LoseReply,
    /// The answer's body breaks off after this many bytes.
    CutBody(usize),
    /// No answer, connection left open.
    Hang,
}

impl S3Fault {
    /// 503 with the code by which S3 asks for fewer requests.
    pub const SLOW_DOWN: Self = Self::Refuse {
        status: 503,
        code: "SlowDown",
    };
    /// 500.
    pub const INTERNAL_ERROR: Self = Self::Refuse {
        status: 500,
        code: "InternalError",
    };
    /// 403.
    pub const ACCESS_DENIED: Self = Self::Refuse {
        status: 403,
        code: "AccessDenied",
    };
}

/// When something goes wrong.
#[derive(Debug, Clone)]
pub struct S3FaultRule {
    /// S3's name of the operation, such as `PutObject`; `None` is any.
    pub operation: Option<&'static str>,
    /// How often, in thousandths of the requests that match.
    pub per_mille: u32,
    /// How many times at most; `None` is without end.
    pub times: Option<u32>,
    /// What goes wrong.
    pub fault: S3Fault,
}

/// How long answers take, as a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// Half of the answers take longer.
    pub p50: Duration,
    /// One in a hundred takes longer.
    pub p99: Duration,
}

impl Latency {
    /// What PUTs to a large public bucket take.
    pub const CLOUD: Self = Self {
        p50: Duration::from_millis(60),
        p99: Duration::from_millis(220),
    };

    /// One answer's time: log-normal through both points, at most ten times p99.
    pub fn draw(&self, random: &dyn Random) -> Duration {
        // 2.3263 standard deviations is the 99th percentile of a normal distribution.
        let sigma = (self.p99.as_secs_f64() / self.p50.as_secs_f64()).ln() / 2.3263;
        let seconds = self.p50.as_secs_f64() * (sigma * normal(random)).exp();
        Duration::from_secs_f64(seconds).min(self.p99 * 10)
    }
}

/// A number from the standard normal distribution (Box and Muller).
fn normal(random: &dyn Random) -> f64 {
    let unit = || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let radius = (-2.0 * (1.0 - unit()).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit()).cos()
}

/// The server's faults.
#[derive(Debug)]
pub struct S3Faults {
    settings: Mutex<Settings>,
    random: Arc<SeededRandom>,
}

#[derive(Debug, Default)]
struct Settings {
    rules: Vec<S3FaultRule>,
    latency: Option<Latency>,
    clock_ahead_ms: i64,
}

impl S3Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            settings: Mutex::default(),
            random: SeededRandom::new(seed),
        }
    }

    /// Adds a rule after those already there; the first that applies decides.
    pub fn add(&self, rule: S3FaultRule) {
        self.settings.lock().rules.push(rule);
    }

    /// `fault` at every request of `operation`.
    pub fn always(&self, operation: &'static str, fault: S3Fault) {
        self.add(S3FaultRule {
            operation: Some(operation),
            per_mille: 1000,
            times: None,
            fault,
        });
    }

    /// `fault` at the next `times` requests of `operation`.
    pub fn next(&self, operation: &'static str, times: u32, fault: S3Fault) {
        self.add(S3FaultRule {
            operation: Some(operation),
            per_mille: 1000,
            times: Some(times),
            fault,
        });
    }

    /// `fault` at `per_mille` thousandths of all requests.
    pub fn sometimes(&self, per_mille: u32, fault: S3Fault) {
        self.add(S3FaultRule {
            operation: None,
            per_mille,
            times: None,
            fault,
        });
    }

    /// How long each answer takes from now on.
    pub fn set_latency(&self, latency: Option<Latency>) {
        self.settings.lock().latency = latency;
    }

    /// Puts the server's clock so far ahead of the real one.
    pub fn set_clock_ahead_ms(&self, ahead_ms: i64) {
        self.settings.lock().clock_ahead_ms = ahead_ms;
    }

    /// Ends all faults, slowness and skew.
    pub fn heal(&self) {
        *self.settings.lock() = Settings::default();
    }

    pub(super) fn clock_ahead_ms(&self) -> i64 {
        self.settings.lock().clock_ahead_ms
    }

    pub(super) fn delay(&self) -> Option<Duration> {
        let latency = self.settings.lock().latency?;
        Some(latency.draw(self.random.as_ref()))
    }

    pub(super) fn decide(&self, operation: &str) -> Option<S3Fault> {
        let mut settings = self.settings.lock();
        let rule = settings.rules.iter_mut().find(|rule| {
            rule.operation.is_none_or(|only| only == operation)
                && rule.times != Some(0)
                && self.random.below(1000) < u64::from(rule.per_mille)
        })?;
        if let Some(times) = &mut rule.times {
            *times -= 1;
        }
        Some(rule.fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_follow_their_percentiles() {
        let random = SeededRandom::new(1);
        let mut drawn: Vec<_> = (0..10_000)
            .map(|_| Latency::CLOUD.draw(random.as_ref()))
            .collect();
        drawn.sort();
        let near = |found: Duration, wanted: Duration| {
            let ratio = found.as_secs_f64() / wanted.as_secs_f64();
            assert!((0.85..1.15).contains(&ratio), "{found:?} for {wanted:?}");
        };
        near(drawn[5_000], Latency::CLOUD.p50);
        near(drawn[9_900], Latency::CLOUD.p99);
    }
}
