//! What every crate of Alluvium shares: domain types, limits, error kinds, clock and randomness,
//! and the object-store seam.
//!
//! Different numbers have different types ([`offset::Offset`] is not a position in a file, a
//! [`epoch::LeaderEpoch`] is not a [`epoch::BrokerEpoch`]), so that mixing them up does not compile.
//! Nothing outside this crate reads the system clock or makes random numbers.

pub mod background;
pub mod clock;
pub mod epoch;
pub mod error;
pub mod limits;
pub mod object_store;
pub mod offset;
pub mod producer;
pub mod rand;
pub mod seeded_bug;
pub mod topic;
