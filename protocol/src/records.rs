//! Record data of Produce and Fetch, passed through without a copy.

use bytes::{Bytes, BytesMut};

/// Record batches as they stand on the wire, in any number of pieces.
///
/// Decoding yields one piece, a slice of the frame. For encoding any number of pieces may be chained; each keeps
/// its buffer and becomes an element of a vectored write. Equality is that of the bytes, however they are cut.
#[derive(Clone, Default)]
pub struct Records(Pieces);

/// One piece is by far the most common case and must not cost an allocation for each partition.
#[derive(Clone)]
enum Pieces {
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Default for Pieces {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl Records {
    /// No records at all; on the wire this is a length of 0, which is not null.
    pub fn new() -> Self {
        Self::default()
    }

    /// The pieces in order. Empty ones may occur.
    pub fn pieces(&self) -> &[Bytes] {
        match &self.0 {
            Pieces::One(bytes) => std::slice::from_ref(bytes),
            Pieces::Many(pieces) => pieces,
        }
    }

    /// Appends a piece, without copying it.
    pub fn push(&mut self, piece: Bytes) {
        match &mut self.0 {
            Pieces::One(only) if only.is_empty() => *only = piece,
            Pieces::One(only) => self.0 = Pieces::Many(vec![std::mem::take(only), piece]),
            Pieces::Many(pieces) => pieces.push(piece),
        }
    }

    /// Bytes in all pieces together.
    pub fn len(&self) -> usize {
        self.pieces().iter().map(Bytes::len).sum()
    }

    /// Whether there is not a single byte.
    pub fn is_empty(&self) -> bool {
        self.pieces().iter().all(Bytes::is_empty)
    }

    /// All bytes in one buffer: shared when there is one piece, as after decoding, else copied together.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Pieces::One(bytes) => bytes,
            Pieces::Many(pieces) => {
                let mut joined = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
                pieces
                    .iter()
                    .for_each(|piece| joined.extend_from_slice(piece));
                joined.freeze()
            }
        }
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Self(Pieces::One(bytes))
    }
}

impl From<Vec<Bytes>> for Records {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self(Pieces::Many(pieces))
    }
}

impl FromIterator<Bytes> for Records {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut records = Self::new();
        pieces.into_iter().for_each(|piece| records.push(piece));
        records
    }
}

impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        let (left, right) = (self.pieces().iter(), other.pieces().iter());
        self.len() == other.len() && left.flatten().eq(right.flatten())
    }
}

impl Eq for Records {}

impl std::fmt::Debug for Records {
    /// Sizes only: record data does not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Records({} bytes in {} pieces)",
            self.len(),
            self.pieces().len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_ignores_how_the_bytes_are_cut() {
        let whole = Records::from(Bytes::from_static(b"abcdef"));
        let cut = Records::from(vec![
            Bytes::from_static(b"ab"),
            Bytes::new(),
            Bytes::from_static(b"cdef"),
        ]);
        assert_eq!(whole, cut);
        assert_ne!(whole, Records::from(Bytes::from_static(b"abcdeg")));
        assert_eq!(cut.into_bytes(), whole.into_bytes());
    }

    #[test]
    fn pieces_are_chained_in_order() {
        let mut records = Records::new();
        assert!(records.is_empty());
        for piece in [&b"one"[..], b"two", b"three"] {
            records.push(Bytes::from_static(piece));
        }
        assert_eq!((records.len(), records.pieces().len()), (11, 3));
        assert_eq!(&records.into_bytes()[..], b"onetwothree");
    }
}
