//! Leaves in bytes: a parted object whose items are table files, as in a manifest.

use std::sync::Arc;

use alluvium_common::topic::TopicId;
use bytes::Bytes;
use uuid::Uuid;

use super::Leaf;
use super::codec::{ITEM_TABLE, items_of};
use super::entries::{decode_table, encode_table};
use crate::error::FormatError;
use crate::parted::{self, EncodedObject, Format, Writer};

/// The newest version; all older ones are read.
pub const LEAF_VERSION: u16 = 1;

const FORMAT: Format = Format {
    what: "leaf",
    magic: *b"ALVL",
    trailer_magic: *b"ALVLEAFT",
    version: LEAF_VERSION,
};

impl Leaf {
    /// The object.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] when spans are not sorted, or too many for one item.
    pub fn encode(&self) -> Result<EncodedObject, FormatError> {
        let topic_id = self.topic_id().0;
        let mut about = [0; 20];
        about[..16].copy_from_slice(topic_id.as_bytes());
        let mut writer = Writer::new(FORMAT, about);
        for table in self.tables() {
            let item = encode_table(table)?;
            writer.add(|out| out.extend_from_slice(&item))?;
        }
        writer.finish(topic_id.as_bytes())
    }

    /// Reads a leaf from the bytes of the object; second is the checksum of its index, which the manifest names.
    ///
    /// # Errors
    /// The object is damaged, foreign or of a newer version.
    pub fn decode(object: &Bytes) -> Result<(Self, u32), FormatError> {
        let (mut reader, crc) = parted::index_of(&FORMAT, object)?;
        let topic_id = TopicId(Uuid::from_bytes(reader.array()?));
        let mut tables = Vec::new();
        for part in parted::parts_of(reader)? {
            items_of(&FORMAT, object, &part, |reader| {
                if reader.unsigned()? != ITEM_TABLE {
                    return Err(reader.malformed());
                }
                tables.push(Arc::new(decode_table(reader)?));
                Ok(())
            })?;
        }
        Ok((Self::new(topic_id, tables)?, crc))
    }
}
