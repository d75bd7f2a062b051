//! The envelope and the primitives of every layout here.

use bytes::{Buf, BufMut, Bytes, BytesMut};

const MAGIC: u8 = 0xA9;
const HEADER_BYTES: usize = 3;
const CRC_BYTES: usize = 4;

/// Why stored bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// Cut short, or a length that leads past the end.
    #[error("stored value is cut short")]
    Truncated,
    /// The checksum does not fit: the bytes changed.
    #[error("stored value fails its checksum")]
    Checksum,
    /// Not a value of this kind at all.
    #[error("stored value has magic {0:#04x} and kind {1}")]
    Kind(u8, u8),
    /// Written by a newer release.
    #[error("stored value has version {0}, the newest known is {1}")]
    Version(u8, u8),
    /// The bytes are whole and say something that cannot be.
    #[error("stored value has an invalid {0}")]
    Invalid(&'static str),
}

/// Writes one value.
pub(super) struct Encoder(BytesMut);

impl Encoder {
    pub fn new(kind: u8, version: u8, body_bytes: usize) -> Self {
        let mut out = BytesMut::with_capacity(HEADER_BYTES + body_bytes + CRC_BYTES);
        out.put_slice(&[MAGIC, kind, version]);
        Self(out)
    }

    pub fn i32(&mut self, value: i32) {
        self.0.put_i32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.0.put_i64(value);
    }

    pub fn u64(&mut self, value: u64) {
        self.0.put_u64(value);
    }

    pub fn u128(&mut self, value: u128) {
        self.0.put_u128(value);
    }

    /// A number of items or bytes. A request that could carry more than 4 GiB of them does not exist.
    pub fn count(&mut self, count: usize) {
        self.0.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.put_slice(bytes);
    }

    pub fn str(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.0.put_u8(u8::from(value.is_some()));
        if let Some(value) = value {
            put(self, value);
        }
    }

    pub fn finish(mut self) -> Bytes {
        let crc = crc32c::crc32c(&self.0);
        self.0.put_u32(crc);
        self.0.freeze()
    }
}

/// Reads one value; total: any bytes give a value or an error.
pub(super) struct Decoder(Bytes);

impl Decoder {
    /// Checks the envelope of a value of `kind`, in a version up to `newest`.
    pub fn open(stored: &Bytes, kind: u8, newest: u8) -> Result<Self, StoredError> {
        let body_end = stored.len().checked_sub(CRC_BYTES);
        let body_end = body_end.filter(|end| *end >= HEADER_BYTES);
        let body_end = body_end.ok_or(StoredError::Truncated)?;
        let crc = (&stored[body_end..]).get_u32();
        if crc32c::crc32c(&stored[..body_end]) != crc {
            return Err(StoredError::Checksum);
        }
        if stored[0] != MAGIC || stored[1] != kind {
            return Err(StoredError::Kind(stored[0], stored[1]));
        }
        if stored[2] == 0 || stored[2] > newest {
            return Err(StoredError::Version(stored[2], newest));
        }
        Ok(Self(stored.slice(HEADER_BYTES..body_end)))
    }

    fn need(&self, bytes: usize) -> Result<(), StoredError> {
        match self.0.len() >= bytes {
            true => Ok(()),
            false => Err(StoredError::Truncated),
        }
    }

    pub fn i32(&mut self) -> Result<i32, StoredError> {
        self.need(4).map(|()| self.0.get_i32())
    }

    pub fn i64(&mut self) -> Result<i64, StoredError> {
        self.need(8).map(|()| self.0.get_i64())
    }

    pub fn u64(&mut self) -> Result<u64, StoredError> {
        self.need(8).map(|()| self.0.get_u64())
    }

    pub fn u128(&mut self) -> Result<u128, StoredError> {
        self.need(16).map(|()| self.0.get_u128())
    }

    /// A number of items of at least `item_bytes` each; never more than the bytes that remain allow.
    pub fn count(&mut self, item_bytes: usize) -> Result<usize, StoredError> {
        self.need(4)?;
        let count = self.0.get_u32() as usize;
        match count <= self.0.len() / item_bytes {
            true => Ok(count),
            false => Err(StoredError::Truncated),
        }
    }

    /// A slice of the value, not a copy.
    pub fn bytes(&mut self) -> Result<Bytes, StoredError> {
        let length = self.count(1)?;
        Ok(self.0.split_to(length))
    }

    pub fn string(&mut self) -> Result<String, StoredError> {
        let bytes = self.bytes()?;
        let text = std::str::from_utf8(&bytes).map_err(|_| StoredError::Invalid("string"))?;
        Ok(text.to_owned())
    }

    pub fn option<T>(
        &mut self,
        get: impl FnOnce(&mut Self) -> Result<T, StoredError>,
    ) -> Result<Option<T>, StoredError> {
        self.need(1)?;
        match self.0.get_u8() {
            0 => Ok(None),
            1 => get(self).map(Some),
            _ => Err(StoredError::Invalid("option")),
        }
    }

    /// Fails when something is left over.
    pub fn finish(self) -> Result<(), StoredError> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(StoredError::Invalid("length")),
        }
    }
}
