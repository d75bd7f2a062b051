//! Who writes, and how far it came. Every batch of a coordinator compares this key's revision and puts
//! it anew, so a batch takes effect once at most: a late copy of it finds the key changed. And whether a
//! batch of unknown outcome took effect can be read here (F4).
//!
//! ```text
//! body v1 := coordinator u128 (random, one per start) | batch u64
//! ```

use bytes::Bytes;

use super::codec::{Decoder, Encoder, StoredError};

const KIND: u8 = 3;
const VERSION: u8 = 1;

/// The last batch that took effect, of the last coordinator that started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterRecord {
    /// Names the coordinator.
    pub coordinator: u128,
    /// Number of the batch, from 0 (the one that takes the key over).
    pub batch: u64,
}

impl WriterRecord {
    /// The value to store.
    pub fn encode(self) -> Bytes {
        let mut out = Encoder::new(KIND, VERSION, 24);
        out.u128(self.coordinator);
        out.u64(self.batch);
        out.finish()
    }

    /// Reads a stored value.
    pub fn decode(stored: &Bytes) -> Result<Self, StoredError> {
        let mut body = Decoder::open(stored, KIND, VERSION)?;
        let record = Self {
            coordinator: body.u128()?,
            batch: body.u64()?,
        };
        body.finish()?;
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_comes_back() {
        let record = WriterRecord {
            coordinator: u128::MAX - 5,
            batch: 3,
        };
        let stored = record.encode();
        assert_eq!(stored.len(), 31);
        assert_eq!(WriterRecord::decode(&stored), Ok(record));
        for end in 0..stored.len() {
            assert!(WriterRecord::decode(&stored.slice(..end)).is_err());
        }
    }
}
