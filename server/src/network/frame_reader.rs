//! Cuts the bytes of a connection into request frames.
//!
//! The length of a frame is checked, and memory for it is taken from the shared budget, before a buffer
//! for it exists. While the budget is used up nothing is read, so TCP pushes back on the client.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use alluvium_ingest::backpressure::{ByteBudget, FramePermit};
use alluvium_protocol::ApiKey;
use alluvium_protocol::frame::{self, FrameError};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::buffer_pool::BufferPool;

/// Bytes read ahead in one go, enough for most requests that are not Produce. Larger frames get a buffer
/// of exactly their size.
const READ_AHEAD_BYTES: usize = 8 * 1024;
/// What a request takes of the budget at least: its decoded form, its tickets and its places in queues are
/// memory too, and a client may have thousands of tiny requests in flight.
const REQUEST_BYTES_MIN: usize = 1024;
/// A request begins with its API key.
const API_KEY_BYTES: usize = 2;

/// One request, without its length prefix.
#[derive(Debug)]
pub struct Frame {
    /// Header and body.
    pub bytes: Bytes,
    /// The frame's share of the request memory; given back when the last clone is dropped.
    pub permit: FramePermit,
}

/// Why no further frame can be read from a connection.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The client closed the connection between two frames.
    #[error("closed by the client")]
    Closed,
    /// No request for the idle time.
    #[error("idle for {0:?}")]
    Idle(Duration),
    /// The bytes of a begun frame stopped coming.
    #[error("a request of {expected} bytes stalled for {after:?} after {received} bytes")]
    Stalled {
        /// Bytes that came.
        received: usize,
        /// Bytes that were announced.
        expected: usize,
        /// For how long nothing came.
        after: Duration,
    },
    /// A frame that cannot be a request.
    #[error("a request of {0} bytes has no room for a header")]
    TooShort(usize),
    /// The length prefix is not acceptable.
    #[error(transparent)]
    BadFrame(#[from] FrameError),
    /// The socket failed, or the client closed it within a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Memory for requests, in two shares: when object storage is away and producers have to wait, everything that
/// is not Produce still passes.
#[derive(Debug, Clone)]
pub struct RequestBudgets {
    /// For Produce requests, held until their batches are uploaded or only on disk.
    pub produce: ByteBudget,
    /// For all others, held while they are decoded.
    pub other: ByteBudget,
    /// Buffers for large requests.
    pub buffers: Arc<BufferPool>,
}

impl RequestBudgets {
    fn of(&self, api_key: i16) -> &ByteBudget {
        if api_key == ApiKey::Produce.code() {
            &self.produce
        } else {
            &self.other
        }
    }
}

/// Limits of one connection's reading.
#[derive(Debug, Clone)]
pub struct ReadLimits {
    /// Largest frame in bytes.
    pub frame_bytes_max: usize,
    /// Close after this long without a request.
    pub idle: Duration,
    /// Close when a begun frame makes no progress for this long.
    pub stall: Duration,
}

/// Reads frames from `stream`.
pub struct FrameReader<S> {
    stream: S,
    buffer: BytesMut,
    budgets: RequestBudgets,
    limits: ReadLimits,
}

impl<S: AsyncRead + Unpin> FrameReader<S> {
    /// A reader at the start of a connection.
    pub fn new(stream: S, budgets: RequestBudgets, limits: ReadLimits) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            budgets,
            limits,
        }
    }

    /// The next frame. Not to be called again after an error.
    pub async fn next(&mut self) -> Result<Frame, ReadError> {
        let (length, api_key) = self.head().await?;
        let budget = self.budgets.of(api_key);
        let permit = budget.acquire(length.max(REQUEST_BYTES_MIN)).await;
        let bytes = if self.buffer.len() >= length {
            self.buffer.split_to(length).freeze()
        } else {
            self.large(length).await?
        };
        Ok(Frame { bytes, permit })
    }

    /// Length and API key of the next frame; the length is consumed.
    async fn head(&mut self) -> Result<(usize, i16), ReadError> {
        self.fill(frame::PREFIX_BYTES).await?;
        let mut prefix = [0; frame::PREFIX_BYTES];
        prefix.copy_from_slice(&self.buffer[..frame::PREFIX_BYTES]);
        let length = frame::request_length(prefix, self.limits.frame_bytes_max)?;
        // Every request that can be answered begins with eight bytes of header.
        if length < API_KEY_BYTES {
            return Err(ReadError::TooShort(length));
        }
        self.fill(frame::PREFIX_BYTES + API_KEY_BYTES).await?;
        self.buffer.advance(frame::PREFIX_BYTES);
        let api_key = i16::from_be_bytes([self.buffer[0], self.buffer[1]]);
        Ok((length, api_key))
    }

    /// Reads until the buffer has at least `wanted` bytes.
    async fn fill(&mut self, wanted: usize) -> Result<(), ReadError> {
        while self.buffer.len() < wanted {
            if self.buffer.capacity() < wanted {
                self.buffer.reserve(READ_AHEAD_BYTES);
            }
            let begun = !self.buffer.is_empty();
            let patience = if begun {
                self.limits.stall
            } else {
                self.limits.idle
            };
            match timeout(patience, self.stream.read_buf(&mut self.buffer)).await {
                Ok(Ok(0)) if begun => return Err(cut_off()),
                Ok(Ok(0)) => return Err(ReadError::Closed),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) if begun => {
                    return Err(ReadError::Stalled {
                        received: self.buffer.len(),
                        expected: wanted,
                        after: patience,
                    });
                }
                Err(_) => return Err(ReadError::Idle(patience)),
            }
        }
        Ok(())
    }

    /// A frame that is not wholly in the read-ahead buffer gets a buffer of its own, read into directly and
    /// never beyond its end.
    async fn large(&mut self, length: usize) -> Result<Bytes, ReadError> {
        let mut buffer = self.budgets.buffers.take(length);
        let frame = buffer.bytes_mut();
        frame.extend_from_slice(&self.buffer.split());
        while frame.len() < length {
            let missing = (length - frame.len()) as u64;
            let mut limited = (&mut self.stream).take(missing);
            match timeout(self.limits.stall, limited.read_buf(frame)).await {
                Ok(Ok(0)) => return Err(cut_off()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => {
                    return Err(ReadError::Stalled {
                        received: frame.len(),
                        expected: length,
                        after: self.limits.stall,
                    });
                }
            }
        }
        Ok(buffer.freeze())
    }
}

fn cut_off() -> ReadError {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the client closed the connection within a request",
    )
    .into()
}
