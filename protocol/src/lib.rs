//! Kafka's wire protocol: frames, headers, messages, error codes. No I/O, and nothing of Alluvium's own.
//!
//! A frame is checked by [`frame`], its header read by [`header`], its body by the message that the
//! [`ApiKey`] names. [`messages`] is generated from Kafka's own schemas; see `README.md` for how, and for what is
//! bounded where.

mod api_key;
pub mod consumer_protocol;
pub mod error;
pub mod error_code;
pub mod exchange;
pub mod frame;
pub mod header;
mod message;
pub mod messages;
mod reader;
mod records;
mod str_bytes;
mod writer;

pub use api_key::{ApiKey, UnknownApiKey};
pub use error::{DecodeError, DecodeErrorKind, EncodeError};
pub use error_code::ErrorCode;
pub use message::{Message, Request};
pub use reader::{ARRAY_MEMORY_BYTES_MAX, Reader};
pub use records::Records;
pub use str_bytes::StrBytes;
pub use writer::{SHARED_BYTES_MIN, TaggedFields, Writer};
