//! Threads for encoding, which is as fast as a core and takes a tenth of a second for a large segment.
//!
//! Where a producer waits for the segment the work runs on the runtime's blocking threads. Else nobody
//! waits: it runs in the background, with a lower priority.

use alluvium_common::background::{BackgroundStopped, BackgroundThreads};
use tokio::sync::Semaphore;

/// Segments encoded at the same time, by each kind of thread: the listeners need cores too.
const ENCODERS_MAX: usize = 2;

pub(crate) struct Encoders {
    urgent: Semaphore,
    background: Option<BackgroundThreads>,
}

impl Encoders {
    /// Without `background` everything runs on the runtime's blocking threads.
    pub(crate) fn new(background: bool) -> Self {
        let start = || BackgroundThreads::start("segment-encoder", ENCODERS_MAX);
        Self {
            urgent: Semaphore::new(ENCODERS_MAX),
            background: background.then(start).flatten(),
        }
    }

    pub(crate) async fn run<T: Send + 'static>(
        &self,
        urgent: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BackgroundStopped> {
        if let Some(background) = self.background.as_ref().filter(|_| !urgent) {
            return background.run(work).await;
        }
        let _encoder = self.urgent.acquire().await.map_err(|_| BackgroundStopped)?;
        let ended = tokio::task::spawn_blocking(work).await;
        ended.map_err(|_| BackgroundStopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_of_both_kinds_is_done_and_panics_are_survived() {
        let encoders = Encoders::new(true);
        for urgent in [false, true] {
            assert_eq!(encoders.run(urgent, || 7).await.expect("done"), 7);
            let panicked = encoders.run(urgent, || panic!("a bug in a test"));
            let panicked: Result<(), _> = panicked.await;
            assert!(panicked.is_err());
        }
    }
}
