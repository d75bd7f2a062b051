//! Producers that wait for their batch to become durable, in offset order.
//!
//! An entry is resolved when the partition's high watermark reaches the end of its batch. A duplicate
//! of a batch that is not durable yet waits beside the original: it is never acknowledged early.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use alluvium_common::clock::TimestampMs;
use alluvium_common::error::Outcome;
use alluvium_common::offset::Offset;
use tokio::sync::oneshot;

use crate::error::AppendError;

/// How many acknowledgements a producer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// `acks=0`: no answer.
    None,
    /// `acks=1`: here as durable as [`Acks::All`], since no class is weaker for one broker.
    Leader,
    /// `acks=all`.
    All,
}

/// What a producer is told of an appended batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the batch's first record.
    pub base_offset: Offset,
    /// Time of the append, where the topic stamps it (`LogAppendTime`).
    pub log_append_time: Option<TimestampMs>,
    /// First offset still readable.
    pub log_start_offset: Offset,
}

/// Resolves when the batch is durable, or when it is known that nobody here will tell.
#[derive(Debug)]
pub struct AppendTicket(Ticket);

#[derive(Debug)]
enum Ticket {
    Ready(Appended),
    Waiting(oneshot::Receiver<Result<Appended, AppendError>>),
}

impl AppendTicket {
    /// A ticket for what is durable already, or for a producer that wants no answer.
    pub fn ready(appended: Appended) -> Self {
        Self(Ticket::Ready(appended))
    }
}

impl Future for AppendTicket {
    type Output = Result<Appended, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ticket::Ready(appended) => Poll::Ready(Ok(*appended)),
            // A dropped sender means that the pipeline went away with the batch in it.
            Ticket::Waiting(receiver) => Pin::new(receiver)
                .poll(context)
                .map(|told| told.unwrap_or(Err(AppendError::NotLeader(Outcome::Unknown)))),
        }
    }
}

/// The waiting producers of one partition. Bounded by the byte budget: each entry belongs to a
/// request whose permit is held until it is answered.
#[derive(Debug, Default)]
pub(crate) struct AckQueue {
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    durable_at: Offset,
    base_offset: Offset,
    log_append_time: Option<TimestampMs>,
    producer: oneshot::Sender<Result<Appended, AppendError>>,
}

/// Entries kept allocated when the queue is empty, so that a busy partition does not allocate per
/// batch and an idle one stays small.
const IDLE_CAPACITY: usize = 32;

impl AckQueue {
    /// A ticket that resolves when the high watermark reaches `durable_at`.
    pub(crate) fn wait(
        &mut self,
        durable_at: Offset,
        base_offset: Offset,
        log_append_time: Option<TimestampMs>,
    ) -> AppendTicket {
        let (producer, receiver) = oneshot::channel();
        let waiter = Waiter {
            durable_at,
            base_offset,
            log_append_time,
            producer,
        };
        match self.waiting.back() {
            Some(last) if last.durable_at > durable_at => {
                let place = self
                    .waiting
                    .partition_point(|other| other.durable_at <= durable_at);
                self.waiting.insert(place, waiter);
                self.forget_gone(place);
            }
            Some(last) if last.durable_at == durable_at => {
                self.waiting.push_back(waiter);
                self.forget_gone(self.waiting.len() - 1);
            }
            _ => self.waiting.push_back(waiter),
        }
        AppendTicket(Ticket::Waiting(receiver))
    }

    /// A client that times out and retries, again and again, leaves one waiter at a time: those before
    /// `place` for the same batch whose producers are gone make room.
    fn forget_gone(&mut self, mut place: usize) {
        let durable_at = self.waiting[place].durable_at;
        while place > 0 && self.waiting[place - 1].durable_at == durable_at {
            place -= 1;
            if self.waiting[place].producer.is_closed() {
                self.waiting.remove(place);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Acknowledges all below `high_watermark`; returns how many.
    pub(crate) fn acknowledge(
        &mut self,
        high_watermark: Offset,
        log_start_offset: Offset,
    ) -> usize {
        let mut count = 0;
        while let Some(first) = self.waiting.front() {
            if first.durable_at > high_watermark {
                break;
            }
            let Some(waiter) = self.waiting.pop_front() else {
                break;
            };
            // The producer may have gone away: its batch stays all the same.
            let _ = waiter.producer.send(Ok(Appended {
                base_offset: waiter.base_offset,
                log_append_time: waiter.log_append_time,
                log_start_offset,
            }));
            count += 1;
        }
        self.shrink();
        count
    }

    /// Tells everybody that the outcome will not be known here; returns how many.
    pub(crate) fn fail_all(&mut self, error: &AppendError) -> usize {
        let count = self.waiting.len();
        for waiter in self.waiting.drain(..) {
            let _ = waiter.producer.send(Err(error.clone()));
        }
        self.shrink();
        count
    }

    fn shrink(&mut self) {
        if self.waiting.is_empty() && self.waiting.capacity() > IDLE_CAPACITY {
            self.waiting.shrink_to(IDLE_CAPACITY);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn offset(value: i64) -> Offset {
        Offset::new(value).expect("not negative")
    }

    #[test]
    fn resolves_in_offset_order_with_duplicates_between() {
        let mut queue = AckQueue::default();
        let mut first = queue.wait(offset(5), offset(0), None);
        let mut second = queue.wait(offset(9), offset(5), Some(77));
        let mut duplicate = queue.wait(offset(5), offset(0), None);

        assert_eq!(queue.acknowledge(offset(4), offset(0)), 0);
        assert!((&mut first).now_or_never().is_none());
        assert_eq!(queue.acknowledge(offset(5), offset(2)), 2);
        let told = |base, time| Appended {
            base_offset: offset(base),
            log_append_time: time,
            log_start_offset: offset(2),
        };
        assert_eq!((&mut first).now_or_never(), Some(Ok(told(0, None))));
        assert_eq!((&mut duplicate).now_or_never(), Some(Ok(told(0, None))));
        assert!((&mut second).now_or_never().is_none());
        assert_eq!(queue.acknowledge(offset(20), offset(2)), 1);
        assert_eq!((&mut second).now_or_never(), Some(Ok(told(5, Some(77)))));
    }

    #[test]
    fn retries_of_clients_that_went_away_do_not_pile_up() {
        let mut queue = AckQueue::default();
        let kept = queue.wait(offset(1), offset(0), None);
        let mut last = queue.wait(offset(2), offset(1), None);
        for _ in 0..1000 {
            drop(queue.wait(offset(1), offset(0), None));
            last = queue.wait(offset(2), offset(1), None);
        }
        assert!(queue.waiting.len() < 6);
        assert_eq!(queue.acknowledge(offset(1), offset(0)), 2);
        assert!(kept.now_or_never().is_some());
        assert!(last.now_or_never().is_none());
    }

    #[test]
    fn failing_tells_everybody_that_it_may_have_happened() {
        let mut queue = AckQueue::default();
        let ticket = queue.wait(offset(1), offset(0), None);
        let orphan = {
            let mut gone = AckQueue::default();
            gone.wait(offset(1), offset(0), None)
        };
        assert_eq!(queue.fail_all(&AppendError::NotLeader(Outcome::Unknown)), 1);
        for ticket in [ticket, orphan] {
            let error = ticket
                .now_or_never()
                .expect("resolved")
                .expect_err("failed");
            assert_eq!(error.outcome(), Outcome::Unknown);
        }
    }
}
