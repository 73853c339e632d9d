//! Load on a redirect service: a closed loop to find a rate, an open one to measure delays at a rate.
//!
//! The same for all services. Connections stay open, answers are read to their end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

/// Connections of the closed loop.
const CONNECTIONS: usize = 32;
/// Connections of the open loop, each with a thread: at most so many visits overlap.
const THREADS: u32 = 64;
/// Longest wait for an answer.
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

    fn send(&mut self) -> Result<()> {
        Ok(self.stream.write_all(REQUEST)?)
    }

    /// Reads one answer, which must be a redirect.
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

/// The length of a complete answer at the start of some bytes.
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
    let length = end + 4 + length.context("an answer without its length")??;
    Ok((bytes.len() >= length).then_some(length))
}

/// Visits one after the other on each connection for a while: how many were answered.
///
/// # Errors
/// An answer that is no redirect, or none.
///
/// # Panics
/// Never.
pub fn closed(host: &str, window: Duration) -> Result<u64> {
    let until = Instant::now() + window;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // On one thread, which never waits for one connection while another has data.
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

/// Visits at a steady rate for a while, however long an answer takes: the 99th percentile of the
/// milliseconds from the moment when a visit was due, and how many there were.
///
/// # Errors
/// An answer that is no redirect, or none.
///
/// # Panics
/// Never.
pub fn open(host: &str, rate: f64, window: Duration) -> Result<(f64, u64)> {
    let began = Instant::now() + Duration::from_millis(20);
    let between = Duration::from_secs_f64(f64::from(THREADS) / rate);
    let one = |number: u32| -> Result<Vec<Duration>> {
        let mut connection = Connection::open(host)?;
        let (mut took, mut due) = (Vec::new(), began + between * number / THREADS);
        while due < began + window {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            connection.send()?;
            connection.receive()?;
            took.push(due.elapsed());
            due += between;
        }
        Ok(took)
    };
    let took = std::thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..THREADS).map(|number| scope.spawn(move || one(number))).collect();
        let ended = threads.into_iter().map(|it| it.join().expect("a loader does not panic"));
        ended.collect::<Result<Vec<_>>>()
    })?;
    let mut took = took.concat();
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100).context("no visit was due")?;
    Ok((p99.as_secs_f64() * 1000.0, took.len() as u64))
}
