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

    fn send(&mut self) -> Result<()> {
        Ok(self.stream.write_all(REQUEST)?)
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
