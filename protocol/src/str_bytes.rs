//! Strings that share the frame they came in.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use bytestring::ByteString;

/// A string that is a slice of a shared buffer: cloning counts a reference, decoding copies nothing.
///
/// A decoded `StrBytes` keeps its whole frame in memory. What outlives the request (group members, cached names)
/// should be kept as [`StrBytes::detached`] or as `String`.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StrBytes(ByteString);

impl StrBytes {
    /// The empty string, without an allocation.
    pub const fn new() -> Self {
        Self(ByteString::new())
    }

    /// A string in static memory, without an allocation.
    pub const fn from_static(text: &'static str) -> Self {
        Self(ByteString::from_static(text))
    }

    /// A copy of `text` in memory of its own.
    pub fn copy_of(text: &str) -> Self {
        Self(ByteString::from(text))
    }

    /// The string itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same string in memory of its own, so that the frame it came in can be freed.
    pub fn detached(&self) -> Self {
        Self::copy_of(self)
    }

    /// The UTF-8 bytes, sharing the buffer.
    pub fn into_bytes(self) -> Bytes {
        self.0.into_bytes()
    }
}

impl Deref for StrBytes {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for StrBytes {
    fn as_ref(&self) -> &str {
        self
    }
}

impl Borrow<str> for StrBytes {
    fn borrow(&self) -> &str {
        self
    }
}

impl From<String> for StrBytes {
    fn from(text: String) -> Self {
        Self(ByteString::from(text))
    }
}

impl From<&'static str> for StrBytes {
    fn from(text: &'static str) -> Self {
        Self::from_static(text)
    }
}

impl From<StrBytes> for String {
    fn from(text: StrBytes) -> Self {
        text.as_str().to_owned()
    }
}

impl TryFrom<Bytes> for StrBytes {
    type Error = std::str::Utf8Error;

    /// Checks once that `bytes` are UTF-8; they are shared, not copied.
    fn try_from(bytes: Bytes) -> Result<Self, Self::Error> {
        ByteString::try_from(bytes).map(Self)
    }
}

impl PartialEq<str> for StrBytes {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for StrBytes {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<String> for StrBytes {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for StrBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for StrBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn decoded_strings_share_the_frame_and_detached_ones_do_not() {
        let frame = Bytes::from(b"topic-name".to_vec());
        let text = StrBytes::try_from(frame.slice(0..5)).unwrap();
        assert_eq!(text.as_ptr(), frame.as_ptr());
        assert_ne!(text.detached().as_ptr(), frame.as_ptr());
        assert_eq!(text, text.detached());
    }

    #[test]
    fn maps_of_strings_are_searched_with_str() {
        let map = HashMap::from([
            (StrBytes::from("a"), 1),
            (StrBytes::from("b".to_owned()), 2),
        ]);
        assert_eq!(map.get("b"), Some(&2));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        assert!(StrBytes::try_from(Bytes::from_static(&[0xff])).is_err());
    }
}
