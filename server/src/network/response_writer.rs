//! Sends response chunks in order, with vectored writes, without joining them.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Chunks waiting to be sent, as one [`Buf`].
#[derive(Debug, Default)]
pub struct ChunkQueue {
    chunks: VecDeque<Bytes>,
    remaining: usize,
}

impl ChunkQueue {
    /// Adds the chunks of one response.
    pub fn push(&mut self, response: Vec<Bytes>) {
        for chunk in response {
            if !chunk.is_empty() {
                self.remaining += chunk.len();
                self.chunks.push_back(chunk);
            }
        }
    }
}

impl Buf for ChunkQueue {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| chunk)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining -= count;
        while count > 0 {
            let front = self.chunks.front_mut().expect("count is within remaining");
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.chunks.pop_front();
        }
    }
}

/// Sends everything in `queue`. Fails when the client takes nothing for `stall`: a reader that has gone
/// away must not hold response memory for ever.
pub async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    queue: &mut ChunkQueue,
    stall: Duration,
) -> io::Result<()> {
    while queue.has_remaining() {
        match timeout(stall, stream.write_buf(queue)).await {
            Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("the client took no byte of its response for {stall:?}"),
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn chunks_arrive_in_order_whatever_the_write_sizes() {
        let mut queue = ChunkQueue::default();
        let mut expected = Vec::new();
        for response in 0..50_u8 {
            let chunks: Vec<_> = (0..4_usize)
                .map(|i| Bytes::from(vec![response.wrapping_add(i as u8); i * 37]))
                .collect();
            expected.extend(chunks.iter().flatten().copied());
            queue.push(chunks);
        }
        let mut mock = tokio_stream(&expected);
        send(&mut mock.0, &mut queue, Duration::from_secs(1))
            .await
            .expect("sent");
        drop(mock.0);
        assert_eq!(mock.1.await.expect("read"), expected);
    }

    /// A pipe of seven bytes, so that every write is partial.
    fn tokio_stream(
        expected: &[u8],
    ) -> (tokio::io::DuplexStream, tokio::task::JoinHandle<Vec<u8>>) {
        use tokio::io::AsyncReadExt;
        let (near, mut far) = tokio::io::duplex(7);
        let length = expected.len();
        let reader = tokio::spawn(async move {
            let mut received = Vec::with_capacity(length);
            far.read_to_end(&mut received).await.expect("read");
            received
        });
        (near, reader)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (mut near, _far) = tokio::io::duplex(4);
        let mut queue = ChunkQueue::default();
        queue.push(vec![Bytes::from_static(b"longer than the pipe")]);
        let error = send(&mut near, &mut queue, Duration::from_secs(30))
            .await
            .expect_err("stalls");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
