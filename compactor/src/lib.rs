//! Background work: merge, publish, clean, retain, delete.
//!
//! So far: [`fold`] keeps commit logs short, [`snapshot`] copies the metadata into the bucket.

pub mod fold;
mod put;
pub mod snapshot;
