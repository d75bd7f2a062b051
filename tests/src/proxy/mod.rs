//! A TCP proxy: a network that can be cut, in one direction or both, slow, or silent.
//!
//! It stands between a client and its etcd, a broker and its etcd or bucket, clients and a broker, or two brokers. What
//! connects to it is told nothing: bytes pass, are late, or are lost, and connections break.

mod pump;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::pump::pump;

/// What happens to the bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They pass.
    Pass,
    /// They are read and lost, as by a network that drops every packet. Connections stay open.
    Lose,
    /// They pass so much later, in order.
    Delay(Duration),
}

/// What happens to all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// To the target.
    pub requests: Mode,
    /// From the target.
    pub answers: Mode,
    /// Connections break, and new ones as soon as they are made.
    pub is_cut: bool,
}

impl Link {
    /// As if there were no proxy.
    pub const PASS: Self = Self::of(Mode::Pass, Mode::Pass);
    /// Requests arrive, answers are lost: the client hears nothing more.
    pub const LOSE_ANSWERS: Self = Self::of(Mode::Pass, Mode::Lose);
    /// The target hears nothing more.
    pub const LOSE_REQUESTS: Self = Self::of(Mode::Lose, Mode::Pass);
    /// Nobody hears anything.
    pub const LOSE_ALL: Self = Self::of(Mode::Lose, Mode::Lose);
    /// Nobody can connect.
    pub const CUT: Self = Self {
        is_cut: true,
        ..Self::PASS
    };

    /// So much later in each direction.
    pub const fn late(by: Duration) -> Self {
        Self::of(Mode::Delay(by), Mode::Delay(by))
    }

    /// So much later on the way to the target.
    pub const fn late_requests(by: Duration) -> Self {
        Self::of(Mode::Delay(by), Mode::Pass)
    }

    const fn of(requests: Mode, answers: Mode) -> Self {
        Self {
            requests,
            answers,
            is_cut: false,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct State {
    link: Link,
    /// Connections opened before it last moved are closed.
    generation: u64,
}

/// A proxy. Dropping it closes what goes through it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    /// Connections so far.
    accepted: watch::Receiver<usize>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port and passes on to `target`, which need not be there yet.
    pub async fn start(target: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(watch::Sender::new(State {
            link: Link::PASS,
            generation: 0,
        }));
        let (counting, accepted) = watch::channel(0);
        let accepting = tokio::spawn(accept(
            listener,
            target.to_owned(),
            Arc::clone(&state),
            counting,
        ));
        Self {
            address,
            state,
            accepted,
            accepting,
        }
    }

    /// Where to connect to instead of the target.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as `host:port`.
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// From now on. Open connections are closed when the link is cut, and when it is whole again after bytes were lost:
    /// a stream with a hole in it is of no use to anybody.
    pub fn set(&self, link: Link) {
        self.state.send_modify(|state| {
            let heals = link == Link::PASS && state.link.loses();
            if link.is_cut || heals {
                state.generation += 1;
            }
            state.link = link;
        });
    }

    /// The link as it is now.
    pub fn link(&self) -> Link {
        self.state.borrow().link
    }

    /// Resolves when a client connects after this was called.
    pub async fn next_connection(&self) {
        let mut accepted = self.accepted.clone();
        accepted.mark_unchanged();
        // An error means that the proxy is gone.
        let _gone = accepted.changed().await;
    }

    /// Closes every connection; new ones are accepted.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }
}

impl Link {
    fn loses(self) -> bool {
        self.requests == Mode::Lose || self.answers == Mode::Lose
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(
    listener: TcpListener,
    target: String,
    state: Arc<watch::Sender<State>>,
    accepted: watch::Sender<usize>,
) {
    while let Ok((client, _)) = listener.accept().await {
        accepted.send_modify(|count| *count += 1);
        let state = state.subscribe();
        if state.borrow().link.is_cut {
            reset(&client);
            continue;
        }
        tokio::spawn(connection(client, target.clone(), state));
    }
}

async fn connection(client: TcpStream, target: String, mut state: watch::Receiver<State>) {
    let generation = state.borrow().generation;
    // While everything is lost, so is the attempt to connect; the client only sees that nobody answers.
    let wait_for_target = state.wait_for(|state| state.link != Link::LOSE_ALL);
    if wait_for_target.await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(&target).await else {
        return reset(&client);
    };
    for stream in [&client, &server] {
        // A peer that has just gone cannot be told.
        let _gone = stream.set_nodelay(true);
    }
    let (requests, answers) = (state.clone(), state.clone());
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, requests, |link| link.requests) => {}
        () = pump(from_server, to_client, answers, |link| link.answers) => {}
        // An error means that the proxy is gone.
        _ = state.wait_for(|state| state.generation != generation) => {}
    }
}

/// Closes with a reset where the system lets us, so that the peer sees an error and not an end.
fn reset(stream: &TcpStream) {
    let _gone = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}
