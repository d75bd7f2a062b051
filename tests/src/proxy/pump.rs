//! One direction of one connection.

use std::collections::VecDeque;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Link, Mode, State};

/// Bytes read at once.
const BUFFER_BYTES: usize = 64 << 10;
/// Bytes under way in one direction of a slow connection, at most: as a network would hold.
const UNDER_WAY_BYTES_MAX: usize = 4 << 20;

/// Passes bytes on, late if need be, or reads them and lets them go. Ends with the connection.
pub(super) async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: watch::Receiver<State>,
    mode: impl Fn(Link) -> Mode,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut late = Late::default();
    let generation = state.borrow().generation;
    loop {
        tokio::select! {
            read = from.read(&mut buffer), if late.bytes < UNDER_WAY_BYTES_MAX => {
                let Ok(count @ 1..) = read else {
                    break;
                };
                let now = *state.borrow();
                // What was sent before the link healed is lost, even if it is only read now.
                if now.generation != generation {
                    return;
                }
                let mode = mode(now.link);
                if mode == Mode::Lose {
                    continue;
                }
                if mode == Mode::Pass && late.bytes == 0 {
                    if to.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                    continue;
                }
                late.push(&buffer[..count], mode);
            }
            bytes = late.next() => {
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        }
    }
    // The sender has closed; what it sent still arrives.
    while late.bytes > 0 {
        let bytes = late.next().await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Bytes under way, in order.
#[derive(Default)]
struct Late {
    queue: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

impl Late {
    fn push(&mut self, bytes: &[u8], mode: Mode) {
        let mut due = Instant::now();
        if let Mode::Delay(by) = mode {
            due += by;
        }
        // Nothing overtakes.
        if let Some((last, _)) = self.queue.back() {
            due = due.max(*last);
        }
        self.bytes += bytes.len();
        self.queue.push_back((due, bytes.to_vec()));
    }

    /// The first when its time has come; waits for ever when there is none. Dropping the future loses nothing.
    async fn next(&mut self) -> Vec<u8> {
        match self.queue.front() {
            Some((due, _)) => sleep_until(*due).await,
            None => std::future::pending().await,
        }
        let (_, bytes) = self.queue.pop_front().expect("it was there");
        self.bytes -= bytes.len();
        bytes
    }
}
