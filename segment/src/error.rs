//! What can be wrong with stored bytes of our own formats.

use crate::record_batch::BatchError;

/// Why bytes are not what they should be. All but [`FormatError::NeedMore`] and
/// [`FormatError::Version`] mean damage (or a forgery): read again, then report (I18).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The reader gave fewer bytes than the format needs; not an error of the object.
    #[error("{needed} bytes are needed, {have} are there")]
    NeedMore {
        /// Bytes needed.
        needed: usize,
        /// Bytes given.
        have: usize,
    },
    /// The bytes do not start (or end) with this format's magic.
    #[error("not a {0}: wrong magic")]
    Magic(&'static str),
    /// Written by a newer version of this program, or using a feature this one does not know.
    #[error(
        "{what} has format version {found} (flags {flags:#x}), this program reads up to {supported}"
    )]
    Version {
        /// Which format.
        what: &'static str,
        /// Version found.
        found: u16,
        /// Flags found; every bit is a feature that readers must know.
        flags: u16,
        /// Newest version read here.
        supported: u16,
    },
    /// The checksum does not match.
    #[error("{what} has checksum {computed:#010x}, {stored:#010x} is expected")]
    Checksum {
        /// Which bytes.
        what: &'static str,
        /// As stored.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// Lengths, counts or values that contradict each other.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A section that this program does not know and may not skip.
    #[error("footer section {0} is required but unknown to this program")]
    UnknownSection(u16),
    /// A record batch inside is broken.
    #[error(transparent)]
    Batch(#[from] BatchError),
}
