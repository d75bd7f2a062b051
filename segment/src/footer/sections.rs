//! The footer's sections: type, flags, length, bytes. New kinds of summaries become new sections;
//! a flag says whether a reader that does not know one may skip it.

use alluvium_common::epoch::{BrokerEpoch, BrokerId};

use super::{Footer, SegmentHeader, partitions, producers};
use crate::error::FormatError;
use crate::reader::Reader;

/// Who wrote the segment.
const SEGMENT: u16 = 1;
/// Partitions and their blocks.
const PARTITIONS: u16 = 2;
/// Idempotent producers per partition.
const PRODUCERS: u16 = 3;

/// Flag: a reader that does not know the section must refuse the footer.
const REQUIRED: u16 = 1;

const WHAT: &str = "segment footer sections";

pub(super) fn encode(footer: &Footer, out: &mut Vec<u8>) -> Result<(), FormatError> {
    put_section(out, SEGMENT, |out| {
        let header = &footer.header;
        out.extend_from_slice(&header.broker_id.0.to_le_bytes());
        out.extend_from_slice(&header.broker_epoch.0.to_le_bytes());
        out.extend_from_slice(&header.created_ms.to_le_bytes());
        Ok(())
    })?;
    put_section(out, PARTITIONS, |out| partitions::encode(footer, out))?;
    put_section(out, PRODUCERS, |out| producers::encode(footer, out))
}

fn put_section(
    out: &mut Vec<u8>,
    kind: u16,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&REQUIRED.to_le_bytes());
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out)?;
    let length = out.len() - length_at - 4;
    let length = u32::try_from(length).map_err(|_| FormatError::Malformed(WHAT))?;
    out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

pub(super) fn decode(sections: &[u8]) -> Result<Footer, FormatError> {
    let (mut header, mut partitions_at, mut producers_at) = (None, None, None);
    let mut reader = Reader::new(sections, WHAT);
    while !reader.is_empty() {
        let kind = u16::from_le_bytes(reader.array()?);
        let flags = u16::from_le_bytes(reader.array()?);
        let length = u32::from_le_bytes(reader.array()?);
        let body = reader.take(length as usize)?;
        let seen_before = match kind {
            SEGMENT => header.replace(decode_header(body)?).is_some(),
            PARTITIONS => partitions_at.replace(body).is_some(),
            PRODUCERS => producers_at.replace(body).is_some(),
            _ if flags & REQUIRED != 0 => return Err(FormatError::UnknownSection(kind)),
            _ => false,
        };
        if seen_before {
            return Err(FormatError::Malformed(WHAT));
        }
    }
    let missing = FormatError::Malformed("segment footer: a section is missing");
    let header = header.ok_or(missing.clone())?;
    let mut partitions = partitions::decode(partitions_at.ok_or(missing)?, &header)?;
    if let Some(body) = producers_at {
        producers::decode(body, &header, &mut partitions)?;
    }
    Ok(Footer { header, partitions })
}

fn decode_header(body: &[u8]) -> Result<SegmentHeader, FormatError> {
    let mut reader = Reader::new(body, "segment footer: segment section");
    Ok(SegmentHeader {
        broker_id: BrokerId(i32::from_le_bytes(reader.array()?)),
        broker_epoch: BrokerEpoch(i64::from_le_bytes(reader.array()?)),
        created_ms: i64::from_le_bytes(reader.array()?),
    })
}
