//! What can go wrong between bytes and messages.

use thiserror::Error;

/// Why bytes are not the message they should be, and where in the frame that was seen.
///
/// Nothing of a message that failed to decode may be used: the connection it came from is out of step.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind} (at byte {position} of the frame)")]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// Position in the frame, counted from the first byte after the length prefix.
    pub position: usize,
}

/// The ways in which bytes can fail to be a message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeErrorKind {
    /// A field reaches beyond the end of the frame.
    #[error("{needed} bytes needed, {remaining} left")]
    Truncated {
        /// Bytes that the field asks for.
        needed: usize,
        /// Bytes that the frame still holds.
        remaining: usize,
    },
    /// An array claims more elements than the rest of the frame can hold.
    #[error("an array of {count} elements cannot fit in the {remaining} bytes left")]
    ArrayTooLong {
        /// Elements that the array claims.
        count: usize,
        /// Bytes that the frame still holds.
        remaining: usize,
    },
    /// The arrays of one message would take more memory than the reader allows.
    #[error("arrays of this message need more than {limit} bytes of memory")]
    MemoryLimit {
        /// The reader's limit, in bytes.
        limit: usize,
    },
    /// A variable-length number has more than five bytes, or more than 32 bits.
    #[error("a variable-length number is longer than 32 bits")]
    Varint,
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    NotUtf8,
    /// A null where this version has no null.
    #[error("null where this version does not allow one")]
    Null,
    /// A length that is negative without meaning null, or beyond what Kafka allows for its type.
    #[error("invalid length {0}")]
    Length(i64),
    /// A tagged field's content is not as long as its size says.
    #[error("tagged field {tag} does not have the size it claims")]
    TaggedFieldSize {
        /// The field's tag.
        tag: u32,
    },
    /// Bytes follow the end of the message.
    #[error("{0} bytes follow the end of the message")]
    TrailingBytes(usize),
    /// The message has no such version.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Name of the message, as in Kafka's schemas.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
}

/// Why a message cannot be written in a version.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The message has no such version.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Name of the message, as in Kafka's schemas.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field that this version lacks, and that must not be dropped silently, holds something.
    #[error("{field} cannot be expressed in version {version}")]
    FieldNotInVersion {
        /// `Struct.field`.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is null that cannot be null in this version.
    #[error("{field} must not be null in version {version}")]
    Null {
        /// `Struct.field`.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A string, byte field, array or frame is longer than its length field can say.
    #[error("{what} of length {length} is too long for the protocol")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length: bytes, or elements for an array.
        length: usize,
    },
}
