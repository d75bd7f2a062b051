//! The rows of the table, in order, with what each is meant to reach.

use super::Column;

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Key of the figure.
    pub key: &'static str,
    /// What it says.
    pub label: &'static str,
    /// Unit of the values.
    pub unit: &'static str,
    /// What is to be reached, if anything was promised.
    pub target: Option<Goal>,
}

/// A target.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// Alluvium `local` over Kafka with its defaults, at least.
    RatioAtLeast(f64),
    /// Alluvium `local` over Kafka with its defaults, at most.
    RatioAtMost(f64),
    /// The value of a column, at most.
    AtMost(Column, f64),
}

impl Goal {
    /// In words.
    pub fn text(self) -> String {
        match self {
            Self::RatioAtLeast(ratio) => format!(">= {ratio} x Kafka"),
            Self::RatioAtMost(ratio) => format!("<= {ratio} x Kafka"),
            Self::AtMost(Column::Object, value) => format!("object <= {value}"),
            Self::AtMost(_, value) => format!("<= {value}"),
        }
    }

    /// Whether it is reached; nothing if there is nothing to compare.
    pub fn reached(
        self,
        ratio: Option<f64>,
        value: impl Fn(Column) -> Option<f64>,
    ) -> Option<bool> {
        match self {
            Self::RatioAtLeast(goal) => ratio.map(|ratio| ratio >= goal),
            Self::RatioAtMost(goal) => ratio.map(|ratio| ratio <= goal),
            Self::AtMost(column, goal) => value(column).map(|value| value <= goal),
        }
    }
}

const fn row(key: &'static str, label: &'static str, unit: &'static str) -> Row {
    Row {
        key,
        label,
        unit,
        target: None,
    }
}

const fn goal(key: &'static str, label: &'static str, unit: &'static str, target: Goal) -> Row {
    Row {
        key,
        label,
        unit,
        target: Some(target),
    }
}

/// What must be said with every table.
pub const NOTES: [&str; 6] = [
    "Absolute times on a small or shared machine say little: read the ratios of one run, and the CPU-seconds. The client takes its share of the same cores.",
    "MB = 10^6 bytes of record values, GB = 10^9. Client librdkafka with the same settings for all, acks=all, 6 partitions, 2 producers (throughput) or 1 (latency). Medians of several runs after a warm-up that does not count.",
    "Random = incompressible, JSON = service events; both from a fixed seed. Kafka's defaults never sync; flush=1 is flush.messages=1, a sync per append; Alluvium local syncs and Alluvium object uploads before it acknowledges.",
    "CPU-seconds include what the broker does after the load until it rests. Latency is open-loop: from the time a record was due, so a stall is charged to every record it delays; 'sender late' is the client's own part.",
    "The page cache is kept full by the benchmark while it measures, so that writes to new pages do not pay for faults in the hypervisor (see src/memory.rs).",
    "Tail MB per CPU-second: 4 consumers on a 20 MB/s tail, broker CPU with them less without. Cold catch-up: after a restart, the broker's files dropped from the page cache.",
];

use Goal::{AtMost, RatioAtLeast, RatioAtMost};

/// The table.
pub const ROWS: &[Row] = &[
    goal(
        "produce-1k/mb-s",
        "produce 1 KiB random",
        "MB/s",
        RatioAtLeast(1.0),
    ),
    goal(
        "produce-1k/cpu-gb",
        "  broker CPU",
        "s/GB",
        RatioAtMost(0.5),
    ),
    row("produce-1k/client-cpu-gb", "  client CPU", "s/GB"),
    row("produce-1k/puts-gb", "  PUTs", "1/GB"),
    row("produce-1k/transactions-gb", "  store transactions", "1/GB"),
    row("produce-1k-json/mb-s", "produce 1 KiB JSON", "MB/s"),
    row("produce-1k-json/cpu-gb", "  broker CPU", "s/GB"),
    row("produce-1k-json/client-cpu-gb", "  client CPU", "s/GB"),
    row("produce-1k-json/put-bytes", "  bytes PUT per byte", "B/B"),
    row("produce-100/mb-s", "produce 100 B JSON", "MB/s"),
    row("produce-100/cpu-gb", "  broker CPU", "s/GB"),
    row("produce-100/client-cpu-gb", "  client CPU", "s/GB"),
    row("produce-1k-lz4/mb-s", "produce 1 KiB JSON lz4", "MB/s"),
    row("produce-1k-lz4/cpu-gb", "  broker CPU", "s/GB"),
    row("produce-1k-lz4/client-cpu-gb", "  client CPU", "s/GB"),
    row(
        "produce-1k-idempotent/mb-s",
        "produce 1 KiB random, idempotent",
        "MB/s",
    ),
    row("produce-1k-idempotent/cpu-gb", "  broker CPU", "s/GB"),
    row(
        "latency-10mb/p50",
        "10,000/s x 1 KiB, linger 1 ms: ack p50",
        "ms",
    ),
    goal(
        "latency-10mb/p99",
        "  ack p99",
        "ms",
        AtMost(Column::Local, 5.0),
    ),
    row("latency-10mb/p999", "  ack p99.9", "ms"),
    row("latency-10mb/late-p99", "  sender late p99", "ms"),
    row("latency-10mb/e2e-p50", "  end to end p50", "ms"),
    row("latency-10mb/e2e-p99", "  end to end p99", "ms"),
    row("latency-10mb/cores", "  broker CPU", "cores"),
    row("latency-10mb/puts-s", "  PUTs", "1/s"),
    row("latency-10mb/transactions-s", "  store transactions", "1/s"),
    row("latency-200/p50", "200/s x 1 KiB, no linger: ack p50", "ms"),
    row("latency-200/p99", "  ack p99", "ms"),
    row("latency-200/p999", "  ack p99.9", "ms"),
    row("latency-200/late-p99", "  sender late p99", "ms"),
    row("latency-200/e2e-p50", "  end to end p50", "ms"),
    row("latency-200/e2e-p99", "  end to end p99", "ms"),
    row("latency-200/cores", "  broker CPU", "cores"),
    row("latency-200/puts-s", "  PUTs", "1/s"),
    row("latency-200/transactions-s", "  store transactions", "1/s"),
    goal(
        "tail/mb-cpu",
        "tail fetch",
        "MB per CPU-s",
        RatioAtLeast(1.5),
    ),
    row("tail/e2e-p99", "  end to end p99, linger 5 ms", "ms"),
    row("catch-up/mb-s", "catch-up, from cache", "MB/s"),
    goal(
        "catch-up/mb-cpu",
        "  per broker CPU",
        "MB per CPU-s",
        RatioAtLeast(1.5),
    ),
    row("catch-up/gets-gb", "  GETs", "1/GB"),
    row("catch-up-cold/mb-s", "catch-up, cold after restart", "MB/s"),
    row("catch-up-cold/mb-cpu", "  per broker CPU", "MB per CPU-s"),
    row("catch-up-cold/gets-gb", "  GETs", "1/GB"),
    goal(
        "start",
        "start to first ack, empty folder",
        "ms",
        AtMost(Column::Local, 500.0),
    ),
    row(
        "start-again",
        "start to first ack, after a clean stop",
        "ms",
    ),
    row("stop", "SIGTERM to end", "ms"),
    goal(
        "memory-idle",
        "resident, idle",
        "MiB",
        AtMost(Column::Local, 64.0),
    ),
    row("memory-peak", "resident, peak of all loads", "MiB"),
    goal(
        "memory-partition",
        "resident per idle partition",
        "KiB",
        AtMost(Column::Local, 4.0),
    ),
    row("stored-json", "stored per byte of JSON", "B/B"),
];
