//! The index of our own in a table's footer: checksums, spans and stripes. `README.md` shows it byte by byte.

use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::FormatError;
use alluvium_segment::reader::{Reader, check_crc32c, check_version, u16_at};
use alluvium_segment::record_batch::Codec;
use alluvium_segment::record_batch::varint::{put_signed, put_unsigned};

/// Key of the index in the footer's key-value metadata.
pub const INDEX_KEY: &str = "alluvium.table";
/// Bytes of a block, the unit of checksums: what a small read is widened to.
pub const BLOCK_BYTES: usize = 64 << 10;
/// Rows of a stripe, at most: bounds what a reader reserves.
pub const STRIPE_ROWS_MAX: u32 = 64 << 10;

const WHAT: &str = "table index";
const MAGIC: [u8; 4] = *b"ALVT";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 8;
const CRC_BYTES: usize = 4;
/// Least bytes of a span, and of a stripe: seven varints each.
const ENTRY_BYTES_MIN: usize = 7;
/// Set in a stripe's traits beside the codec.
const HAS_HEADERS: u64 = 8;
const CODEC_MASK: u64 = 7;

/// What a table says of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSpan {
    /// The partition.
    pub partition: PartitionIndex,
    /// First offset that the table answers for, whether there is a record or not.
    pub base_offset: Offset,
    /// The offset after the last one that it answers for.
    pub next_offset: Offset,
    /// Records there.
    pub records: u64,
    /// Smallest timestamp of the records; -1 when there are none.
    pub min_timestamp: i64,
    /// Largest timestamp of the records; -1 when there are none.
    pub max_timestamp: i64,
    /// Raw bytes of the records; see [`Stripe::raw_bytes`].
    pub raw_bytes: u64,
}

/// The unit of reading: consecutive rows of one partition in one row group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stripe {
    /// The partition.
    pub partition: PartitionIndex,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// The offset after its last record.
    pub next_offset: Offset,
    /// Its records, at least one.
    pub rows: u32,
    /// Bytes of keys, values and headers, and a few for the frame of each: about what the records take in batches without
    /// a codec.
    pub raw_bytes: u64,
    /// Largest timestamp of the records.
    pub max_timestamp: i64,
    /// What its batches are compressed with again.
    pub codec: Codec,
    pub(crate) has_headers: bool,
    pub(crate) row_group: u32,
    /// Row of its row group that it begins with.
    pub(crate) first_row: u64,
}

/// The index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    /// Where the blocks end and the tail begins.
    pub data_end: u64,
    /// Checksum of each block.
    pub blocks: Vec<u32>,
    /// Ascending by partition.
    pub spans: Vec<TableSpan>,
    /// Ascending by partition and offset.
    pub stripes: Vec<Stripe>,
}

impl Index {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&0u16.to_le_bytes());
        put_unsigned(&mut out, BLOCK_BYTES as u64);
        put_unsigned(&mut out, self.data_end);
        for crc in &self.blocks {
            out.extend_from_slice(&crc.to_le_bytes());
        }
        self.encode_spans(&mut out);
        self.encode_stripes(&mut out);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn encode_spans(&self, out: &mut Vec<u8>) {
        put_unsigned(out, self.spans.len() as u64);
        let mut next_partition = 0;
        for span in &self.spans {
            let partition = i64::from(span.partition.0);
            put_unsigned(out, (partition - next_partition) as u64);
            next_partition = partition + 1;
            put_unsigned(out, span.base_offset.get() as u64);
            put_unsigned(out, distance(span.base_offset, span.next_offset));
            put_unsigned(out, span.records);
            put_signed(out, span.min_timestamp);
            put_signed(out, span.max_timestamp);
            put_unsigned(out, span.raw_bytes);
        }
    }

    fn encode_stripes(&self, out: &mut Vec<u8>) {
        let groups = self
            .stripes
            .chunk_by(|one, other| one.row_group == other.row_group);
        put_unsigned(out, groups.clone().count() as u64);
        let mut before = (PartitionIndex(0), Offset::ZERO);
        for group in groups {
            put_unsigned(out, group.len() as u64);
            for stripe in group {
                let ahead = stripe.partition.0 - before.0.0;
                put_unsigned(out, ahead as u64);
                let from = if ahead == 0 { before.1 } else { Offset::ZERO };
                put_unsigned(out, distance(from, stripe.base_offset));
                put_unsigned(out, distance(stripe.base_offset, stripe.next_offset));
                put_unsigned(out, u64::from(stripe.rows));
                put_unsigned(out, stripe.raw_bytes);
                put_signed(out, stripe.max_timestamp);
                let headers = if stripe.has_headers { HAS_HEADERS } else { 0 };
                put_unsigned(out, u64::from(stripe.codec.id()) | headers);
                before = (stripe.partition, stripe.next_offset);
            }
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let needed = HEAD_BYTES + CRC_BYTES;
        let have = bytes.len();
        if have < needed {
            return Err(FormatError::NeedMore { needed, have });
        }
        if bytes[..4] != MAGIC {
            return Err(FormatError::Magic(WHAT));
        }
        let (checked, stored) = bytes.split_at(have - CRC_BYTES);
        let stored = Reader::new(stored, WHAT).array()?;
        check_crc32c(WHAT, u32::from_le_bytes(stored), checked)?;
        check_version(WHAT, u16_at(bytes, 4), u16_at(bytes, 6), VERSION)?;
        let mut reader = Reader::new(&checked[HEAD_BYTES..], WHAT);
        if reader.unsigned()? != BLOCK_BYTES as u64 {
            return Err(reader.malformed());
        }
        let data_end = reader.unsigned()?;
        let blocks = usize::try_from(data_end.div_ceil(BLOCK_BYTES as u64))
            .ok()
            .and_then(|count| count.checked_mul(CRC_BYTES))
            .ok_or(reader.malformed())?;
        let blocks = reader.take(blocks)?.chunks_exact(CRC_BYTES);
        let blocks = blocks.map(|crc| u32::from_le_bytes([crc[0], crc[1], crc[2], crc[3]]));
        let index = Self {
            data_end,
            blocks: blocks.collect(),
            spans: decode_spans(&mut reader)?,
            stripes: decode_stripes(&mut reader)?,
        };
        match reader.is_empty() && index.agrees() {
            true => Ok(index),
            false => Err(reader.malformed()),
        }
    }

    /// Whether the stripes are what the spans say: as many records, and within the offsets.
    fn agrees(&self) -> bool {
        let mut stripes = &self.stripes[..];
        for span in &self.spans {
            let is_own = |stripe: &&Stripe| stripe.partition == span.partition;
            let count = stripes.iter().take_while(is_own).count();
            let (own, others) = stripes.split_at(count);
            stripes = others;
            let bounds = own.first().zip(own.last());
            let within = bounds.is_none_or(|(first, last)| {
                first.base_offset >= span.base_offset && last.next_offset <= span.next_offset
            });
            let rows: u64 = own.iter().map(|stripe| u64::from(stripe.rows)).sum();
            if !within || rows != span.records {
                return false;
            }
        }
        stripes.is_empty()
    }
}

/// From one offset to a later one.
fn distance(from: Offset, to: Offset) -> u64 {
    (to.get() - from.get()) as u64
}

/// The offset so far behind another.
fn offset_after(reader: &mut Reader<'_>, from: Offset) -> Result<Offset, FormatError> {
    let sum = reader.number().map(|ahead| from.get().checked_add(ahead))?;
    sum.and_then(Offset::new).ok_or(reader.malformed())
}

fn partition_after(reader: &mut Reader<'_>, from: i64) -> Result<PartitionIndex, FormatError> {
    let ahead: i32 = reader.number()?;
    let partition = i32::try_from(from + i64::from(ahead)).map_err(|_| reader.malformed())?;
    Ok(PartitionIndex(partition))
}

fn decode_spans(reader: &mut Reader<'_>) -> Result<Vec<TableSpan>, FormatError> {
    let count = reader.count(ENTRY_BYTES_MIN)?;
    let mut spans = Vec::with_capacity(count);
    let mut next_partition = 0;
    for _ in 0..count {
        let partition = partition_after(reader, next_partition)?;
        next_partition = i64::from(partition.0) + 1;
        let base_offset = offset_after(reader, Offset::ZERO)?;
        spans.push(TableSpan {
            partition,
            base_offset,
            next_offset: offset_after(reader, base_offset)?,
            records: reader.unsigned()?,
            min_timestamp: reader.signed()?,
            max_timestamp: reader.signed()?,
            raw_bytes: reader.unsigned()?,
        });
    }
    Ok(spans)
}

fn decode_stripes(reader: &mut Reader<'_>) -> Result<Vec<Stripe>, FormatError> {
    let groups = reader.count(1 + ENTRY_BYTES_MIN)?;
    let mut stripes = Vec::new();
    let mut before = (PartitionIndex(0), Offset::ZERO);
    for row_group in 0..groups {
        let count = reader.count(ENTRY_BYTES_MIN)?;
        if count == 0 {
            return Err(reader.malformed());
        }
        stripes.reserve(count);
        let mut first_row = 0;
        for _ in 0..count {
            let partition = partition_after(reader, i64::from(before.0.0))?;
            let from = match partition == before.0 {
                true => before.1,
                false => Offset::ZERO,
            };
            let base_offset = offset_after(reader, from)?;
            let next_offset = offset_after(reader, base_offset)?;
            let rows: u32 = reader.number()?;
            let raw_bytes = reader.unsigned()?;
            let max_timestamp = reader.signed()?;
            let traits = reader.unsigned()?;
            let rows_fit = (1..=STRIPE_ROWS_MAX).contains(&rows)
                && u64::from(rows) <= distance(base_offset, next_offset);
            if !rows_fit || traits > (HAS_HEADERS | CODEC_MASK) {
                return Err(reader.malformed());
            }
            stripes.push(Stripe {
                partition,
                base_offset,
                next_offset,
                rows,
                raw_bytes,
                max_timestamp,
                codec: Codec::from_id((traits & CODEC_MASK) as u8)?,
                has_headers: traits & HAS_HEADERS != 0,
                // Fewer than bytes in the index, which Parquet bounds to 31 bits.
                row_group: row_group as u32,
                first_row,
            });
            first_row += u64::from(rows);
            before = (partition, next_offset);
        }
    }
    Ok(stripes)
}

#[cfg(test)]
mod tests;
