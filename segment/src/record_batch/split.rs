//! Cutting a run of batches apart.

use bytes::Bytes;

use super::error::BatchError;
use super::header::BatchHeader;

/// The batches of a `records` field, or of a stored block, one after the other: each with its
/// header and its bytes (a slice, not a copy). Lengths are checked before slicing; the first error
/// ends the iteration, since where the next batch would start is then unknown.
pub fn split(records: &Bytes) -> Split {
    Split {
        rest: records.clone(),
    }
}

/// Iterator of [`split()`].
#[derive(Debug, Clone)]
pub struct Split {
    rest: Bytes,
}

impl Iterator for Split {
    type Item = Result<(BatchHeader, Bytes), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let next = self.take_batch();
        if next.is_err() {
            self.rest.clear();
        }
        Some(next)
    }
}

impl Split {
    fn take_batch(&mut self) -> Result<(BatchHeader, Bytes), BatchError> {
        let header = BatchHeader::decode(&self.rest)?;
        let needed = header.size_bytes();
        if needed > self.rest.len() {
            return Err(BatchError::Truncated {
                needed,
                have: self.rest.len(),
            });
        }
        Ok((header, self.rest.split_to(needed)))
    }
}
