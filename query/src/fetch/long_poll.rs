//! Waiting for records.

use std::sync::Arc;

use alluvium_cache::tail::{ReadWaiter, Registration};
use tokio::time::{Instant, timeout_at};

use super::FetchRequest;
use super::plan::Poll;
use crate::metrics::ReadMetrics;

/// Reads, and as long as that is not enough waits for more, until the request's time is over. Wakes
/// when the missing bytes have become readable in all partitions together, and then reads only those
/// that moved; and when this broker can no longer prove that it leads (F3), to refuse those at whose end it waits.
pub(super) async fn run(poll: &mut Poll<'_>, request: &FetchRequest) {
    let deadline = Instant::now() + request.max_wait;
    poll.read_all().await;
    if is_enough(poll, request) {
        return;
    }
    let waiting = Waiting::begin(poll.fetcher().reader.metrics());
    let waiter = ReadWaiter::new(poll.logs().count().max(1), missing(poll, request));
    let (registrations, places) = register(poll, &waiter);
    let mut stopping = poll.fetcher().stopping.subscribe();
    loop {
        let proved_until = poll.fetcher().reader.guard().proved_until();
        let wake_at = proved_until.map_or(deadline, |until| until.min(deadline));
        let stopped = tokio::select! {
            _ = timeout_at(wake_at, waiter.ready()) => false,
            // The sender lives as long as the fetcher, which this fetch borrows.
            _ = stopping.wait_for(|stopping| *stopping) => true,
        };
        let doubtful = !poll.fetcher().reader.guard().is_proved();
        if doubtful {
            poll.read(poll.empty()).await;
        }
        let moved = waiter.take(missing(poll, request));
        let moved = moved.into_iter().filter_map(|key| places.get(key as usize));
        poll.read(moved.copied().collect()).await;
        if stopped || doubtful || Instant::now() >= deadline || is_enough(poll, request) {
            break;
        }
        waiter.want(missing(poll, request));
    }
    drop(registrations);
    drop(waiting);
}

fn is_enough(poll: &Poll<'_>, request: &FetchRequest) -> bool {
    request.max_wait.is_zero() || poll.has_news() || poll.bytes() >= request.min_bytes
}

fn missing(poll: &Poll<'_>, request: &FetchRequest) -> usize {
    request.min_bytes.saturating_sub(poll.bytes())
}

/// Registers with every partition; second, the partition's place in the poll for each key.
fn register(poll: &Poll<'_>, waiter: &Arc<ReadWaiter>) -> (Vec<Registration>, Vec<usize>) {
    let mut places = Vec::new();
    let mut registrations = Vec::new();
    for (key, (place, log, got)) in (0..).zip(poll.logs()) {
        places.push(place);
        registrations.push(log.tail.wait(waiter, key, got.read.offsets));
    }
    (registrations, places)
}

/// Counts a waiting fetch, also when its client goes away.
struct Waiting<'a>(&'a ReadMetrics);

impl<'a> Waiting<'a> {
    fn begin(metrics: &'a ReadMetrics) -> Self {
        metrics.waits.inc();
        metrics.waiting.inc();
        Self(metrics)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.dec();
    }
}
