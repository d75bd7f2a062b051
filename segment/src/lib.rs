#![doc = include_str!("../README.md")]

mod crc;
mod error;
pub mod fold_object;
pub mod footer;
pub mod index_part;
pub mod manifest;
pub mod object_key;
pub mod parted;
pub mod reader;
pub mod record_batch;
pub mod segment_index;
pub mod segment_object;
pub mod snapshot_object;
pub mod wal_frame;

pub use error::FormatError;
