//! Pages: what the object store is asked for and what the disk holds.
//!
//! An object is cut into pages of a fixed size (the last one is shorter). A page belongs to all
//! partitions whose blocks lie in it, so the number of GETs follows from bytes, whatever the number
//! of partitions, blocks, readers and consumer groups. Objects never change, so neither do pages.

use std::io::{Read, Write};

use alluvium_segment::object_key::ObjectKey;
use bytes::{Bytes, BytesMut};
use foyer::{Code, Error, ErrorKind};

/// First byte of every encoded key: a cache folder of another version holds nothing for us.
const KEY_VERSION: u8 = 1;

/// Largest page that is believed when the disk is read; configuration allows no larger one.
pub(super) const PAGE_BYTES_MAX: usize = 16 << 20;

/// Longest object name that is believed when the disk is read.
const OBJECT_KEY_BYTES_MAX: usize = 1024;

/// Which page of which object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PageKey {
    pub(super) object_key: ObjectKey,
    pub(super) page_bytes: u32,
    pub(super) page: u32,
}

/// A page's bytes. A sealed segment's pages are many slices of the producers' requests, which are
/// not copied for the cache's sake.
#[derive(Debug, Clone)]
pub(super) struct Page {
    chunks: Box<[Bytes]>,
    length: usize,
}

impl Page {
    pub(super) fn new(chunks: Vec<Bytes>) -> Self {
        Self {
            length: chunks.iter().map(Bytes::len).sum(),
            chunks: chunks.into_boxed_slice(),
        }
    }

    /// Bytes of memory, when a piece costs `piece_overhead` besides its bytes.
    pub(super) fn memory_bytes(&self, piece_overhead: usize) -> usize {
        self.length + self.chunks.len() * piece_overhead
    }

    /// Appends the slices of `from..to` to `out`; ends early where the page ends.
    pub(super) fn slices(&self, from: usize, to: usize, out: &mut Vec<Bytes>) {
        let mut start = 0;
        for chunk in &self.chunks {
            let end = start + chunk.len();
            if start < to && from < end {
                let slice = chunk.slice(from.max(start) - start..to.min(end) - start);
                out.push(slice);
            }
            start = end;
        }
    }
}

/// One run of bytes; copies only when there are several slices.
pub(super) fn join(mut slices: Vec<Bytes>) -> Bytes {
    if slices.len() == 1 {
        return slices.swap_remove(0);
    }
    let mut joined = BytesMut::with_capacity(slices.iter().map(Bytes::len).sum());
    for slice in &slices {
        joined.extend_from_slice(slice);
    }
    joined.freeze()
}

fn malformed(what: &'static str) -> Error {
    Error::new(ErrorKind::Parse, what)
}

fn read_u32(reader: &mut impl Read) -> Result<u32, Error> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes).map_err(Error::io_error)?;
    Ok(u32::from_le_bytes(bytes))
}

fn read_bytes(reader: &mut impl Read, max: usize) -> Result<Vec<u8>, Error> {
    let length = read_u32(reader)? as usize;
    if length > max {
        return Err(malformed("length beyond what is ever written"));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).map_err(Error::io_error)?;
    Ok(bytes)
}

fn length_u32(length: usize) -> Result<[u8; 4], Error> {
    let length = u32::try_from(length).map_err(|_| malformed("too long"))?;
    Ok(length.to_le_bytes())
}

/// version 1, page size 4, page 4, name length 4, name; numbers little-endian.
impl Code for PageKey {
    fn encode(&self, writer: &mut impl Write) -> Result<(), Error> {
        let name = self.object_key.as_str().as_bytes();
        let mut header = [0; 13];
        header[0] = KEY_VERSION;
        header[1..5].copy_from_slice(&self.page_bytes.to_le_bytes());
        header[5..9].copy_from_slice(&self.page.to_le_bytes());
        header[9..].copy_from_slice(&length_u32(name.len())?);
        writer.write_all(&header).map_err(Error::io_error)?;
        writer.write_all(name).map_err(Error::io_error)
    }

    fn decode(reader: &mut impl Read) -> Result<Self, Error> {
        let mut version = [0];
        reader.read_exact(&mut version).map_err(Error::io_error)?;
        if version[0] != KEY_VERSION {
            return Err(malformed("page key of another version"));
        }
        let page_bytes = read_u32(reader)?;
        let page = read_u32(reader)?;
        let name = read_bytes(reader, OBJECT_KEY_BYTES_MAX)?;
        let object_key = std::str::from_utf8(&name)
            .ok()
            .and_then(|name| ObjectKey::parse(name).ok())
            .ok_or_else(|| malformed("no object name"))?;
        Ok(Self {
            object_key,
            page_bytes,
            page,
        })
    }

    fn estimated_size(&self) -> usize {
        13 + self.object_key.as_str().len()
    }
}

/// length 4, bytes.
impl Code for Page {
    fn encode(&self, writer: &mut impl Write) -> Result<(), Error> {
        writer
            .write_all(&length_u32(self.length)?)
            .map_err(Error::io_error)?;
        for chunk in &self.chunks {
            writer.write_all(chunk).map_err(Error::io_error)?;
        }
        Ok(())
    }

    fn decode(reader: &mut impl Read) -> Result<Self, Error> {
        let bytes = read_bytes(reader, PAGE_BYTES_MAX)?;
        Ok(Self::new(vec![bytes.into()]))
    }

    fn estimated_size(&self) -> usize {
        4 + self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "segments/3/170/00000000000000000000000000000abc.seg";

    #[test]
    fn keys_and_pages_come_back_and_damage_is_an_error() {
        let key = PageKey {
            object_key: ObjectKey::parse(NAME).expect("a name"),
            page_bytes: 4096,
            page: 7,
        };
        let mut bytes = Vec::new();
        key.encode(&mut bytes).expect("encodes");
        assert_eq!(bytes.len(), key.estimated_size());
        assert_eq!(PageKey::decode(&mut &bytes[..]).expect("decodes"), key);
        for cut in 0..bytes.len() {
            assert!(PageKey::decode(&mut &bytes[..cut]).is_err(), "{cut}");
        }
        bytes[0] = 9;
        assert!(PageKey::decode(&mut &bytes[..]).is_err(), "another version");

        let page = Page::new(vec![
            Bytes::from_static(b"abc"),
            Bytes::from_static(b"defg"),
        ]);
        let mut bytes = Vec::new();
        page.encode(&mut bytes).expect("encodes");
        let back = Page::decode(&mut &bytes[..]).expect("decodes");
        let mut slices = Vec::new();
        back.slices(0, 100, &mut slices);
        assert_eq!(slices, [Bytes::from_static(b"abcdefg")]);
        bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(
            Page::decode(&mut &bytes[..]).is_err(),
            "nothing is allocated for it"
        );
    }

    #[test]
    fn slices_cross_chunks() {
        let page = Page::new(vec![
            Bytes::from_static(b"abc"),
            Bytes::from_static(b"defg"),
        ]);
        let cut = |from, to| {
            let mut slices = Vec::new();
            page.slices(from, to, &mut slices);
            (slices.len(), join(slices))
        };
        assert_eq!(cut(0, 2), (1, Bytes::from_static(b"ab")));
        assert_eq!(cut(2, 5), (2, Bytes::from_static(b"cde")));
        assert_eq!(cut(3, 3), (0, Bytes::new()));
    }
}
