//! Clients of the public port, each with its own address; some of them stall.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::seeded_random::SeededRandom;

/// The longest exchange; the service's timeouts are shorter.
const EXCHANGE: Duration = Duration::from_secs(40);
/// How long a stalling client writes.
const WRITE: Duration = Duration::from_secs(1);
/// The most open exchanges.
const OPEN_MAX: usize = 300;
const CLOSE: &[u8] = b"Connection: close\r\n";
/// The most held connections.
const HELD_MAX: usize = 3_000;

/// The clients.
#[derive(Debug)]
pub(super) struct HostileClients {
    runtime: Runtime,
    host: SocketAddr,
    held: Vec<TcpStream>,
    open: VecDeque<JoinHandle<Result<Vec<u16>, Elapsed>>>,
    /// Requests sent.
    pub requests: u64,
    /// Stalled connections.
    pub stalled: u64,
    /// Responses by status; 0 counts requests without one.
    pub statuses: BTreeMap<u16, u64>,
}

/// A client's address, as the last byte of 127.0.0.0/24, and its request.
pub(super) type HostileRequest = (u8, Vec<u8>);

impl HostileClients {
    /// For a port (`http://host:port`).
    ///
    /// # Panics
    /// The URL is invalid.
    pub(super) fn new(url: &str) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build();
        Self {
            runtime: runtime.expect("a runtime can be made"),
            host: url.trim_start_matches("http://").parse().expect("an address"),
            held: Vec::new(),
            open: VecDeque::new(),
            requests: 0,
            stalled: 0,
            statuses: BTreeMap::new(),
        }
    }

    /// An address that honest visitors do not use.
    pub(super) fn address(random: &mut SeededRandom) -> u8 {
        u8::try_from(random.between(2, 60)).expect("below 256")
    }

    /// Sends all requests at the same time. Waits only while more than [`OPEN_MAX`] exchanges are open.
    pub(super) fn exchange(&mut self, requests: Vec<HostileRequest>) {
        self.requests += requests.len() as u64;
        let host = self.host;
        for (from, request) in requests {
            let exchange = async move { timeout(EXCHANGE, answer(from, host, request)).await };
            self.open.push_back(self.runtime.spawn(exchange));
        }
        self.wait(OPEN_MAX);
    }

    /// Waits until at most `open_max` exchanges are open.
    fn wait(&mut self, open_max: usize) {
        while self.open.len() > open_max
            && let Some(exchange) = self.open.pop_front()
        {
            let answer = self.runtime.block_on(exchange).ok().and_then(Result::ok);
            let statuses = answer.filter(|all| !all.is_empty()).unwrap_or_else(|| vec![0]);
            statuses.into_iter().for_each(|status| *self.statuses.entry(status).or_default() += 1);
        }
    }

    /// Sends all requests, reads no response, and keeps the connections open.
    pub(super) fn stall(&mut self, requests: Vec<HostileRequest>) {
        let host = self.host;
        self.stalled += requests.len() as u64;
        let streams = self.runtime.block_on(async {
            let one = |(from, request): HostileRequest| {
                tokio::spawn(async move {
                    let mut stream = connect(from, host).await?;
                    timeout(WRITE, stream.write_all(&request)).await.ok();
                    std::io::Result::Ok(stream)
                })
            };
            let tasks: Vec<_> = requests.into_iter().map(one).collect();
            let mut streams = Vec::new();
            for task in tasks {
                streams.extend(task.await.ok().and_then(Result::ok));
            }
            streams
        });
        self.held.extend(streams);
        self.held.drain(..self.held.len().saturating_sub(HELD_MAX));
    }

    /// Closes the held connections.
    pub(super) fn release(&mut self) {
        self.held.clear();
    }

    /// Closes the held and all other connections. An open exchange counts as one without a response.
    pub(super) fn finish(&mut self) {
        self.release();
        self.open.iter().filter(|exchange| !exchange.is_finished()).for_each(JoinHandle::abort);
        self.wait(0);
    }
}

async fn connect(from: u8, host: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, from], 0)))?;
    socket.connect(host).await
}

/// The statuses of the responses.
async fn answer(from: u8, host: SocketAddr, request: Vec<u8>) -> Vec<u16> {
    let Ok(mut stream) = connect(from, host).await else { return Vec::new() };
    // The service may close the connection before all is written.
    stream.write_all(&request).await.ok();
    // The service answers a client that sends `Connection: close`, not one that closes its half.
    if !request.windows(CLOSE.len()).any(|part| part == CLOSE) {
        stream.shutdown().await.ok();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let heads = text.split("HTTP/1.1 ").skip(1);
    heads.filter_map(|head| head.get(..3)?.parse().ok()).collect()
}
