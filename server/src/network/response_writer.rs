//! Sends response chunks in order, with vectored writes, without joining them, and so that other connections of the same
//! thread have their turn in between.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::task::yield_now;
use tokio::time::timeout;

/// Bytes given to the system at once. It copies them before it returns, which nothing interrupts: with the megabytes that
/// a socket's buffer has room for, producers on the same thread or core would wait for milliseconds. Smaller ones than this
/// cost calls.
const WRITE_BYTES_MAX: usize = 256 << 10;

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
        let front = self.chunks.front().map_or(&[][..], |chunk| chunk);
        &front[..front.len().min(WRITE_BYTES_MAX)]
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let (mut filled, mut room) = (0, WRITE_BYTES_MAX);
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            let chunk = &chunk[..chunk.len().min(room)];
            if chunk.is_empty() {
                break;
            }
            *slice = IoSlice::new(chunk);
            filled += 1;
            room -= chunk.len();
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
            Ok(Ok(_)) if queue.has_remaining() => yield_now().await,
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
    use std::cell::Cell;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::{Context, Poll};

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

    /// Takes all that it is offered, and counts how often others had their turn before.
    struct Greedy {
        writes: Vec<(usize, usize)>,
        turns: Rc<Cell<usize>>,
    }

    impl AsyncWrite for Greedy {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let turns = self.turns.get();
            self.writes.push((bytes.len(), turns));
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            self.poll_write(context, &all)
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_large_response_lets_others_have_their_turn() {
        let turns = Rc::new(Cell::new(0));
        let mut stream = Greedy {
            writes: Vec::new(),
            turns: Rc::clone(&turns),
        };
        let mut queue = ChunkQueue::default();
        let part = Bytes::from(vec![7; WRITE_BYTES_MAX / 2 + 1]);
        queue.push(vec![part.clone(), part.clone(), part.clone(), part.clone()]);
        let others = async {
            loop {
                turns.set(turns.get() + 1);
                yield_now().await;
            }
        };
        tokio::select! {
            biased;
            sent = send(&mut stream, &mut queue, Duration::from_secs(1)) => sent.expect("sent"),
            () = others => {}
        }
        let sizes: Vec<_> = stream.writes.iter().map(|(size, _)| *size).collect();
        assert_eq!(sizes, [WRITE_BYTES_MAX, WRITE_BYTES_MAX, 4]);
        let turns: Vec<_> = stream.writes.iter().map(|(_, turn)| *turn).collect();
        assert_eq!(turns, [0, 1, 2]);
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
