//! Every cap of the seam, with unit and reason.

use std::time::Duration;

/// Operations in one list of a transaction, and comparisons in it. etcd's default (`--max-txn-ops`).
pub const TXN_OPERATIONS_MAX: usize = 128;

/// Bytes of a whole transaction as [`super::Txn::size_bytes`] counts them. etcd's default
/// (`--max-request-bytes`, 1.5 MiB).
pub const TXN_BYTES_MAX: usize = 1536 * 1024;

/// What [`super::Txn::size_bytes`] adds for each comparison and operation beyond its key and value. etcd
/// counts the encoded request; this is more than its framing, so that what fits here fits there.
pub const TXN_BYTES_PER_OPERATION: usize = 64;

/// Keys one answer to a range holds at most, whatever its limit says: bounds a reply's memory and the
/// time a reader occupies a thread.
pub const RANGE_KEYS_MAX: usize = 1000;

/// Bytes of keys and values after which an answer to a range ends (it holds at least one key). Half of the
/// 4 MiB that gRPC clients accept by default, since the last value may be as large as a transaction.
pub const RANGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Keys one transaction may delete by range. The deletes become the events of a single revision, which
/// is delivered as one batch and so has to fit in memory. Delete more in several transactions.
pub const DELETE_KEYS_MAX: usize = 10_000;

/// Shortest time to live of a lease. A shorter one would end between two keep-alives of a busy machine.
pub const LEASE_TTL_MIN: Duration = Duration::from_millis(100);

/// Longest time to live of a lease: a day. What must live longer is not a lease's business.
pub const LEASE_TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Events a local store keeps for watches and reads of the past; older revisions are compacted with each
/// commit. Far more than a watcher misses while it restarts, little enough that replaying all of it takes
/// tens of milliseconds.
pub const HISTORY_EVENTS_MAX: u64 = 20_000;

/// Bytes of events a local store keeps, values that were replaced included. Bounds the disk that history
/// takes and the memory that a read of the past takes.
pub const HISTORY_BYTES_MAX: u64 = 16 * 1024 * 1024;
