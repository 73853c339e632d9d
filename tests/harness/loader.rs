//! A load generator for redirect services: a closed loop finds the rate, an open loop measures delays
//! at a rate.
//!
//! It treats all services alike, keeps its connections open and reads each response to its end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

/// Connections of the closed loop.
const CONNECTIONS: usize = 32;
/// Connections of the open loop, each with a thread: the most visits at a time.
const THREADS: u32 = 64;
/// Time to open the connections of the open loop, before its first visit is due.
const LEAD: Duration = Duration::from_millis(100);
/// A visit that is sent later than this after it was due is late.
pub const ON_TIME: Duration = Duration::from_millis(10);
/// The longest wait for a response.
const PATIENCE: Duration = Duration::from_secs(10);
const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: go.example\r\nUser-Agent: bench\r\n\r\n";

/// One connection.
struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Connection {
    fn open(host: &str) -> Result<Self> {
        let stream = TcpStream::connect(host).with_context(|| host.to_owned())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, bytes: Vec::new() })
    }

    fn send(&mut self, head: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(head)?)
    }

    /// Reads one response, which must be a redirect.
    fn receive(&mut self) -> Result<()> {
        let mut piece = [0; 4096];
        loop {
            if let Some(length) = answer_length(&self.bytes)? {
                self.bytes.drain(..length);
                return Ok(());
            }
            let count = self.stream.read(&mut piece)?;
            ensure!(count > 0, "a connection was closed");
            self.bytes.extend_from_slice(&piece[..count]);
        }
    }
}

/// The length of a complete response at the start of some bytes.
fn answer_length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end])?;
    if !head.starts_with("HTTP/1.1 302 ") {
        bail!("no redirect: {head}");
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let length = end + 4 + length.context("a response without its length")??;
    Ok((bytes.len() >= length).then_some(length))
}

/// Sends visits one after another on each connection during `window`; returns the number of responses.
///
/// # Errors
/// An answer that is no redirect, or none.
///
/// # Panics
/// Never.
pub fn closed(host: &str, window: Duration) -> Result<u64> {
    let until = Instant::now() + window;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // On one thread, which does not wait for a connection while another has data.
    runtime.block_on(async {
        let mut connections = JoinSet::new();
        for _ in 0..CONNECTIONS {
            connections.spawn(visits(host.to_owned(), until));
        }
        let mut answers = 0;
        while let Some(answered) = connections.join_next().await {
            answers += answered.expect("a loader does not panic")?;
        }
        Ok(answers)
    })
}

/// One connection of the closed loop.
async fn visits(host: String, until: Instant) -> Result<u64> {
    let mut stream = tokio::net::TcpStream::connect(&host).await.with_context(|| host.clone())?;
    stream.set_nodelay(true)?;
    let (mut bytes, mut answers) = (Vec::with_capacity(4096), 0);
    while Instant::now() < until {
        stream.write_all(REQUEST).await?;
        let length = loop {
            if let Some(length) = answer_length(&bytes)? {
                break length;
            }
            ensure!(stream.read_buf(&mut bytes).await? > 0, "a connection was closed");
        };
        bytes.drain(..length);
        answers += 1;
    }
    Ok(answers)
}

/// Sends visits at a steady rate during a time, even while responses are late; returns the 99th
/// percentile of the milliseconds since a visit was due, and the number of visits.
///
/// # Errors
/// An answer that is no redirect, or none.
pub fn open(host: &str, rate: f64, window: Duration) -> Result<(f64, u64)> {
    let mut heads = Heads::default();
    heads.push(REQUEST);
    let visits =
        OpenLoop { host, connections: THREADS, rate, window, heads: &heads, first: 0 }.run()?;
    Ok((visits.p99_ms, visits.count))
}

/// Request heads, which an open loop sends one after another and then from the first one again.
#[derive(Debug, Default)]
pub struct Heads {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Heads {
    /// Adds a complete head.
    pub fn push(&mut self, head: &[u8]) {
        self.bytes.extend_from_slice(head);
        self.ends.push(self.bytes.len());
    }

    /// The head of visit `number`.
    fn get(&self, number: usize) -> &[u8] {
        let at = number % self.ends.len();
        let from = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[from..self.ends[at]]
    }
}

/// Visits at a steady rate. Each has its time and its connection; only a response that comes later than
/// the next visit of its connection is due delays that visit.
#[derive(Debug, Clone, Copy)]
pub struct OpenLoop<'l> {
    /// `host:port`.
    pub host: &'l str,
    /// Connections, each with a thread.
    pub connections: u32,
    /// Visits a second.
    pub rate: f64,
    /// How long visits are due.
    pub window: Duration,
    /// What is sent; not empty.
    pub heads: &'l Heads,
    /// The number of the first head.
    pub first: usize,
}

/// The visits of an open loop.
#[derive(Debug, Clone, Copy)]
pub struct Visits {
    /// Their number; each was answered.
    pub count: u64,
    /// The 99th percentile of the milliseconds from when a visit was due to its response.
    pub p99_ms: f64,
    /// The share that was sent at most [`ON_TIME`] after it was due.
    pub on_time: f64,
}

impl OpenLoop<'_> {
    /// Sends all visits.
    ///
    /// # Errors
    /// An answer that is no redirect, or none.
    ///
    /// # Panics
    /// Never.
    pub fn run(&self) -> Result<Visits> {
        let began = Instant::now() + LEAD;
        let took = std::thread::scope(|scope| {
            let one = |number| scope.spawn(move || self.connection(number, began));
            let threads: Vec<_> = (0..self.connections).map(one).collect();
            let ended = threads.into_iter().map(|it| it.join().expect("a loader does not panic"));
            ended.collect::<Result<Vec<_>>>()
        })?;
        let late: u64 = took.iter().map(|(_, late)| late).sum();
        let mut took: Vec<_> = took.into_iter().flat_map(|(took, _)| took).collect();
        took.sort_unstable();
        let p99 = took.get(took.len() * 99 / 100).context("no visit was due")?;
        let count = took.len() as u64;
        let on_time = 1.0 - late as f64 / count as f64;
        Ok(Visits { count, p99_ms: p99.as_secs_f64() * 1000.0, on_time })
    }

    /// The visits of connection `number`: the time of each from when it was due, and how many were sent
    /// late.
    fn connection(&self, number: u32, began: Instant) -> Result<(Vec<Duration>, u64)> {
        let between = Duration::from_secs_f64(f64::from(self.connections) / self.rate);
        let mut connection = Connection::open(self.host)?;
        let mut due = began + between * number / self.connections;
        let (mut took, mut late, mut head) = (Vec::new(), 0, self.first + number as usize);
        while due < began + self.window {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            late += u64::from(due.elapsed() > ON_TIME);
            connection.send(self.heads.get(head))?;
            connection.receive()?;
            took.push(due.elapsed());
            due += between;
            head += self.connections as usize;
        }
        Ok((took, late))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_sent_in_order_and_from_the_first_again() {
        let mut heads = Heads::default();
        heads.push(b"one");
        heads.push(b"three");
        assert_eq!(
            [0, 1, 2, 5].map(|number| heads.get(number)),
            [&b"one"[..], b"three", b"one", b"three"]
        );
    }
}
