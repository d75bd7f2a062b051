//! A TCP proxy in front of a member, to lose answers and cut connections at the wrong moment.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to the bytes of all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They pass.
    Pass,
    /// Requests pass, answers are lost: the client hears nothing more.
    LoseAnswers,
    /// Both are lost.
    LoseAll,
}

#[derive(Debug, Clone, Copy)]
struct State {
    mode: Mode,
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
    /// Listens on a free port and passes on to `target`.
    pub async fn start(target: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(watch::Sender::new(State {
            mode: Mode::Pass,
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

    /// `host:port` to connect to instead of the member's.
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// From now on.
    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
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
        let (target, mut state) = (target.clone(), state.subscribe());
        let generation = state.borrow().generation;
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(&target).await else {
                return;
            };
            let requests_pass = |mode| mode != Mode::LoseAll;
            let answers_pass = |mode| mode == Mode::Pass;
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let (of_requests, of_answers) = (state.clone(), state.clone());
            tokio::select! {
                () = pump(from_client, to_server, of_requests, requests_pass) => {}
                () = pump(from_server, to_client, of_answers, answers_pass) => {}
                // An error means that the proxy is gone.
                _ = state.wait_for(|state| state.generation != generation) => {}
            }
        });
    }
}

/// Passes bytes on, or reads them and lets them go.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: watch::Receiver<State>,
    passes: impl Fn(Mode) -> bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let mode = state.borrow().mode;
        if passes(mode) && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
