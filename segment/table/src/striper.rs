//! Where stripes end, and what is said of them.

use alluvium_common::topic::PartitionIndex;
use alluvium_segment::record_batch::{Codec, Record};

use crate::index::Stripe;
use crate::options::TableOptions;

/// Cuts rows into stripes.
#[derive(Debug)]
pub(crate) struct Striper {
    stripe_bytes: u64,
    stripe_rows_max: u32,
    open: Option<Stripe>,
    stripes: Vec<Stripe>,
    row_group: u32,
    /// Rows of the row group so far.
    rows: u64,
}

impl Striper {
    pub fn new(options: &TableOptions) -> Self {
        Self {
            stripe_bytes: options.stripe_bytes as u64,
            stripe_rows_max: options.stripe_rows_max,
            open: None,
            stripes: Vec::new(),
            row_group: 0,
            rows: 0,
        }
    }

    /// Whether a record of so many raw bytes has to begin a new stripe.
    pub fn is_full_for(&self, raw_bytes: usize) -> bool {
        self.open.as_ref().is_some_and(|stripe| {
            stripe.rows == self.stripe_rows_max
                || stripe.raw_bytes + raw_bytes as u64 > self.stripe_bytes / 4 * 5
        })
    }

    /// Whether the open stripe should end where a page of `_value` does, so that it needs no part of the next one: with
    /// that it would be too large.
    pub fn should_end_with_page(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|stripe| stripe.raw_bytes >= self.stripe_bytes / 4 * 3)
    }

    /// Adds a record to the open stripe, or begins one with it.
    pub fn add(&mut self, partition: PartitionIndex, record: &Record, codec: Codec, size: usize) {
        let codec = worth_restoring(codec);
        let stripe = self.open.get_or_insert(Stripe {
            partition,
            base_offset: record.offset,
            next_offset: record.offset,
            rows: 0,
            raw_bytes: 0,
            max_timestamp: record.timestamp,
            codec,
            has_headers: false,
            row_group: self.row_group,
            first_row: self.rows,
        });
        stripe.next_offset = record.offset.next();
        stripe.rows += 1;
        stripe.raw_bytes += size as u64;
        stripe.max_timestamp = stripe.max_timestamp.max(record.timestamp);
        stripe.has_headers |= !record.headers.is_empty();
        if stripe.codec != codec {
            stripe.codec = Codec::None;
        }
        self.rows += 1;
    }

    pub fn close_stripe(&mut self) {
        self.stripes.extend(self.open.take());
    }

    /// The row group ends; so do its stripes, before.
    pub fn close_row_group(&mut self) {
        self.row_group += 1;
        self.rows = 0;
    }

    pub fn into_stripes(self) -> Vec<Stripe> {
        self.stripes
    }
}

/// Compressing costs a broker time at every read; gzip costs ten times the others, for a client that takes all of them.
fn worth_restoring(codec: Codec) -> Codec {
    match codec {
        Codec::Snappy | Codec::Lz4 | Codec::Zstd => codec,
        Codec::None | Codec::Gzip => Codec::None,
    }
}
