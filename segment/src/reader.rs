//! Total reading of our own formats: little-endian numbers, varints, and counts that are checked
//! against the bytes that remain before anything is allocated for them.

use crate::error::FormatError;
use crate::record_batch::varint::{get_signed, get_unsigned};

/// `N` bytes at `at`. Callers have checked the length.
pub fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// A 16-bit number at `at`. Callers have checked the length.
pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

/// A 32-bit number at `at`. Callers have checked the length.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

/// A 64-bit number at `at`. Callers have checked the length.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// Refuses versions and flags that this program does not know.
pub fn check_version(
    what: &'static str,
    found: u16,
    flags: u16,
    supported: u16,
) -> Result<(), FormatError> {
    if found == 0 || found > supported || flags != 0 {
        return Err(FormatError::Version {
            what,
            found,
            flags,
            supported,
        });
    }
    Ok(())
}

/// Compares a stored checksum with the one of `bytes`.
pub fn check_crc32c(what: &'static str, stored: u32, bytes: &[u8]) -> Result<(), FormatError> {
    let computed = crc32c::crc32c(bytes);
    if computed == stored {
        return Ok(());
    }
    Err(FormatError::Checksum {
        what,
        stored,
        computed,
    })
}

/// Reads fields one after the other; `what` names the structure in errors.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their start.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, at: 0, what }
    }

    /// The error for values that contradict each other.
    pub fn malformed(&self) -> FormatError {
        FormatError::Malformed(self.what)
    }

    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or(self.malformed())?;
        self.at += count;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        Ok(array_at(self.take(N)?, 0))
    }

    /// A varint.
    pub fn unsigned(&mut self) -> Result<u64, FormatError> {
        get_unsigned(self.bytes, &mut self.at).ok_or(FormatError::Malformed(self.what))
    }

    /// A zigzag varint.
    pub fn signed(&mut self) -> Result<i64, FormatError> {
        get_signed(self.bytes, &mut self.at).ok_or(FormatError::Malformed(self.what))
    }

    /// An unsigned number that must fit `T`.
    pub fn number<T: TryFrom<u64>>(&mut self) -> Result<T, FormatError> {
        T::try_from(self.unsigned()?).map_err(|_| self.malformed())
    }

    /// A count of items that take at least `item_bytes_min` bytes each: never more than remain.
    pub fn count(&mut self, item_bytes_min: usize) -> Result<usize, FormatError> {
        let count: usize = self.number()?;
        if count > self.remaining() / item_bytes_min {
            return Err(self.malformed());
        }
        Ok(count)
    }
}
