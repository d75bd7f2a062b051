//! Threads for encoding, which is as fast as a core and takes a tenth of a second for a large segment.
//!
//! Where a producer waits for the segment the work runs on the runtime's blocking threads. Else nobody
//! waits: it runs on threads of its own with a lower priority, so that on a busy machine the listeners,
//! the write-ahead log and the clients beside them are not held up by it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

/// Segments encoded at the same time, by each kind of thread: the listeners need cores too.
const ENCODERS_MAX: usize = 2;

/// Added to the niceness of background threads: about a tenth of the share of a normal thread when
/// cores are short, all of a core when they are not.
const BACKGROUND_NICENESS: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct Encoders {
    urgent: Semaphore,
    background: Option<mpsc::Sender<Job>>,
}

/// The work panicked, which was reported, or its thread is gone.
#[derive(Debug, thiserror::Error)]
#[error("the encoder stopped")]
pub(crate) struct EncoderStopped;

impl Encoders {
    /// Without `background` everything runs on the runtime's blocking threads.
    pub(crate) fn new(background: bool) -> Self {
        Self {
            urgent: Semaphore::new(ENCODERS_MAX),
            background: background.then(start_background).flatten(),
        }
    }

    pub(crate) async fn run<T: Send + 'static>(
        &self,
        urgent: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, EncoderStopped> {
        if let Some(background) = self.background.as_ref().filter(|_| !urgent) {
            let (done, result) = oneshot::channel();
            let job = Box::new(move || {
                // Nobody may wait any more: the attempt was given up.
                let _ = done.send(work());
            });
            background.send(job).map_err(|_| EncoderStopped)?;
            return result.await.map_err(|_| EncoderStopped);
        }
        let _encoder = self.urgent.acquire().await.map_err(|_| EncoderStopped)?;
        let ended = tokio::task::spawn_blocking(work).await;
        ended.map_err(|_| EncoderStopped)
    }
}

/// `None` when no thread can be started: then the runtime's do all.
fn start_background() -> Option<mpsc::Sender<Job>> {
    let (sender, jobs) = mpsc::channel::<Job>();
    let jobs = Arc::new(Mutex::new(jobs));
    let started = (0..ENCODERS_MAX).filter(|_| {
        let jobs = Arc::clone(&jobs);
        let thread = std::thread::Builder::new().name("segment-encoder".into());
        thread.spawn(move || run_jobs(&jobs)).is_ok()
    });
    (started.count() > 0).then_some(sender)
}

fn run_jobs(jobs: &Mutex<mpsc::Receiver<Job>>) {
    // On Linux this is the niceness of the calling thread. Without it the work is done all the same.
    if let Err(error) = rustix::process::setpriority_process(None, BACKGROUND_NICENESS) {
        tracing::debug!(%error, "segment encoders run at normal priority");
    }
    loop {
        // The lock is held while waiting: one thread waits for the channel, the other for the lock.
        let job = jobs.lock().recv();
        let Ok(job) = job else {
            return;
        };
        // The panic was reported; whoever waits learns from the dropped sender.
        let _ = catch_unwind(AssertUnwindSafe(job));
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
        for _ in 0..2 * ENCODERS_MAX {
            let panicked: Result<(), _> = encoders.run(false, || panic!("a bug in a test")).await;
            assert!(panicked.is_err());
        }
        assert_eq!(encoders.run(false, || 8).await.expect("threads remain"), 8);
    }
}
