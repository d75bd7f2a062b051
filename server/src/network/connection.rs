//! One client connection: requests in, responses out in the same order.
//!
//! Kafka's clients may send several requests before the first is answered, and expect the answers in order.
//! Produce requests pipeline with each other: each is appended as soon as it is read, so five in flight cost
//! one fsync, not five. Every other request starts only when all earlier ones are answered, as in Apache Kafka,
//! and nothing that follows it starts before it is done.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::frame_reader::{Frame, FrameReader, ReadError, ReadLimits, RequestBudgets};
use super::response_writer::{ChunkQueue, send};

/// Requests of one connection that may be read before the first is answered. Idempotent clients keep 5 in flight;
/// librdkafka otherwise sends one per partition and linger, thousands a second, each of which waits for a PUT in the
/// `object` class, of which there may be four a second. What all of them take is bounded by the request memory.
const REQUESTS_IN_FLIGHT_MAX: usize = 4096;
/// Response bytes collected into one write. More would delay the first of them.
const WRITE_BYTES_TARGET: usize = 256 * 1024;

/// What becomes of a request.
#[derive(Debug)]
pub enum Reply {
    /// Chunks to send, length prefix included.
    Send(Vec<Bytes>),
    /// Nothing is sent (Produce with acks=0).
    Nothing,
    /// The request cannot be answered: the connection is closed, after the answers before it.
    Close(String),
}

/// The second stage of a request: resolves when it can be answered.
pub type Finish = BoxFuture<'static, Reply>;

/// Answers the requests of one connection.
pub trait RequestHandler: Send + Sync + 'static {
    /// May the request start before earlier requests of its kind are answered?
    fn is_pipelined(&self, frame: &[u8]) -> bool;
    /// First stage: what must happen in the order of arrival. Never waits. The future is the second stage.
    fn start(&self, frame: Frame) -> Finish;
}

/// Limits of one connection.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Of reading.
    pub read: ReadLimits,
    /// Close when the client takes no response byte for this long.
    pub write_stall: Duration,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// By the client or by a fault of the client.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The response could not be sent.
    #[error("cannot send: {0}")]
    Write(std::io::Error),
    /// A request that cannot be answered.
    #[error("{0}")]
    Refused(String),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

/// Serves one connection until it ends, and says why it did.
pub async fn serve<R, W>(
    reader: R,
    writer: W,
    handler: Arc<dyn RequestHandler>,
    budgets: RequestBudgets,
    limits: ConnectionLimits,
    stopping: CancellationToken,
) -> Ended
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (queue, responses) = mpsc::channel(REQUESTS_IN_FLIGHT_MAX);
    let frames = FrameReader::new(reader, budgets, limits.read.clone());
    let mut writing = tokio::spawn(write_responses(responses, writer, limits.write_stall));
    let mut reading = std::pin::pin!(read_requests(frames, handler, queue, stopping));
    tokio::select! {
        ended = &mut reading => {
            // Requests read so far are still answered; a half-closed client may be waiting for them.
            match writing.await {
                Ok(Err(failed)) => failed,
                _ => ended,
            }
        }
        written = &mut writing => match written {
            Ok(Err(failed)) => failed,
            _ => Ended::Stopping,
        },
    }
}

async fn read_requests<R: AsyncRead + Unpin>(
    mut frames: FrameReader<R>,
    handler: Arc<dyn RequestHandler>,
    queue: mpsc::Sender<Finish>,
    stopping: CancellationToken,
) -> Ended {
    let mut last_ordered: Option<oneshot::Receiver<()>> = None;
    loop {
        let frame = tokio::select! {
            biased;
            () = stopping.cancelled() => return Ended::Stopping,
            frame = frames.next() => match frame {
                Ok(frame) => frame,
                Err(error) => return error.into(),
            },
        };
        let finish = if handler.is_pipelined(&frame.bytes) {
            if let Some(done) = last_ordered.take() {
                // An error means that the request is over as well.
                let _over = done.await;
            }
            handler.start(frame)
        } else {
            let (done, over) = oneshot::channel();
            last_ordered = Some(over);
            in_order(Arc::clone(&handler), frame, done)
        };
        if queue.send(finish).await.is_err() {
            return Ended::Stopping;
        }
    }
}

/// Runs the whole request when the writer comes to it, that is, when all before it are answered.
fn in_order(handler: Arc<dyn RequestHandler>, frame: Frame, done: oneshot::Sender<()>) -> Finish {
    Box::pin(async move {
        let reply = handler.start(frame).await;
        // Nobody waits when no pipelined request follows.
        let _nobody_waits = done.send(());
        reply
    })
}

async fn write_responses<W: AsyncWrite + Unpin>(
    mut responses: mpsc::Receiver<Finish>,
    mut writer: W,
    stall: Duration,
) -> Result<(), Ended> {
    let mut unsent = ChunkQueue::default();
    let mut next = responses.recv().await;
    while let Some(mut finish) = next.take() {
        use bytes::Buf;
        // What is ready goes out in one write; before waiting for the next answer, all others are sent.
        let reply = match futures::poll!(finish.as_mut()) {
            std::task::Poll::Ready(reply) => reply,
            std::task::Poll::Pending => {
                send(&mut writer, &mut unsent, stall)
                    .await
                    .map_err(Ended::Write)?;
                finish.await
            }
        };
        match reply {
            Reply::Send(chunks) => unsent.push(chunks),
            Reply::Nothing => {}
            Reply::Close(reason) => {
                send(&mut writer, &mut unsent, stall)
                    .await
                    .map_err(Ended::Write)?;
                return Err(Ended::Refused(reason));
            }
        }
        next = match responses.try_recv() {
            Ok(finish) if unsent.remaining() < WRITE_BYTES_TARGET => Some(finish),
            waiting => {
                send(&mut writer, &mut unsent, stall)
                    .await
                    .map_err(Ended::Write)?;
                match waiting {
                    Ok(finish) => Some(finish),
                    Err(_) => responses.recv().await,
                }
            }
        };
    }
    send(&mut writer, &mut unsent, stall)
        .await
        .map_err(Ended::Write)
}

#[cfg(test)]
mod tests;
