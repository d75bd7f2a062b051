//! Group commit: one thread, everything that waits in one commit.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use alluvium_common::error::Outcome;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::core::Core;
use super::{CommitBy, OpenError};
use crate::store::engine::{Command, Reply};
use crate::store::error::StoreError;

/// Commands that wait for the thread; more wait in their callers.
const QUEUE_COMMANDS_MAX: usize = 1024;

/// KiB of transactions that wait for the thread; more wait in their callers.
const QUEUE_KIB_MAX: usize = 16 * 1024;

/// Commands of one commit: bounds how long the first of them waits for the last.
const BATCH_COMMANDS_MAX: usize = 256;

/// KiB of one commit, likewise (the last command may exceed it).
const BATCH_KIB_MAX: usize = 4 * 1024;

/// Brings commands to the database one batch at a time.
#[derive(Debug)]
pub(super) struct Committer {
    core: Arc<Core>,
    /// `None`: the caller runs its commit itself.
    thread: Option<CommitThread>,
}

#[derive(Debug)]
struct CommitThread {
    /// Taken to end the thread.
    queue: Option<mpsc::Sender<Job>>,
    room_kib: Arc<Semaphore>,
    handle: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Job {
    command: Command,
    answer: oneshot::Sender<Result<Reply, StoreError>>,
    room: OwnedSemaphorePermit,
}

impl Committer {
    pub(super) fn start(core: Core, commit_by: CommitBy) -> Result<Self, OpenError> {
        let core = Arc::new(core);
        let thread = match commit_by {
            CommitBy::Caller => None,
            CommitBy::Thread => {
                Some(CommitThread::spawn(core.clone()).map_err(OpenError::io("."))?)
            }
        };
        Ok(Self { core, thread })
    }

    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    pub(super) async fn submit(&self, command: Command) -> Result<Reply, StoreError> {
        match &self.thread {
            Some(thread) => thread.submit(command).await,
            None => self
                .core
                .run(&[command])
                .pop()
                .unwrap_or_else(|| Err(closed(Outcome::Unknown))),
        }
    }
}

impl CommitThread {
    fn spawn(core: Arc<Core>) -> io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE_COMMANDS_MAX);
        let thread = std::thread::Builder::new().name("metadata-commit".to_owned());
        let handle = thread.spawn(move || commit_batches(&core, jobs))?;
        let room_kib = Arc::new(Semaphore::new(QUEUE_KIB_MAX));
        Ok(Self {
            queue: Some(queue),
            room_kib,
            handle: Some(handle),
        })
    }

    async fn submit(&self, command: Command) -> Result<Reply, StoreError> {
        let room = self
            .room_kib
            .clone()
            .acquire_many_owned(size_kib(&command))
            .await;
        let room = room.map_err(|_| closed(Outcome::NotDone))?;
        let (answer, answered) = oneshot::channel();
        let queue = self
            .queue
            .as_ref()
            .ok_or_else(|| closed(Outcome::NotDone))?;
        let job = Job {
            command,
            answer,
            room,
        };
        queue
            .send(job)
            .await
            .map_err(|_| closed(Outcome::NotDone))?;
        answered
            .await
            .unwrap_or_else(|_| Err(closed(Outcome::Unknown)))
    }
}

impl Drop for CommitThread {
    /// Waits for what was accepted, one or a few commits, so that the file is closed when the store is gone
    /// and may be opened again at once.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

fn closed(outcome: Outcome) -> StoreError {
    StoreError::Stopped {
        outcome,
        reason: "closed".to_owned(),
    }
}

fn size_kib(command: &Command) -> u32 {
    let bytes = match command {
        Command::Txn(txn) => txn.size_bytes(),
        _ => 0,
    };
    // A transaction is far smaller than the queue, so that it always fits once others have left.
    u32::try_from(1 + bytes / 1024)
        .unwrap_or(u32::MAX)
        .min(QUEUE_KIB_MAX as u32)
}

/// The thread: ends when the queue is closed and empty.
fn commit_batches(core: &Core, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut kib = first.room.num_permits();
        let mut batch = vec![first];
        while batch.len() < BATCH_COMMANDS_MAX && kib < BATCH_KIB_MAX {
            let Ok(job) = jobs.try_recv() else { break };
            kib += job.room.num_permits();
            batch.push(job);
        }
        let mut commands = Vec::with_capacity(batch.len());
        let mut answers = Vec::with_capacity(batch.len());
        for job in batch {
            commands.push(job.command);
            answers.push((job.answer, job.room));
        }
        for ((answer, _room), reply) in answers.into_iter().zip(core.run(&commands)) {
            // A caller that gave up waiting knows that the outcome is unknown.
            let _ = answer.send(reply);
        }
    }
}
