//! What the write path counts, in Prometheus's words.

use std::sync::atomic::AtomicU64;

use alluvium_common::object_store::TopicRequests;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::seal::SealReason;

/// Counters, gauges and histograms of the write path. Cloning shares them.
#[derive(Debug, Clone)]
pub struct IngestMetrics {
    /// Batches appended.
    pub batches: Counter,
    /// Bytes of batches appended.
    pub bytes: Counter,
    /// Records appended.
    pub records: Counter,
    /// Batches that were duplicates.
    pub duplicates: Counter,
    /// Batches refused.
    pub refused: Counter,
    /// Batches whose producers were told that the outcome is unknown.
    pub unknown_outcomes: Counter,
    /// Segments sealed, by reason.
    pub seals: Family<SealLabels, Counter>,
    /// Bytes of segments in object storage.
    pub uploaded_bytes: Counter,
    /// Whose segments are put, for the bill. Shown by whoever knows the names of topics.
    pub by_topic: TopicRequests,
    /// PUTs that failed or timed out.
    pub put_errors: Counter,
    /// Seconds from the start of a PUT to its success.
    pub put_seconds: Histogram,
    /// Seconds from the start of a commit to its success.
    pub commit_seconds: Histogram,
    /// Segments sealed and not committed.
    pub waiting_segments: Gauge,
    /// Bytes of batches in sealed segments that are not committed.
    pub waiting_bytes: Gauge,
    /// Bytes taken from the produce memory budget.
    pub budget_bytes: Gauge,
    /// Bytes in the write-ahead log that wait for their upload.
    pub wal_bytes: Gauge,
    /// Batches that left memory because the write-ahead log has them.
    pub spilled_batches: Counter,
    /// Whether the write-ahead log has failed (1) and `local` is refused.
    pub wal_failed: Gauge<u64, AtomicU64>,
}

/// Why segments were sealed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SealLabels {
    /// The reason.
    pub reason: SealLabel,
}

/// The reasons as label values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs, reason = "documented at `SealReason`")]
pub enum SealLabel {
    Size,
    Age,
    Waiter,
    Pressure,
    Flush,
}

impl From<SealReason> for SealLabels {
    fn from(reason: SealReason) -> Self {
        let reason = match reason {
            SealReason::Size => SealLabel::Size,
            SealReason::Age => SealLabel::Age,
            SealReason::Waiter => SealLabel::Waiter,
            SealReason::Pressure => SealLabel::Pressure,
            SealReason::Flush => SealLabel::Flush,
        };
        SealLabels { reason }
    }
}

impl Default for IngestMetrics {
    /// Metrics that nobody reads.
    fn default() -> Self {
        // 0.25 ms to 16 s, doubling.
        let latency = || Histogram::new(exponential_buckets(0.00025, 2.0, 17));
        Self {
            batches: Counter::default(),
            bytes: Counter::default(),
            records: Counter::default(),
            duplicates: Counter::default(),
            refused: Counter::default(),
            unknown_outcomes: Counter::default(),
            seals: Family::default(),
            uploaded_bytes: Counter::default(),
            by_topic: TopicRequests::default(),
            put_errors: Counter::default(),
            put_seconds: latency(),
            commit_seconds: latency(),
            waiting_segments: Gauge::default(),
            waiting_bytes: Gauge::default(),
            budget_bytes: Gauge::default(),
            wal_bytes: Gauge::default(),
            spilled_batches: Counter::default(),
            wal_failed: Gauge::default(),
        }
    }
}

impl IngestMetrics {
    /// Metrics shown by `registry` below `ingest_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let ingest = registry.sub_registry_with_prefix("ingest");
        metrics.register_appends(ingest);
        metrics.register_segments(ingest);
        metrics.register_pressure(ingest);
        metrics
    }

    fn register_appends(&self, to: &mut Registry) {
        to.register("batches", "Record batches appended", self.batches.clone());
        to.register_with_unit(
            "appended",
            "Record batches appended",
            Unit::Bytes,
            self.bytes.clone(),
        );
        to.register("records", "Records appended", self.records.clone());
        to.register(
            "duplicate_batches",
            "Batches answered as duplicates",
            self.duplicates.clone(),
        );
        to.register(
            "refused_batches",
            "Batches refused with a definite error",
            self.refused.clone(),
        );
        to.register(
            "unknown_outcome_batches",
            "Batches whose outcome could not be told",
            self.unknown_outcomes.clone(),
        );
    }

    fn register_segments(&self, to: &mut Registry) {
        to.register("seals", "Segments sealed, by reason", self.seals.clone());
        to.register_with_unit(
            "uploaded",
            "Segments put into object storage",
            Unit::Bytes,
            self.uploaded_bytes.clone(),
        );
        to.register(
            "put_errors",
            "Segment PUTs that failed or timed out",
            self.put_errors.clone(),
        );
        to.register_with_unit(
            "put",
            "Time of a segment's PUT",
            Unit::Seconds,
            self.put_seconds.clone(),
        );
        to.register_with_unit(
            "commit",
            "Time of a commit",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        to.register(
            "waiting_segments",
            "Segments sealed and not committed",
            self.waiting_segments.clone(),
        );
    }

    fn register_pressure(&self, to: &mut Registry) {
        to.register_with_unit(
            "waiting",
            "Batches in sealed segments that are not committed",
            Unit::Bytes,
            self.waiting_bytes.clone(),
        );
        to.register_with_unit(
            "budget_used",
            "Produce memory in use",
            Unit::Bytes,
            self.budget_bytes.clone(),
        );
        to.register_with_unit(
            "wal",
            "Write-ahead log waiting for upload",
            Unit::Bytes,
            self.wal_bytes.clone(),
        );
        to.register(
            "spilled_batches",
            "Batches left to the write-ahead log alone",
            self.spilled_batches.clone(),
        );
        to.register(
            "wal_failed",
            "1 once the write-ahead log has failed",
            self.wal_failed.clone(),
        );
    }
}
