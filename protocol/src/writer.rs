//! Writes Kafka's primitive types into a frame made of pieces.

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::Records;
use crate::error::EncodeError;

/// From this size on, `bytes` and `records` become a piece of the frame of their own instead of being copied.
///
/// Below it, copying is cheaper than another element in a vectored write.
pub const SHARED_BYTES_MIN: usize = 1024;

/// Bytes of the length prefix of a frame.
pub(crate) const PREFIX_BYTES: usize = 4;

type Result<T> = std::result::Result<T, EncodeError>;

/// Collects a frame: small values in one buffer, large ones as shared pieces between them.
#[derive(Debug)]
pub struct Writer {
    /// The length prefix, still empty, then all that is copied.
    small: BytesMut,
    /// Shared pieces, each with the position in `small` before which it belongs; positions never decrease.
    shared: Vec<(usize, Bytes)>,
    shared_bytes: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// An empty frame.
    pub fn new() -> Self {
        Self::with_capacity(256 - PREFIX_BYTES)
    }

    /// An empty frame with room for so many copied bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut small = BytesMut::with_capacity(PREFIX_BYTES + bytes);
        small.put_bytes(0, PREFIX_BYTES);
        Self {
            small,
            shared: Vec::new(),
            shared_bytes: 0,
        }
    }

    /// Bytes written so far, without the length prefix.
    pub fn len(&self) -> usize {
        self.small.len() - PREFIX_BYTES + self.shared_bytes
    }

    /// Whether nothing is written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frame in pieces, ready for a vectored write; the first begins with the 4-byte length prefix.
    ///
    /// An error if the frame is longer than its prefix can say, 2^31 - 1 bytes.
    pub fn into_frame(mut self) -> Result<Vec<Bytes>> {
        let length = i32_length("a frame", self.len())?;
        self.small[..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
        Ok(self.pieces(0))
    }

    /// What was written, in one buffer and without a length prefix: for tests and for data inside other messages.
    pub fn into_bytes(self) -> Bytes {
        let mut pieces = self.pieces(PREFIX_BYTES);
        match pieces.len() {
            0 => Bytes::new(),
            1 => pieces.remove(0),
            _ => pieces.concat().into(),
        }
    }

    fn pieces(self, start: usize) -> Vec<Bytes> {
        let small = self.small.freeze();
        let mut pieces = Vec::with_capacity(2 * self.shared.len() + 1);
        let mut from = start;
        for (position, piece) in self.shared {
            if position > from {
                pieces.push(small.slice(from..position));
                from = position;
            }
            pieces.push(piece);
        }
        if small.len() > from {
            pieces.push(small.slice(from..));
        }
        pieces
    }

    /// One byte, 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.small.put_u8(u8::from(value));
    }

    /// `int8`
    pub fn i8(&mut self, value: i8) {
        self.small.put_i8(value);
    }

    /// `int16`
    pub fn i16(&mut self, value: i16) {
        self.small.put_i16(value);
    }

    /// `uint16`
    pub fn u16(&mut self, value: u16) {
        self.small.put_u16(value);
    }

    /// `int32`
    pub fn i32(&mut self, value: i32) {
        self.small.put_i32(value);
    }

    /// `uint32`
    pub fn u32(&mut self, value: u32) {
        self.small.put_u32(value);
    }

    /// `int64`
    pub fn i64(&mut self, value: i64) {
        self.small.put_i64(value);
    }

    /// `float64`
    pub fn f64(&mut self, value: f64) {
        self.small.put_f64(value);
    }

    /// `uuid`
    pub fn uuid(&mut self, value: Uuid) {
        self.small.put_slice(value.as_bytes());
    }

    /// An unsigned number in groups of seven bits, least significant first (KIP-482).
    pub fn uvarint(&mut self, value: u32) {
        let (bytes, len) = uvarint_bytes(value);
        self.small.put_slice(&bytes[..len]);
    }

    fn length(&mut self, what: &'static str, flexible: bool, length: usize) -> Result<()> {
        let checked = i32_length(what, length)?;
        if flexible {
            // One more than a positive i32 always fits.
            self.uvarint(checked as u32 + 1);
        } else {
            self.i32(checked);
        }
        Ok(())
    }

    fn null_length(&mut self, flexible: bool) {
        if flexible {
            self.uvarint(0)
        } else {
            self.i32(-1)
        }
    }

    /// `string`; `flexible` versions have compact lengths.
    pub fn string(&mut self, flexible: bool, text: &str) -> Result<()> {
        let too_long = EncodeError::TooLong {
            what: "a string",
            length: text.len(),
        };
        let length = i16::try_from(text.len()).map_err(|_| too_long)?;
        if flexible {
            self.uvarint(length as u32 + 1);
        } else {
            self.i16(length);
        }
        self.small.put_slice(text.as_bytes());
        Ok(())
    }

    /// `string` or null.
    pub fn nullable_string(&mut self, flexible: bool, text: Option<&str>) -> Result<()> {
        match text {
            Some(text) => return self.string(flexible, text),
            None if flexible => self.uvarint(0),
            None => self.i16(-1),
        }
        Ok(())
    }

    /// `bytes`.
    pub fn bytes(&mut self, flexible: bool, bytes: &Bytes) -> Result<()> {
        self.length("a byte field", flexible, bytes.len())?;
        self.raw(bytes);
        Ok(())
    }

    /// `bytes` or null.
    pub fn nullable_bytes(&mut self, flexible: bool, bytes: Option<&Bytes>) -> Result<()> {
        match bytes {
            Some(bytes) => self.bytes(flexible, bytes)?,
            None => self.null_length(flexible),
        }
        Ok(())
    }

    /// `records`.
    pub fn records(&mut self, flexible: bool, records: &Records) -> Result<()> {
        self.length("record data", flexible, records.len())?;
        records.pieces().iter().for_each(|piece| self.raw(piece));
        Ok(())
    }

    /// `records` or null.
    pub fn nullable_records(&mut self, flexible: bool, records: Option<&Records>) -> Result<()> {
        match records {
            Some(records) => self.records(flexible, records)?,
            None => self.null_length(flexible),
        }
        Ok(())
    }

    /// Bytes as they are, shared if they are many.
    pub fn raw(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            self.small.put_slice(bytes);
        } else {
            self.shared.push((self.small.len(), bytes.clone()));
            self.shared_bytes += bytes.len();
        }
    }

    /// An array.
    pub fn array<T>(
        &mut self,
        flexible: bool,
        elements: &[T],
        mut element: impl FnMut(&mut Self, &T) -> Result<()>,
    ) -> Result<()> {
        self.length("an array", flexible, elements.len())?;
        elements.iter().try_for_each(|value| element(self, value))
    }

    /// An array or null.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        elements: Option<&[T]>,
        element: impl FnMut(&mut Self, &T) -> Result<()>,
    ) -> Result<()> {
        match elements {
            Some(elements) => self.array(flexible, elements, element)?,
            None => self.null_length(flexible),
        }
        Ok(())
    }

    /// A struct or null: a byte that is -1 for null, else 1 and the struct.
    pub fn nullable_struct<T>(
        &mut self,
        value: Option<&T>,
        write: impl FnOnce(&mut Self, &T) -> Result<()>,
    ) -> Result<()> {
        let Some(value) = value else {
            self.i8(-1);
            return Ok(());
        };
        self.i8(1);
        write(self, value)
    }

    /// The end of a struct of a flexible version that has no tagged field to write.
    pub fn no_tagged_fields(&mut self) {
        self.uvarint(0);
    }

    /// Starts the tagged fields that end a struct of a flexible version (KIP-482).
    ///
    /// Their order is ascending by tag. Those that hold their default are left out: librdkafka before 2.1.1
    /// misreads responses in which they are not.
    pub fn tagged_fields(&mut self) -> TaggedFields<'_> {
        self.no_tagged_fields();
        TaggedFields {
            position_of_count: self.small.len() - 1,
            count: 0,
            writer: self,
        }
    }

    /// Puts `value` as a number of variable length before everything written since `mark`.
    fn insert_uvarint(&mut self, mark: Mark, value: u32) {
        let (bytes, len) = uvarint_bytes(value);
        let end = self.small.len();
        self.small.put_bytes(0, len);
        self.small.copy_within(mark.small..end, mark.small + len);
        self.small[mark.small..mark.small + len].copy_from_slice(&bytes[..len]);
        for (position, _) in &mut self.shared[mark.shared..] {
            *position += len;
        }
    }
}

/// A place in what is written.
#[derive(Clone, Copy)]
struct Mark {
    small: usize,
    shared: usize,
}

/// The tagged fields of one struct while they are written.
pub struct TaggedFields<'a> {
    writer: &'a mut Writer,
    position_of_count: usize,
    count: u8,
}

impl TaggedFields<'_> {
    /// Adds a field. Tags must ascend, and no struct may have more than 127 of them.
    pub fn field(&mut self, tag: u32, write: impl FnOnce(&mut Writer) -> Result<()>) -> Result<()> {
        self.count += 1;
        assert!(self.count < 128, "the count of tagged fields has one byte");
        self.writer.small[self.position_of_count] = self.count;
        self.writer.uvarint(tag);
        let mark = Mark {
            small: self.writer.small.len(),
            shared: self.writer.shared.len(),
        };
        let before = self.writer.len();
        write(self.writer)?;
        let size = i32_length("a tagged field", self.writer.len() - before)?;
        self.writer.insert_uvarint(mark, size as u32);
        Ok(())
    }
}

fn i32_length(what: &'static str, length: usize) -> Result<i32> {
    i32::try_from(length).map_err(|_| EncodeError::TooLong { what, length })
}

/// `value` in groups of seven bits, and how many of the five bytes that takes.
fn uvarint_bytes(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut len = 0;
    loop {
        bytes[len] = (value & 0x7f) as u8;
        value >>= 7;
        len += 1;
        if value == 0 {
            return (bytes, len);
        }
        bytes[len - 1] |= 0x80;
    }
}

#[cfg(test)]
mod tests;
