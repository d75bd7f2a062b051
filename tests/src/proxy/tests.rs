//! Against a server that answers every byte with the same byte.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::*;

/// Longer than anything here takes when it works.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    proxy: Proxy,
    /// Bytes that the server has seen.
    heard: watch::Receiver<usize>,
}

async fn world() -> World {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a free port");
    let target = listener.local_addr().expect("bound").to_string();
    let (hearing, heard) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let hearing = hearing.clone();
            tokio::spawn(async move {
                while let Ok(byte) = stream.read_u8().await {
                    hearing.send_modify(|count| *count += 1);
                    if stream.write_u8(byte).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    World {
        proxy: Proxy::start(&target).await,
        heard,
    }
}

impl World {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.proxy.address())
            .await
            .expect("the proxy listens")
    }
}

async fn echo(stream: &mut TcpStream, byte: u8) -> std::io::Result<u8> {
    stream.write_u8(byte).await?;
    timeout(PATIENCE, stream.read_u8())
        .await
        .expect("an answer or an end")
}

#[tokio::test]
async fn bytes_pass() {
    let world = world().await;
    let mut stream = world.connect().await;
    assert_eq!(echo(&mut stream, 7).await.expect("answered"), 7);
}

#[tokio::test]
async fn a_cut_link_breaks_connections_old_and_new() {
    let world = world().await;
    let mut old = world.connect().await;
    assert_eq!(echo(&mut old, 1).await.expect("answered"), 1);
    world.proxy.set(Link::CUT);
    assert!(echo(&mut old, 2).await.is_err());
    let mut new = world.connect().await;
    assert!(echo(&mut new, 3).await.is_err());
    world.proxy.set(Link::PASS);
    let mut healed = world.connect().await;
    assert_eq!(echo(&mut healed, 4).await.expect("answered"), 4);
    assert_eq!(*world.heard.borrow(), 2);
}

#[tokio::test]
async fn each_direction_is_lost_by_itself() {
    let world = world().await;
    let mut stream = world.connect().await;
    assert_eq!(echo(&mut stream, 1).await.expect("answered"), 1);
    world.proxy.set(Link::LOSE_ANSWERS);
    stream.write_u8(2).await.expect("taken");
    let mut heard = world.heard.clone();
    let arrived = timeout(PATIENCE, heard.wait_for(|count| *count == 2));
    arrived.await.expect("in time").expect("it arrived");
    // Healing breaks what has a hole in it: the lost answer never comes late.
    world.proxy.set(Link::PASS);
    assert!(
        timeout(PATIENCE, stream.read_u8())
            .await
            .expect("an end")
            .is_err()
    );

    let mut stream = world.connect().await;
    assert_eq!(echo(&mut stream, 3).await.expect("answered"), 3);
    world.proxy.set(Link::LOSE_REQUESTS);
    stream.write_u8(4).await.expect("taken");
    world.proxy.set(Link::PASS);
    assert!(
        timeout(PATIENCE, stream.read_u8())
            .await
            .expect("an end")
            .is_err()
    );
    assert_eq!(*world.heard.borrow(), 3, "the request was lost");
}

#[tokio::test]
async fn late_bytes_arrive_late_and_in_order() {
    let world = world().await;
    let mut stream = world.connect().await;
    assert_eq!(echo(&mut stream, 1).await.expect("answered"), 1);
    let by = Duration::from_millis(60);
    world.proxy.set(Link::late(by));
    let began = Instant::now();
    stream.write_all(&[2, 3]).await.expect("taken");
    let mut answers = [0; 2];
    let read = timeout(PATIENCE, stream.read_exact(&mut answers)).await;
    read.expect("in time").expect("answered");
    assert_eq!(answers, [2, 3]);
    assert!(began.elapsed() >= by * 2, "{:?}", began.elapsed());
}
