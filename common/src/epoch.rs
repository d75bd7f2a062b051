//! Epochs. Each kind is a type of its own: comparing a leader epoch with a broker epoch is a bug.

use std::fmt;

/// How often the leadership of a partition has changed, as Kafka's leader epoch; starts at 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LeaderEpoch(pub i32);

/// The metadata-store revision that created a broker's session key. Fences everything the session
/// writes (F1): larger means younger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BrokerEpoch(pub i64);

/// Number of a broker in its cluster, as clients see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BrokerId(pub i32);

macro_rules! display_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display_number!(LeaderEpoch, BrokerEpoch, BrokerId);
