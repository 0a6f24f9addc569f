//! A TCP proxy in front of a database that cuts writing connections at a step of the test's choice.
//! A step is one chunk of data from either side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// How much of the chunk at the cut still arrives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrives {
    Nothing,
    Half,
    All,
}

pub struct Proxy {
    pub address: SocketAddr,
    cutter: Arc<Cutter>,
}

#[derive(Default)]
struct Cutter {
    /// 0: no cut.
    at: AtomicU64,
    steps: AtomicU64,
    /// Thirds of a chunk, as [`Arrives`].
    halves: AtomicU64,
    cuts: AtomicU64,
}

struct Link {
    writes: AtomicBool,
    cut: Notify,
}

impl Proxy {
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let cutter = Arc::new(Cutter::default());
        let shared = cutter.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(upstream).await else { continue };
                let link = Arc::new(Link { writes: AtomicBool::new(false), cut: Notify::new() });
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(carry(from_client, to_server, true, link.clone(), shared.clone()));
                tokio::spawn(carry(from_server, to_client, false, link, shared.clone()));
            }
        });
        Self { address, cutter }
    }

    /// Cuts the next connection that reaches step `at`, counted from 1.
    pub fn arm(&self, at: u64, arrives: Arrives) {
        self.cutter.at.store(0, Ordering::SeqCst);
        self.cutter.steps.store(0, Ordering::SeqCst);
        self.cutter.cuts.store(0, Ordering::SeqCst);
        let halves = match arrives {
            Arrives::Nothing => 0,
            Arrives::Half => 1,
            Arrives::All => 2,
        };
        self.cutter.halves.store(halves, Ordering::SeqCst);
        self.cutter.at.store(at, Ordering::SeqCst);
    }

    /// Whether a connection was cut since the last `arm`.
    pub fn disarm(&self) -> bool {
        self.cutter.at.store(0, Ordering::SeqCst);
        self.cutter.cuts.load(Ordering::SeqCst) > 0
    }
}

/// Carries one direction of a connection until it ends or is cut.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    of_client: bool,
    link: Arc<Link>,
    cutter: Arc<Cutter>,
) {
    let mut part = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut part) => read,
            () = link.cut.notified() => return,
        };
        let Ok(length @ 1..) = read else { break };
        let part = &part[..length];
        let verbs: [&[u8]; 2] = [b"BEGIN", b"INSERT"];
        let has = |verb: &&[u8]| part.windows(verb.len()).any(|window| window == *verb);
        if of_client && verbs.iter().any(has) {
            link.writes.store(true, Ordering::SeqCst);
        }
        let at = cutter.at.load(Ordering::SeqCst);
        if at > 0
            && link.writes.load(Ordering::SeqCst)
            && cutter.steps.fetch_add(1, Ordering::SeqCst) + 1 == at
        {
            cutter.cuts.fetch_add(1, Ordering::SeqCst);
            let halves = usize::try_from(cutter.halves.load(Ordering::SeqCst)).unwrap_or(0);
            let _ = to.write_all(&part[..length * halves / 2]).await;
            break;
        }
        if to.write_all(part).await.is_err() {
            break;
        }
    }
    // Ends the other direction as well.
    link.cut.notify_one();
}
