//! Visitors of a redirect service. Each request is unique.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::stop_flag::StopFlag;

/// The longest wait for a response.
const WAIT: Duration = Duration::from_secs(10);

/// A visit whose response was a redirect.
#[derive(Debug, Clone, Copy)]
pub struct Visit {
    /// Its unique number, which the request has as `?n=`.
    pub number: u64,
    /// When the response was complete.
    pub answered: Instant,
    /// How long it took.
    pub took: Duration,
}

/// The visitors, and the number of the next visit.
#[derive(Debug, Default)]
pub struct Visitors {
    next: AtomicU64,
}

impl Visitors {
    /// Sends visits to the link `/a` of `url` (`http://host:port`) over some connections, one after
    /// another on each, while `meanwhile` runs. Returns the visits with a response, in no order. A broken
    /// connection ends.
    pub fn during<T>(
        &self,
        url: &str,
        connections: usize,
        pause: Duration,
        meanwhile: impl FnOnce() -> T,
    ) -> (Vec<Visit>, T) {
        let (stop, host) = (StopFlag::default(), url.trim_start_matches("http://").to_owned());
        std::thread::scope(|scope| {
            let (stop, host) = (&stop, host.as_str());
            let guard = stop.guard();
            let connection = |_| scope.spawn(move || self.connection(host, pause, stop));
            let connections: Vec<_> = (0..connections).map(connection).collect();
            let result = meanwhile();
            drop(guard);
            let visits = connections
                .into_iter()
                .flat_map(|connection| connection.join().expect("a visitor"));
            (visits.collect(), result)
        })
    }

    fn connection(&self, host: &str, pause: Duration, stop: &StopFlag) -> Vec<Visit> {
        let mut visits = Vec::new();
        let Ok(mut stream) = TcpStream::connect(host) else { return visits };
        stream.set_nodelay(true).expect("a socket takes it");
        stream.set_read_timeout(Some(WAIT)).expect("a socket takes it");
        while !stop.is_set() {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            let began = Instant::now();
            if !answered(&mut stream, host, number) {
                break;
            }
            let answered = Instant::now();
            visits.push(Visit { number, answered, took: answered - began });
            std::thread::sleep(pause);
        }
        visits
    }
}

/// Reads a response; returns whether it is a redirect, which has no body.
fn answered(stream: &mut TcpStream, host: &str, number: u64) -> bool {
    let request = format!("GET /a?n={number} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    if stream.write_all(request.as_bytes()).is_err() {
        return false;
    }
    let (mut answer, mut piece) = (Vec::new(), [0; 2048]);
    while !answer.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return false,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
        }
    }
    assert!(answer.starts_with(b"HTTP/1.1 302 "), "{}", String::from_utf8_lossy(&answer));
    true
}
