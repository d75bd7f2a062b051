//! Byte layouts of what the coordinator stores. Binary, unlike other records of the metadata store:
//! subscriptions and assignments are bytes, and there is one value per group and partition. Integers are
//! big-endian.
//!
//! ```text
//! value   := magic 0xA9 | kind u8 | version u8 | body | crc32c u32 (of all before it)
//! string  := length u32 | UTF-8        bytes := length u32 | bytes
//! option  := 0u8 | 1u8 value
//! ```
//!
//! Kinds: 1 [`group`], 2 [`offset`], 3 [`writer`]. A reader refuses a version it does not know: it was
//! written by a newer release.

pub mod codec;
pub mod group;
pub mod offset;
pub mod writer;

pub use codec::StoredError;
