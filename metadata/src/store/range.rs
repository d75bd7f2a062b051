//! Ranges of keys and reads of them.

use bytes::Bytes;

use super::types::{KeyValue, Revision};

/// Keys from `from` to before `to`, in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// First key that belongs.
    pub from: Bytes,
    /// First key that does not belong any more; `None`: to the end.
    pub to: Option<Bytes>,
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self {
            from: Bytes::new(),
            to: None,
        }
    }

    /// Exactly one key.
    #[must_use]
    pub fn key(key: impl Into<Bytes>) -> Self {
        let from = key.into();
        let to = Some(successor(&from));
        Self { from, to }
    }

    /// Every key that starts with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let from = prefix.into();
        let to = prefix_end(&from);
        Self { from, to }
    }

    /// Keys from `from` to before `to`; none if they stand in the wrong order.
    #[must_use]
    pub fn between(from: impl Into<Bytes>, to: impl Into<Bytes>) -> Self {
        Self {
            from: from.into(),
            to: Some(to.into()),
        }
    }

    /// Whether the key belongs to the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.from[..] && self.to.as_ref().is_none_or(|to| key < &to[..])
    }

    /// Whether no key can belong to the range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| to <= &self.from)
    }

    /// The rest of this range after `key`.
    #[must_use]
    pub fn after(&self, key: &[u8]) -> Self {
        Self {
            from: successor(key),
            to: self.to.clone(),
        }
    }
}

/// The key directly behind `key`.
fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// The first key behind all that start with `prefix`; `None` when nothing lies behind them.
fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

/// A read of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRequest {
    /// Which keys.
    pub range: KeyRange,
    /// At most so many keys; the store may return fewer and say that there are more.
    pub limit: Option<usize>,
    /// As of which revision; `None`: the newest.
    pub revision: Option<Revision>,
}

impl RangeRequest {
    /// Reads `range` as it is now.
    #[must_use]
    pub fn new(range: KeyRange) -> Self {
        Self {
            range,
            limit: None,
            revision: None,
        }
    }

    /// Returns at most `limit` keys.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Reads as of `revision`.
    #[must_use]
    pub fn at(mut self, revision: Revision) -> Self {
        self.revision = Some(revision);
        self
    }
}

/// The keys of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeResponse {
    /// The store's newest revision when it was read. Continue at it to read the rest of the same state.
    pub revision: Revision,
    /// The keys in order.
    pub kvs: Vec<KeyValue>,
    /// Whether keys of the range were left out behind the last one.
    pub more: bool,
}

impl RangeResponse {
    /// What is left of `range` after this answer, if anything.
    #[must_use]
    pub fn continuation(&self, range: &KeyRange) -> Option<KeyRange> {
        let last = self.kvs.last().filter(|_| self.more)?;
        Some(range.after(&last.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_where_the_next_prefix_begins() {
        assert_eq!(KeyRange::prefix("ab").to, Some(Bytes::from("ac")));
        assert_eq!(
            KeyRange::prefix(vec![1, 0xff]).to,
            Some(Bytes::from(vec![2]))
        );
        assert_eq!(KeyRange::prefix(vec![0xff, 0xff]).to, None);
        assert_eq!(KeyRange::prefix("").to, None);
    }

    #[test]
    fn a_key_is_alone_in_its_range() {
        let range = KeyRange::key("a");
        assert!(range.contains(b"a"));
        assert!(!range.contains(b"a\0") && !range.contains(b"b") && !range.contains(b""));
        assert!(!range.is_empty() && range.after(b"a").is_empty());
    }

    #[test]
    fn ranges_in_the_wrong_order_hold_nothing() {
        assert!(KeyRange::between("b", "a").is_empty());
        assert!(!KeyRange::between("b", "a").contains(b"a"));
    }
}
