//! Settings of the write path.

use std::time::Duration;

use alluvium_segment::segment_object::EncodeOptions;

use crate::backpressure::ByteBudget;
use crate::producer_state::PRODUCER_ID_EXPIRATION_MS_DEFAULT;
use crate::seal::SealLimits;
use crate::upload::{PutTimeout, UploadLimits};

/// Settings of the write path; each default is a sound start.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineConfig {
    /// When segments are sealed.
    pub seal: SealLimits,
    /// PUTs a second that waiting producers may cause, on average. Each costs money; more of them
    /// give lower latency in the `object` class. Four a second are about 52 dollars a month.
    pub puts_per_second: f64,
    /// Unused PUTs that are saved for bursts: a broker that was quiet answers quickly for a while.
    pub puts_saved_max: f64,
    /// How many PUTs run at the same time, and how failed ones are repeated.
    pub upload: UploadLimits,
    /// When a PUT that does not answer is given up.
    pub put_timeout: PutTimeout,
    /// How segments are encoded.
    pub encode: EncodeOptions,
    /// Encodes segments that no producer waits for on threads of low priority. Off, they compete with
    /// the listeners for the cores.
    pub encode_in_background: bool,
    /// After how long an idempotent producer that is silent is forgotten
    /// (`producer.id.expiration.ms`).
    pub producer_id_expiration_ms: i64,
    /// How often silent producers are looked for (`producer.id.expiration.check.interval.ms`).
    pub producer_id_expiration_check: Duration,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            seal: SealLimits::default(),
            puts_per_second: 4.0,
            puts_saved_max: 240.0,
            upload: UploadLimits::default(),
            put_timeout: PutTimeout::default(),
            encode: EncodeOptions::default(),
            encode_in_background: true,
            producer_id_expiration_ms: PRODUCER_ID_EXPIRATION_MS_DEFAULT,
            producer_id_expiration_check: Duration::from_secs(600),
        }
    }
}

impl PipelineConfig {
    /// A segment must be full long before the memory budget is: otherwise a small budget would wait
    /// for the segment's age. And what is being sent, which spilling cannot relieve, leaves room.
    pub(super) fn fitted_to(mut self, budget: &ByteBudget) -> Self {
        let largest = budget.capacity_bytes() / 4;
        self.seal.bytes_max = self.seal.bytes_max.min(largest).max(1);
        self.upload.bytes_max = self.upload.bytes_max.min(budget.capacity_bytes() / 3);
        self.seal.bytes_with_waiter = self.seal.bytes_with_waiter.min(largest / 2).max(1);
        self
    }
}
