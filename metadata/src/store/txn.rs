//! Transactions: comparisons, operations, results, and the rules they must keep.

use std::cmp::Ordering;

use bytes::Bytes;

use super::error::StoreError;
use super::limits::{TXN_BYTES_MAX, TXN_BYTES_PER_OPERATION, TXN_OPERATIONS_MAX};
use super::range::{KeyRange, RangeRequest, RangeResponse};
use super::types::{KeyValue, LeaseId, Revision};

/// How the two sides of a comparison must relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `>`
    Greater,
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::Greater => ordering.is_gt(),
        }
    }
}

/// What of the key is compared, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// [`KeyValue::create_revision`]; [`Revision::NONE`] when the key does not exist.
    CreateRevision(Revision),
    /// [`KeyValue::mod_revision`]; [`Revision::NONE`] when the key does not exist.
    ModRevision(Revision),
    /// [`KeyValue::version`]; 0 when the key does not exist.
    Version(u64),
    /// [`KeyValue::value`], in byte order. Never holds when the key does not exist, not even `!=` (as in etcd).
    Value(Bytes),
}

/// One comparison of a transaction: the key's side stands left, the target right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    /// Which key.
    pub key: Bytes,
    /// How it must relate.
    pub comparison: Comparison,
    /// To what.
    pub target: Target,
}

impl Compare {
    /// Any comparison.
    #[must_use]
    pub fn new(key: impl Into<Bytes>, comparison: Comparison, target: Target) -> Self {
        Self {
            key: key.into(),
            comparison,
            target,
        }
    }

    /// The key does not exist.
    #[must_use]
    pub fn absent(key: impl Into<Bytes>) -> Self {
        Self::new(
            key,
            Comparison::Equal,
            Target::CreateRevision(Revision::NONE),
        )
    }

    /// The key exists.
    #[must_use]
    pub fn exists(key: impl Into<Bytes>) -> Self {
        Self::new(
            key,
            Comparison::Greater,
            Target::CreateRevision(Revision::NONE),
        )
    }

    /// The key was created by exactly this revision: the fence of a session or an election.
    #[must_use]
    pub fn created_at(key: impl Into<Bytes>, revision: Revision) -> Self {
        Self::new(key, Comparison::Equal, Target::CreateRevision(revision))
    }

    /// The key was last put by exactly this revision; [`Revision::NONE`]: it does not exist.
    #[must_use]
    pub fn unchanged_since(key: impl Into<Bytes>, revision: Revision) -> Self {
        Self::new(key, Comparison::Equal, Target::ModRevision(revision))
    }

    /// Whether the comparison holds for the key as it stands.
    #[must_use]
    pub fn holds(&self, current: Option<&KeyValue>) -> bool {
        let ordering = match &self.target {
            Target::CreateRevision(wanted) => current
                .map_or(Revision::NONE, |kv| kv.create_revision)
                .cmp(wanted),
            Target::ModRevision(wanted) => current
                .map_or(Revision::NONE, |kv| kv.mod_revision)
                .cmp(wanted),
            Target::Version(wanted) => current.map_or(0, |kv| kv.version).cmp(wanted),
            Target::Value(wanted) => match current {
                Some(kv) => kv.value.cmp(wanted),
                None => return false,
            },
        };
        self.comparison.holds(ordering)
    }

    fn size_bytes(&self) -> usize {
        let value = match &self.target {
            Target::Value(value) => value.len(),
            _ => 0,
        };
        self.key.len() + value + TXN_BYTES_PER_OPERATION
    }
}

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Creates or overwrites a key.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// The lease it is deleted with; `None` also frees it from a former lease.
        lease: Option<LeaseId>,
    },
    /// Deletes every key of a range.
    Delete {
        /// Which keys.
        range: KeyRange,
    },
    /// Reads a range. Sees what earlier operations of the same transaction wrote.
    Range(RangeRequest),
}

impl Op {
    /// Puts a key.
    #[must_use]
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
            lease: None,
        }
    }

    /// Puts a key that is deleted with a lease.
    #[must_use]
    pub fn put_leased(key: impl Into<Bytes>, value: impl Into<Bytes>, lease: LeaseId) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
            lease: Some(lease),
        }
    }

    /// Deletes one key.
    #[must_use]
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self::Delete {
            range: KeyRange::key(key),
        }
    }

    /// Deletes the keys of a range.
    #[must_use]
    pub fn delete_range(range: KeyRange) -> Self {
        Self::Delete { range }
    }

    /// Reads one key.
    #[must_use]
    pub fn get(key: impl Into<Bytes>) -> Self {
        Self::Range(RangeRequest::new(KeyRange::key(key)))
    }

    fn size_bytes(&self) -> usize {
        let range_bytes =
            |range: &KeyRange| range.from.len() + range.to.as_ref().map_or(0, Bytes::len);
        let payload = match self {
            Self::Put { key, value, .. } => key.len() + value.len(),
            Self::Delete { range } => range_bytes(range),
            Self::Range(request) => range_bytes(&request.range),
        };
        payload + TXN_BYTES_PER_OPERATION
    }
}

/// If every comparison holds, run `then`, else run `or_else`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txn {
    /// What must hold; nothing always holds.
    pub compares: Vec<Compare>,
    /// Run when all hold.
    pub then_ops: Vec<Op>,
    /// Run when one does not.
    pub else_ops: Vec<Op>,
}

impl Txn {
    /// A transaction that does nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a comparison.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// Adds an operation for when all comparisons hold.
    #[must_use]
    pub fn then(mut self, op: Op) -> Self {
        self.then_ops.push(op);
        self
    }

    /// Adds an operation for when a comparison does not hold.
    #[must_use]
    pub fn or_else(mut self, op: Op) -> Self {
        self.else_ops.push(op);
        self
    }

    /// The longest of the three lists: what [`TXN_OPERATIONS_MAX`] limits, as etcd counts.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.compares
            .len()
            .max(self.then_ops.len())
            .max(self.else_ops.len())
    }

    /// Keys and values of all three lists plus [`TXN_BYTES_PER_OPERATION`] each: what [`TXN_BYTES_MAX`] limits.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let ops = self
            .then_ops
            .iter()
            .chain(&self.else_ops)
            .map(Op::size_bytes);
        ops.chain(self.compares.iter().map(Compare::size_bytes))
            .sum()
    }

    /// Checks limits and rules that do not depend on what is stored.
    ///
    /// # Errors
    /// [`StoreError::TooManyOperations`], [`StoreError::TooLarge`], [`StoreError::EmptyKey`],
    /// [`StoreError::DuplicateKey`].
    pub fn check(&self) -> Result<(), StoreError> {
        let (count, limit) = (self.operations(), TXN_OPERATIONS_MAX);
        if count > limit {
            return Err(StoreError::TooManyOperations { count, limit });
        }
        let (bytes, limit) = (self.size_bytes(), TXN_BYTES_MAX);
        if bytes > limit {
            return Err(StoreError::TooLarge { bytes, limit });
        }
        if self.compares.iter().any(|compare| compare.key.is_empty()) {
            return Err(StoreError::EmptyKey);
        }
        check_writes(&self.then_ops)?;
        check_writes(&self.else_ops)
    }
}

/// One key is written at most once per list, so that all of a revision's events are of different keys.
/// Two deletes may overlap (as in etcd): the second finds nothing.
fn check_writes(ops: &[Op]) -> Result<(), StoreError> {
    let mut puts = Vec::new();
    for op in ops {
        if let Op::Put { key, .. } = op {
            if key.is_empty() {
                return Err(StoreError::EmptyKey);
            }
            puts.push(key);
        }
    }
    puts.sort();
    if let Some(pair) = puts.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(StoreError::DuplicateKey {
            key: pair[0].clone(),
        });
    }
    for op in ops {
        if let Op::Delete { range } = op
            && let Some(key) = puts.iter().find(|key| range.contains(key))
        {
            return Err(StoreError::DuplicateKey {
                key: (*key).clone(),
            });
        }
    }
    Ok(())
}

/// What one operation returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpResult {
    /// The key was put.
    Put,
    /// So many keys were deleted.
    Deleted(u64),
    /// What was read.
    Range(RangeResponse),
}

/// The result of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnResponse {
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// The store's revision after it: its own when it wrote.
    pub revision: Revision,
    /// A result per operation of the list that was run.
    pub results: Vec<OpResult>,
}

impl TxnResponse {
    /// The first key that the operation at `index` read, if it read any.
    #[must_use]
    pub fn first_kv(&self, index: usize) -> Option<&KeyValue> {
        match self.results.get(index)? {
            OpResult::Range(response) => response.kvs.first(),
            _ => None,
        }
    }
}
