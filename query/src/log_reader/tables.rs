//! Reading table files.

use std::sync::Arc;

use alluvium_cache::log::PartitionLog;
use alluvium_common::offset::Offset;
use alluvium_table::Stripe;

use super::segments::Step;
use super::{LogRead, LogReader, ReadRequest};
use crate::error::ReadError;
use crate::history::OpenTable;

impl LogReader {
    /// Reads what is published from `read.next_offset` on. Offsets that have no record are passed over.
    pub(super) async fn read_tables(
        &self,
        log: &Arc<PartitionLog>,
        request: &ReadRequest,
        upto: Offset,
        read: &mut LogRead,
    ) -> Result<Step, ReadError> {
        let Some(manifest) = log.published() else {
            return Ok(Step::More);
        };
        let partition = log.tp.partition;
        loop {
            let found = self
                .history
                .table_from(&manifest, partition, read.next_offset);
            let Some(found) = found.await? else {
                break;
            };
            if found.span.base_offset >= upto {
                return Ok(Step::End);
            }
            let table = self.history.open(&found.table).await?;
            let step = self.read_table(log, &table, request, upto, read).await?;
            if matches!(step, Step::End) {
                return Ok(Step::End);
            }
            read.next_offset = read.next_offset.max(found.span.next_offset);
        }
        read.next_offset = read.next_offset.max(manifest.published_end(partition));
        Ok(Step::More)
    }

    async fn read_table(
        &self,
        log: &Arc<PartitionLog>,
        table: &OpenTable,
        request: &ReadRequest,
        upto: Offset,
        read: &mut LogRead,
    ) -> Result<Step, ReadError> {
        let partition = log.tp.partition;
        let Some(first) = table.file().stripe_at(partition, read.next_offset) else {
            return Ok(Step::More);
        };
        for number in first.. {
            let stripe = table.stripe(number);
            let Some(stripe) = stripe.filter(|stripe| stripe.partition == partition) else {
                break;
            };
            let left = request.max_bytes.saturating_sub(read.size_bytes);
            let is_first = read.records.is_empty();
            if stripe.base_offset >= upto || (!is_first && left < average_record_bytes(stripe)) {
                return Ok(Step::End);
            }
            let block = self.history.block(log, table, number).await?;
            let min_one_batch = is_first && request.min_one_batch;
            let Some(slice) = block.slice(read.next_offset, upto, left, min_one_batch) else {
                return Ok(Step::End);
            };
            if !is_first && slice.base_offset() < read.next_offset {
                // Published while the answer was read of segments: batches are cut otherwise here, and an answer that goes
                // back tells records twice. The next one begins here.
                return Ok(Step::End);
            }
            self.metrics.tables.reads.inc();
            self.metrics.tables.bytes.inc_by(slice.bytes.len() as u64);
            read.push(slice.bytes, slice.next_offset);
            if slice.next_offset < stripe.next_offset {
                return Ok(Step::End);
            }
        }
        Ok(Step::More)
    }
}

/// With less room than this left, no batch of the stripe fits: not worth a rebuild.
fn average_record_bytes(stripe: &Stripe) -> usize {
    (stripe.raw_bytes / u64::from(stripe.rows.max(1))) as usize
}
