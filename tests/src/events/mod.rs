//! Events of a web shop in large numbers, and a digest that says whether two places hold the same ones.
//!
//! ```text
//! Events -> load -> broker -> consume            -> Tally
//!             |        `-> Parquet -> tests/history/*.py -> Tally
//!             `-> Tally                       all three must be equal
//! ```

mod catalogue;
mod consume;
mod digest;
mod generate;
mod json;
mod latest;
mod load;
mod odd;
mod readers;
mod shop;
mod splitmix;
mod tally;

pub use self::consume::{ConsumePlan, consume};
pub use self::digest::{Digest, Row};
pub use self::generate::{EventRecord, Events, HeaderRefs};
pub use self::load::{LoadPlan, Loaded, load};
pub use self::odd::Kind;
pub use self::readers::{Python, Reader};
pub use self::tally::{Span, Tally};
