use std::collections::VecDeque;

use alluvium_protocol::ApiKey;
use bytes::{BufMut, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

const PRODUCE: i16 = ApiKey::Produce as i16;
const FETCH: i16 = ApiKey::Fetch as i16;

/// Answers a request with its own frame when the test lets it.
#[derive(Default)]
struct Echo {
    started: Mutex<Vec<Bytes>>,
    gates: Mutex<VecDeque<oneshot::Receiver<Reply>>>,
    news: tokio::sync::Notify,
}

impl Echo {
    /// The next request to start is answered with what is sent here.
    fn gate(&self) -> oneshot::Sender<Reply> {
        let (open, gate) = oneshot::channel();
        self.gates.lock().push_back(gate);
        open
    }

    async fn started(&self, count: usize) {
        let reached = async {
            loop {
                let news = self.news.notified();
                if self.started.lock().len() >= count {
                    return;
                }
                news.await;
            }
        };
        let patience = Duration::from_secs(5);
        tokio::time::timeout(patience, reached)
            .await
            .expect("the requests start");
    }
}

impl RequestHandler for Echo {
    fn is_pipelined(&self, frame: &[u8]) -> bool {
        frame[..2] == PRODUCE.to_be_bytes()
    }

    fn start(&self, frame: Frame) -> Finish {
        self.started.lock().push(frame.bytes.clone());
        self.news.notify_waiters();
        let gate = self.gates.lock().pop_front();
        Box::pin(async move {
            match gate {
                Some(gate) => gate.await.unwrap_or(Reply::Nothing),
                None => Reply::Send(vec![frame.bytes]),
            }
        })
    }
}

struct Client {
    stream: DuplexStream,
    server: tokio::task::JoinHandle<Ended>,
    handler: Arc<Echo>,
    stopping: CancellationToken,
}

fn connect() -> Client {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (reader, writer) = tokio::io::split(far);
    let handler = Arc::new(Echo::default());
    let stopping = CancellationToken::new();
    let limits = ConnectionLimits {
        read: ReadLimits {
            frame_bytes_max: 1 << 20,
            idle: Duration::from_secs(600),
            stall: Duration::from_secs(30),
        },
        write_stall: Duration::from_secs(600),
    };
    let budgets = RequestBudgets {
        produce: alluvium_ingest::backpressure::ByteBudget::new(4 << 20),
        other: alluvium_ingest::backpressure::ByteBudget::new(4 << 20),
        buffers: crate::network::buffer_pool::BufferPool::new(1 << 20),
    };
    let serving = serve(
        reader,
        writer,
        Arc::clone(&handler) as Arc<dyn RequestHandler>,
        budgets,
        limits,
        stopping.clone(),
    );
    Client {
        stream: near,
        server: tokio::spawn(serving),
        handler,
        stopping,
    }
}

fn frame(api: i16, text: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(api);
    // Version and correlation id: a shorter frame is none.
    bytes.put_slice(&[0; 6]);
    bytes.put_slice(text.as_bytes());
    bytes.freeze()
}

fn answer(text: &'static str) -> Reply {
    Reply::Send(vec![Bytes::from_static(text.as_bytes())])
}

impl Client {
    async fn send(&mut self, api: i16, text: &str) {
        let frame = frame(api, text);
        self.stream
            .write_u32(frame.len() as u32)
            .await
            .expect("sent");
        self.stream.write_all(&frame).await.expect("sent");
    }

    async fn receive(&mut self, expected: &str) {
        let mut bytes = vec![0; expected.len()];
        self.stream.read_exact(&mut bytes).await.expect("received");
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn produce_requests_start_at_once_and_are_answered_in_order() {
    let mut client = connect();
    let (first, second) = (client.handler.gate(), client.handler.gate());
    client.send(PRODUCE, "1").await;
    client.send(PRODUCE, "2").await;
    client.handler.started(2).await;
    second.send(answer("two")).expect("waited for");
    first.send(answer("one")).expect("waited for");
    client.receive("onetwo").await;
}

#[tokio::test(start_paused = true)]
async fn other_requests_wait_for_all_before_them_and_hold_up_all_behind_them() {
    let mut client = connect();
    let gates: Vec<_> = (0..3).map(|_| client.handler.gate()).collect();
    client.send(PRODUCE, "1").await;
    client.send(FETCH, "2").await;
    client.send(PRODUCE, "3").await;
    client.handler.started(1).await;
    // Time passes (it is paused, so everything that can run does): nothing else may start.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.handler.started.lock().len(), 1);
    let mut gates = gates.into_iter();
    for (started, text) in [(2, "one"), (3, "two"), (3, "three")] {
        let gate = gates.next().expect("three gates");
        gate.send(answer(text)).expect("waited for");
        client.receive(text).await;
        client.handler.started(started).await;
    }
}

#[tokio::test(start_paused = true)]
async fn requests_without_an_answer_shift_nothing() {
    let mut client = connect();
    let silent = client.handler.gate();
    client.send(PRODUCE, "quiet").await;
    client.send(PRODUCE, "loud").await;
    silent.send(Reply::Nothing).expect("waited for");
    let loud = frame(PRODUCE, "loud");
    let mut bytes = vec![0; loud.len()];
    client
        .stream
        .read_exact(&mut bytes)
        .await
        .expect("received");
    assert_eq!(bytes, loud);
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_closes_after_the_answers_before_it() {
    let mut client = connect();
    let (first, second) = (client.handler.gate(), client.handler.gate());
    client.send(PRODUCE, "1").await;
    client.send(PRODUCE, "2").await;
    client.handler.started(2).await;
    second
        .send(Reply::Close("bad".to_owned()))
        .expect("waited for");
    first.send(answer("one")).expect("waited for");
    client.receive("one").await;
    assert_eq!(client.stream.read(&mut [0; 1]).await.expect("closed"), 0);
    let ended = client.server.await.expect("ended");
    assert!(matches!(ended, Ended::Refused(_)), "{ended}");
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_client_still_gets_its_answers() {
    let mut client = connect();
    let gate = client.handler.gate();
    client.send(PRODUCE, "1").await;
    client.handler.started(1).await;
    client.stream.shutdown().await.expect("half closed");
    gate.send(answer("one")).expect("waited for");
    client.receive("one").await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_what_was_read_be_answered() {
    let mut client = connect();
    let gate = client.handler.gate();
    client.send(PRODUCE, "1").await;
    client.handler.started(1).await;
    client.stopping.cancel();
    gate.send(answer("one")).expect("waited for");
    client.receive("one").await;
    assert_eq!(client.stream.read(&mut [0; 1]).await.expect("closed"), 0);
}

#[tokio::test(start_paused = true)]
async fn frames_that_are_none_end_the_connection_with_a_reason() {
    for (bytes, wanted) in [
        (&[0xff, 0xff, 0xff, 0xff, 0, 0][..], "negative"),
        (&[0x7f, 0xff, 0xff, 0xff, 0, 0][..], "limit"),
        (b"GET / HTTP/1.1\r\n", "HTTP"),
    ] {
        let mut client = connect();
        client.stream.write_all(bytes).await.expect("sent");
        let ended = client.server.await.expect("ended").to_string();
        assert!(ended.contains(wanted), "{ended}");
    }
}

#[tokio::test(start_paused = true)]
async fn idle_and_stalled_clients_are_let_go() {
    let client = connect();
    let ended = client.server.await.expect("ended");
    assert!(matches!(ended, Ended::Read(ReadError::Idle(_))), "{ended}");

    let mut client = connect();
    client.stream.write_u32(1_000).await.expect("sent");
    client
        .stream
        .write_all(&frame(PRODUCE, "begun"))
        .await
        .expect("sent");
    let ended = client.server.await.expect("ended");
    assert!(
        matches!(ended, Ended::Read(ReadError::Stalled { .. })),
        "{ended}"
    );
}

#[tokio::test(start_paused = true)]
async fn large_frames_arrive_whole() {
    let mut client = connect();
    let text = "x".repeat(300_000);
    client.send(PRODUCE, &text).await;
    client.handler.started(1).await;
    let wanted = frame(PRODUCE, &text);
    assert_eq!(client.handler.started.lock()[0], wanted);
}
