//! Threads for work that nobody waits for, with a lower priority than all others: on a busy machine the listeners, the
//! write-ahead log and the clients beside them are not held up by it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Added to the niceness of background threads: about a tenth of the share of a normal thread when
/// cores are short, all of a core when they are not.
const BACKGROUND_NICENESS: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// Some threads that take their work in the order in which it comes. They end when this is dropped.
#[derive(Debug)]
pub struct BackgroundThreads {
    jobs: mpsc::Sender<Job>,
}

/// The work panicked, which was reported, or its thread is gone.
#[derive(Debug, thiserror::Error)]
#[error("the thread that did the work stopped")]
pub struct BackgroundStopped;

impl BackgroundThreads {
    /// Starts `count` threads of that name. `None` when not one can be started.
    pub fn start(name: &str, count: usize) -> Option<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let jobs = Arc::new(Mutex::new(jobs));
        let started = (0..count).filter(|_| {
            let jobs = Arc::clone(&jobs);
            let thread = std::thread::Builder::new().name(name.into());
            thread.spawn(move || run_jobs(&jobs)).is_ok()
        });
        (started.count() > 0).then_some(Self { jobs: sender })
    }

    /// Does `work` on one of the threads. It is done even when nobody waits for it any more.
    ///
    /// # Errors
    /// The work panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BackgroundStopped> {
        let (done, result) = oneshot::channel();
        let job = Box::new(move || {
            // Nobody may wait any more: the attempt was given up.
            let _ = done.send(work());
        });
        self.jobs.send(job).map_err(|_| BackgroundStopped)?;
        result.await.map_err(|_| BackgroundStopped)
    }
}

fn run_jobs(jobs: &Mutex<mpsc::Receiver<Job>>) {
    // On Linux this is the niceness of the calling thread. Without it the work is done all the same.
    if let Err(error) = rustix::process::setpriority_process(None, BACKGROUND_NICENESS) {
        tracing::debug!(%error, "background threads run at normal priority");
    }
    loop {
        // The lock is held while waiting: one thread waits for the channel, the others for the lock.
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
    async fn work_is_done_and_panics_are_survived() {
        let threads = BackgroundThreads::start("test", 2).expect("threads");
        for _ in 0..5 {
            let panicked: Result<(), _> = threads.run(|| panic!("a bug in a test")).await;
            assert!(panicked.is_err());
            assert_eq!(threads.run(|| 8).await.expect("threads remain"), 8);
        }
    }
}
