//! Byte budgets: how many bytes readers may have in flight, apart for those who follow the tail and
//! those who read history, so that a consumer reading from the beginning does not slow others down.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes per semaphore permit. Semaphores count in `u32`; kibibytes reach 4 TiB.
const UNIT_BYTES: usize = 1024;

/// What a read is for. Each class has budgets of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadClass {
    /// Following the end of the log.
    Tail,
    /// Reading history.
    Backfill,
}

/// A number of bytes that may be in flight at once.
#[derive(Debug, Clone)]
pub struct ByteBudget {
    semaphore: Arc<Semaphore>,
    limit: u32,
}

/// A share of a [`ByteBudget`], given back when dropped. A request for more than the whole budget
/// gets the whole budget, so that large batches are slow rather than impossible.
#[derive(Debug)]
#[must_use]
pub struct BytePermit {
    _permit: OwnedSemaphorePermit,
}

impl ByteBudget {
    /// A budget of `limit_bytes`, at least one kibibyte.
    pub fn new(limit_bytes: usize) -> Self {
        let limit = units(limit_bytes).max(1);
        Self {
            semaphore: Arc::new(Semaphore::new(limit as usize)),
            limit,
        }
    }

    /// Waits for `bytes`, in turn. A caller that already holds a permit of this budget must use
    /// [`ByteBudget::try_acquire`] instead, or holders could wait for one another for ever.
    pub async fn acquire(&self, bytes: usize) -> BytePermit {
        let units = units(bytes).min(self.limit);
        let permit = Arc::clone(&self.semaphore).acquire_many_owned(units).await;
        BytePermit {
            _permit: permit.expect("the semaphore is never closed"),
        }
    }

    /// `bytes` at once, or `None`.
    pub fn try_acquire(&self, bytes: usize) -> Option<BytePermit> {
        let units = units(bytes).min(self.limit);
        let permit = Arc::clone(&self.semaphore).try_acquire_many_owned(units);
        permit.ok().map(|permit| BytePermit { _permit: permit })
    }

    /// Bytes not lent at the moment.
    pub fn available_bytes(&self) -> usize {
        self.semaphore.available_permits() * UNIT_BYTES
    }
}

impl BytePermit {
    /// Joins two permits of one budget.
    pub fn merge(&mut self, other: BytePermit) {
        self._permit.merge(other._permit);
    }

    /// Gives back what exceeds `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let surplus = self
            ._permit
            .num_permits()
            .saturating_sub(units(bytes) as usize);
        drop(self._permit.split(surplus));
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

/// A budget for each class.
#[derive(Debug, Clone)]
pub struct ClassBudgets {
    tail: ByteBudget,
    backfill: ByteBudget,
}

impl ClassBudgets {
    /// Budgets of the given bytes.
    pub fn new(tail_bytes: usize, backfill_bytes: usize) -> Self {
        Self {
            tail: ByteBudget::new(tail_bytes),
            backfill: ByteBudget::new(backfill_bytes),
        }
    }

    /// The budget of `class`.
    pub fn of(&self, class: ReadClass) -> &ByteBudget {
        match class {
            ReadClass::Tail => &self.tail,
            ReadClass::Backfill => &self.backfill,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn classes_do_not_wait_for_each_other() {
        let budgets = ClassBudgets::new(4096, 4096);
        let held = budgets.of(ReadClass::Backfill).acquire(1 << 30).await;
        assert!(budgets.of(ReadClass::Backfill).try_acquire(1).is_none());
        let mut tail = budgets.of(ReadClass::Tail).acquire(3000).await;
        assert_eq!(budgets.of(ReadClass::Tail).available_bytes(), 1024);
        tail.shrink_to(1000);
        assert_eq!(budgets.of(ReadClass::Tail).available_bytes(), 3072);
        drop(held);
        assert_eq!(budgets.of(ReadClass::Backfill).available_bytes(), 4096);
    }
}
