#![doc = include_str!("../README.md")]

mod column_writers;
mod error;
mod file;
mod headers;
mod index;
mod metadata;
mod options;
mod ranges;
mod read;
mod rebuild;
mod rows;
mod schema;
mod sink;
mod sparse;
mod striper;
mod values;
mod writer;

pub use error::TableError;
pub use file::{TableFile, TableRef};
pub use index::{BLOCK_BYTES, INDEX_KEY, STRIPE_ROWS_MAX, Stripe, TableSpan};
pub use options::TableOptions;
pub use rows::raw_bytes;
pub use writer::{FinishedTable, RECORD_BYTES_MAX, TableWriter};
