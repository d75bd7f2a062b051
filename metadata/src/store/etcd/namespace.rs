//! Keys and ranges as etcd has them: below a prefix, and with its way to write the ends of ranges.

use bytes::{Bytes, BytesMut};

use crate::store::range::KeyRange;

/// As the end of a range: to the last key. As a key: before all others.
const ZERO: &[u8] = b"\0";

/// What stands before every key.
#[derive(Debug, Clone)]
pub(super) struct Namespace {
    prefix: Bytes,
    /// First key behind all of the namespace, as the end of a range.
    end: Bytes,
}

/// A range as etcd takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Span {
    /// No key can be in it. etcd has no way to say this.
    Nothing,
    /// `key`, or from `key` to before `range_end` if that is not empty.
    Keys { key: Bytes, range_end: Bytes },
}

impl Namespace {
    pub(super) fn new(prefix: Bytes) -> Self {
        let end = KeyRange::prefix(prefix.clone()).to;
        Self {
            prefix,
            end: end.unwrap_or(Bytes::from_static(ZERO)),
        }
    }

    /// The key with the prefix.
    pub(super) fn key(&self, key: &Bytes) -> Bytes {
        if self.prefix.is_empty() {
            return key.clone();
        }
        let mut whole = BytesMut::with_capacity(self.prefix.len() + key.len());
        whole.extend_from_slice(&self.prefix);
        whole.extend_from_slice(key);
        whole.freeze()
    }

    /// The key without the prefix, which etcd's answers to requests for this namespace all have.
    pub(super) fn strip(&self, key: &Bytes) -> Bytes {
        if key.starts_with(&self.prefix) {
            key.slice(self.prefix.len()..)
        } else {
            key.clone()
        }
    }

    pub(super) fn span(&self, range: &KeyRange) -> Span {
        // Keys are not empty, so the first that can be is the zero byte.
        let first = if range.from.is_empty() {
            Bytes::from_static(ZERO)
        } else {
            range.from.clone()
        };
        let range_end = match &range.to {
            Some(to) if *to <= first => return Span::Nothing,
            None => self.end.clone(),
            // One key alone: what etcd checks permissions for one by one, and looks up at once.
            Some(to) if to.strip_suffix(ZERO) == Some(&first[..]) => Bytes::new(),
            Some(to) => self.key(to),
        };
        Span::Keys {
            key: self.key(&first),
            range_end,
        }
    }

    /// A range of one key within `range`, for questions to which the answer does not depend on keys. It is
    /// within what the user may read if `range` is.
    pub(super) fn probe(&self, range: &KeyRange) -> Bytes {
        match self.span(range) {
            Span::Keys { key, .. } => key,
            Span::Nothing => self.key(&Bytes::from_static(ZERO)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(key: &'static str, range_end: &'static str) -> Span {
        Span::Keys {
            key: key.into(),
            range_end: range_end.into(),
        }
    }

    #[test]
    fn ranges_end_as_etcd_writes_it() {
        let space = Namespace::new(Bytes::new());
        assert_eq!(space.span(&KeyRange::all()), keys("\0", "\0"));
        assert_eq!(space.span(&KeyRange::key("a")), keys("a", ""));
        assert_eq!(space.span(&KeyRange::prefix("a")), keys("a", "b"));
        assert_eq!(space.span(&KeyRange::between("b", "b")), Span::Nothing);
        assert_eq!(space.span(&KeyRange::between("", "")), Span::Nothing);
        assert_eq!(space.span(&KeyRange::between("", "\0")), Span::Nothing);
    }

    #[test]
    fn a_prefix_holds_everything_in() {
        let space = Namespace::new("/p".into());
        assert_eq!(space.span(&KeyRange::all()), keys("/p\0", "/q"));
        assert_eq!(space.span(&KeyRange::key("a")), keys("/pa", ""));
        assert_eq!(space.span(&KeyRange::between("a", "c")), keys("/pa", "/pc"));
        assert_eq!(space.strip(&"/pa".into()), "a");
    }
}
