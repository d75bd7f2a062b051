//! Which loads are run, and for how long.

use std::time::Duration;

use crate::client::open_loop::OpenLoopSpec;
use crate::client::produce::{ProduceBound, ProduceSpec};
use crate::payload::PayloadKind;

/// Partitions of every topic of a run.
pub const PARTITIONS: i32 = 6;
/// Bytes a single produce run may write, so that a fast disk is not filled.
const RUN_BYTES_MAX: u64 = 4 << 30;

/// How long everything takes.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Load that is thrown away before a system's first figure (the JVM compiles its hot paths meanwhile).
    pub system_warm_up: Duration,
    /// Load that is thrown away before each produce scenario.
    pub run_warm_up: Duration,
    /// One produce run.
    pub run: Duration,
    /// Runs whose median is reported.
    pub runs: usize,
    /// An open-loop run, and how much of its beginning does not count.
    pub latency: Duration,
    /// See `latency`.
    pub latency_discard: Duration,
    /// A tail-fetch run; there are two per round, with and without consumers.
    pub tail: Duration,
    /// Bytes of the topic that is read from its beginning.
    pub catch_up_bytes: u64,
    /// Partitions created to see what an idle one costs; 0 leaves that out.
    pub idle_partitions: i32,
    /// Longest wait for a broker to come to rest after a load.
    pub settle_max: Duration,
    /// Whether scenarios that add little are run too.
    pub all: bool,
}

impl Scale {
    /// About two minutes for a system.
    pub fn quick() -> Self {
        Self {
            system_warm_up: Duration::from_secs(4),
            run_warm_up: Duration::from_millis(500),
            run: Duration::from_millis(1500),
            runs: 3,
            latency: Duration::from_secs(6),
            latency_discard: Duration::from_secs(2),
            tail: Duration::from_secs(4),
            catch_up_bytes: 512 << 20,
            idle_partitions: 0,
            settle_max: Duration::from_secs(3),
            all: false,
        }
    }

    /// About five minutes for a system.
    pub fn full() -> Self {
        Self {
            system_warm_up: Duration::from_secs(15),
            run_warm_up: Duration::from_secs(1),
            run: Duration::from_secs(4),
            runs: 5,
            latency: Duration::from_secs(15),
            latency_discard: Duration::from_secs(4),
            tail: Duration::from_secs(8),
            catch_up_bytes: 2 << 30,
            idle_partitions: 1000,
            settle_max: Duration::from_secs(12),
            all: true,
        }
    }

    /// The bound of one measured produce run.
    pub fn run_bound(&self) -> ProduceBound {
        bound(self.run)
    }

    /// The bound of the run thrown away before it.
    pub fn warm_up_bound(&self) -> ProduceBound {
        bound(self.run_warm_up)
    }

    /// The bound of the load thrown away before a system's first figure.
    pub fn system_warm_up_bound(&self) -> ProduceBound {
        bound(self.system_warm_up)
    }
}

fn bound(time: Duration) -> ProduceBound {
    ProduceBound {
        time,
        bytes: RUN_BYTES_MAX,
    }
}

/// A load under its name.
#[derive(Debug, Clone)]
pub struct Named<T> {
    /// Its key in tables, files and on the command line.
    pub name: &'static str,
    /// The load.
    pub spec: T,
    /// Whether it is also run in the second variant (`flush.messages=1`, `object`).
    pub second: bool,
    /// Whether a quick run has it.
    pub quick: bool,
}

/// The produce loads.
pub fn produce() -> Vec<Named<ProduceSpec>> {
    let base = ProduceSpec {
        record_bytes: 1024,
        payload: PayloadKind::Random,
        compression: "none",
        producers: 2,
        partitions: PARTITIONS,
        idempotent: false,
    };
    let json = ProduceSpec {
        payload: PayloadKind::Json,
        ..base.clone()
    };
    vec![
        Named {
            name: "produce-1k",
            spec: base.clone(),
            second: true,
            quick: true,
        },
        Named {
            name: "produce-1k-json",
            spec: json.clone(),
            second: false,
            quick: true,
        },
        Named {
            name: "produce-100",
            spec: ProduceSpec {
                record_bytes: 100,
                ..json.clone()
            },
            second: false,
            quick: true,
        },
        Named {
            name: "produce-1k-lz4",
            spec: ProduceSpec {
                compression: "lz4",
                ..json
            },
            second: false,
            quick: true,
        },
        Named {
            name: "produce-1k-idempotent",
            spec: ProduceSpec {
                idempotent: true,
                ..base
            },
            second: false,
            quick: false,
        },
    ]
}

/// The open-loop loads whose latency is reported.
pub fn latency(scale: &Scale) -> Vec<Named<OpenLoopSpec>> {
    let base = OpenLoopSpec {
        record_bytes: 1024,
        payload: PayloadKind::Json,
        rate: 10_000,
        linger_ms: "1",
        partitions: PARTITIONS,
        consumers: 1,
        time: scale.latency,
        discard: scale.latency_discard,
    };
    let slow = OpenLoopSpec {
        rate: 200,
        linger_ms: "0",
        ..base.clone()
    };
    vec![
        Named {
            name: "latency-10mb",
            spec: base,
            second: true,
            quick: true,
        },
        Named {
            name: "latency-200",
            spec: slow,
            second: true,
            quick: true,
        },
    ]
}

/// The load whose tail is read by `consumers`: what they cost is the difference to the same load without them.
pub fn tail(scale: &Scale, consumers: usize) -> OpenLoopSpec {
    OpenLoopSpec {
        record_bytes: 1024,
        payload: PayloadKind::Random,
        rate: 20_000,
        linger_ms: "5",
        partitions: PARTITIONS,
        consumers,
        time: scale.tail,
        discard: Duration::from_secs(1).min(scale.tail / 4),
    }
}

/// Consumers of the tail-fetch scenario.
pub const TAIL_CONSUMERS: usize = 4;
/// Consumers that share the catch-up topic's partitions.
pub const CATCH_UP_CONSUMERS: usize = 1;
/// Longest time one catch-up read may take.
pub const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(120);
