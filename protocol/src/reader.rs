//! Reads Kafka's primitive types from a frame.

use bytes::Bytes;
use uuid::Uuid;

use crate::error::{DecodeError, DecodeErrorKind};
use crate::{Records, StrBytes};

/// Memory that the arrays of one message may take, in bytes.
///
/// A frame can only claim as many elements as its bytes can hold, but an element of one byte on the wire (an empty
/// string) takes 32 in memory. With this limit the largest frame costs no more than this, however it is filled; it
/// leaves room for a request or response about more than half a million partitions.
pub const ARRAY_MEMORY_BYTES_MAX: usize = 128 << 20;

type Result<T> = std::result::Result<T, DecodeError>;

/// A position in a frame, from which values are taken one after the other.
///
/// Strings, bytes and records are slices of the frame. Nothing is allocated but the elements of arrays: never
/// more of them than the remaining bytes can hold, and never more than [`ARRAY_MEMORY_BYTES_MAX`] for one reader.
#[derive(Debug)]
pub struct Reader {
    frame: Bytes,
    position: usize,
    array_memory_left: usize,
    array_memory_max: usize,
}

impl Reader {
    /// Reads `frame`, which does not include the length prefix.
    pub fn new(frame: Bytes) -> Self {
        Self::with_array_memory(frame, ARRAY_MEMORY_BYTES_MAX)
    }

    /// As [`Reader::new`], with a limit of its own for the memory of all arrays together, in bytes.
    pub fn with_array_memory(frame: Bytes, array_memory_max: usize) -> Self {
        Self {
            frame,
            position: 0,
            array_memory_left: array_memory_max,
            array_memory_max,
        }
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.frame.len() - self.position
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// What is not yet read, shared with the frame.
    pub fn rest(&self) -> Bytes {
        self.frame.slice(self.position..)
    }

    /// An error unless all bytes are read.
    ///
    /// Apache Kafka's broker ignores bytes after a request; whether to be as lenient is the caller's choice.
    pub fn finish(self) -> Result<()> {
        match self.remaining() {
            0 => Ok(()),
            extra => Err(self.error(DecodeErrorKind::TrailingBytes(extra))),
        }
    }

    /// An error of `kind` at the current position.
    pub fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError {
            kind,
            position: self.position,
        }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.frame[self.position..].first_chunk::<N>() {
            Some(bytes) => {
                self.position += N;
                Ok(*bytes)
            }
            None => Err(self.truncated(N)),
        }
    }

    fn slice(&mut self, len: usize) -> Result<Bytes> {
        if len == 0 {
            return Ok(Bytes::new());
        }
        if len > self.remaining() {
            return Err(self.truncated(len));
        }
        let start = self.position;
        self.position += len;
        Ok(self.frame.slice(start..self.position))
    }

    fn truncated(&self, needed: usize) -> DecodeError {
        self.error(DecodeErrorKind::Truncated {
            needed,
            remaining: self.remaining(),
        })
    }

    /// One byte; any value but 0 is true, as in Kafka.
    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.i8()? != 0)
    }

    /// `int8`
    pub fn i8(&mut self) -> Result<i8> {
        self.fixed().map(i8::from_be_bytes)
    }

    /// `int16`
    pub fn i16(&mut self) -> Result<i16> {
        self.fixed().map(i16::from_be_bytes)
    }

    /// `uint16`
    pub fn u16(&mut self) -> Result<u16> {
        self.fixed().map(u16::from_be_bytes)
    }

    /// `int32`
    pub fn i32(&mut self) -> Result<i32> {
        self.fixed().map(i32::from_be_bytes)
    }

    /// `uint32`
    pub fn u32(&mut self) -> Result<u32> {
        self.fixed().map(u32::from_be_bytes)
    }

    /// `int64`
    pub fn i64(&mut self) -> Result<i64> {
        self.fixed().map(i64::from_be_bytes)
    }

    /// `float64`
    pub fn f64(&mut self) -> Result<f64> {
        self.fixed().map(f64::from_be_bytes)
    }

    /// `uuid`: 16 bytes; all zero means "none" in Kafka.
    pub fn uuid(&mut self) -> Result<Uuid> {
        self.fixed().map(Uuid::from_bytes)
    }

    /// An unsigned number in groups of seven bits, least significant first, at most five bytes (KIP-482).
    pub fn uvarint(&mut self) -> Result<u32> {
        let mut value = 0u64;
        for group in 0..5 {
            let byte = self.fixed::<1>()?[0];
            value |= u64::from(byte & 0x7f) << (7 * group);
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| self.error(DecodeErrorKind::Varint));
            }
        }
        Err(self.error(DecodeErrorKind::Varint))
    }

    /// A length of `bytes`, `records` or an array: `None` is null.
    fn length(&mut self, flexible: bool) -> Result<Option<usize>> {
        if flexible {
            return self.compact_length();
        }
        // Kafka takes every negative length as null.
        Ok(usize::try_from(self.i32()?).ok())
    }

    fn compact_length(&mut self) -> Result<Option<usize>> {
        // Lengths are signed 32-bit numbers in Kafka, whatever the encoding could carry.
        match self.uvarint()? {
            0 => Ok(None),
            one_more if one_more > i32::MAX as u32 => {
                Err(self.error(DecodeErrorKind::Length(i64::from(one_more) - 1)))
            }
            one_more => Ok(Some(one_more as usize - 1)),
        }
    }

    fn string_length(&mut self, flexible: bool) -> Result<Option<usize>> {
        if !flexible {
            return Ok(usize::try_from(self.i16()?).ok());
        }
        match self.compact_length()? {
            Some(len) if len > i16::MAX as usize => {
                Err(self.error(DecodeErrorKind::Length(len as i64)))
            }
            len => Ok(len),
        }
    }

    fn not_null<T>(&self, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.error(DecodeErrorKind::Null))
    }

    /// `string` where null is not allowed; `flexible` versions have compact lengths.
    pub fn string(&mut self, flexible: bool) -> Result<StrBytes> {
        let text = self.nullable_string(flexible)?;
        self.not_null(text)
    }

    /// `string` or null.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<StrBytes>> {
        let Some(len) = self.string_length(flexible)? else {
            return Ok(None);
        };
        let bytes = self.slice(len)?;
        StrBytes::try_from(bytes)
            .map(Some)
            .map_err(|_| self.error(DecodeErrorKind::NotUtf8))
    }

    /// `bytes` where null is not allowed.
    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes> {
        let bytes = self.nullable_bytes(flexible)?;
        self.not_null(bytes)
    }

    /// `bytes` or null.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>> {
        match self.length(flexible)? {
            Some(len) => self.slice(len).map(Some),
            None => Ok(None),
        }
    }

    /// `records` where null is not allowed.
    pub fn records(&mut self, flexible: bool) -> Result<Records> {
        self.bytes(flexible).map(Records::from)
    }

    /// `records` or null.
    pub fn nullable_records(&mut self, flexible: bool) -> Result<Option<Records>> {
        Ok(self.nullable_bytes(flexible)?.map(Records::from))
    }

    /// An array where null is not allowed. `element_bytes_min` is the least that one element takes on the wire.
    pub fn array<T>(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        element: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let array = self.nullable_array(flexible, element_bytes_min, element)?;
        self.not_null(array)
    }

    /// An array or null, as [`Reader::array`].
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        mut element: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(count) = self.length(flexible)? else {
            return Ok(None);
        };
        let mut elements = self.reserve(count, element_bytes_min)?;
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// Room for `count` elements, once it is sure that the frame could hold them and that they are affordable.
    fn reserve<T>(&mut self, count: usize, element_bytes_min: usize) -> Result<Vec<T>> {
        let remaining = self.remaining();
        if count > remaining / element_bytes_min.max(1) {
            return Err(self.error(DecodeErrorKind::ArrayTooLong { count, remaining }));
        }
        let memory = count.saturating_mul(size_of::<T>());
        match self.array_memory_left.checked_sub(memory) {
            Some(left) => self.array_memory_left = left,
            None => {
                return Err(self.error(DecodeErrorKind::MemoryLimit {
                    limit: self.array_memory_max,
                }));
            }
        }
        Ok(Vec::with_capacity(count))
    }

    /// A struct or null: a byte that is negative for null, then the struct.
    pub fn nullable_struct<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<Option<T>> {
        if self.i8()? < 0 {
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// The tagged fields that end a struct of a flexible version (KIP-482).
    ///
    /// `known` reads the field with the given tag and answers true, or answers false to have it skipped.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(&mut Self, u32) -> Result<bool>,
    ) -> Result<()> {
        // A field takes two bytes at least, so a forged count ends with the frame.
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            if size > self.remaining() {
                return Err(self.truncated(size));
            }
            let end = self.position + size;
            if !known(self, tag)? {
                self.position = end;
            } else if self.position != end {
                return Err(self.error(DecodeErrorKind::TaggedFieldSize { tag }));
            }
        }
        Ok(())
    }

    /// Tagged fields of a struct that knows none.
    pub fn skip_tagged_fields(&mut self) -> Result<()> {
        self.tagged_fields(|_, _| Ok(false))
    }
}

#[cfg(test)]
mod tests;
