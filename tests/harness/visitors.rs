//! Visitors of a redirect service, each of whose requests is unique.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Long enough for anything but an answer that does not come.
const WAIT: Duration = Duration::from_secs(10);

/// One visit that was answered with a redirect.
#[derive(Debug, Clone, Copy)]
pub struct Visit {
    /// Its number, which no other visit has; the request says it as `?n=`.
    pub number: u64,
    /// When the answer had come.
    pub answered: Instant,
    /// How long it took.
    pub took: Duration,
}

/// Visits that are under way.
#[derive(Debug, Default)]
pub struct Visitors {
    next: AtomicU64,
    stop: AtomicBool,
}

impl Visitors {
    /// Sends visitors to `url` (`http://host:port`, whose link `/a` leads somewhere) over `lines`
    /// connections, one after the other on each, while `meanwhile` runs. Returns the visits that
    /// were answered, in no order; a connection that breaks ends.
    pub fn during<T>(
        &self,
        url: &str,
        connections: usize,
        pause: Duration,
        meanwhile: impl FnOnce() -> T,
    ) -> (Vec<Visit>, T) {
        self.stop.store(false, Ordering::SeqCst);
        let host = url.trim_start_matches("http://").to_owned();
        std::thread::scope(|scope| {
            let host = host.as_str();
            let connection = |_| scope.spawn(move || self.connection(host, pause));
            let connections: Vec<_> = (0..connections).map(connection).collect();
            let result = meanwhile();
            self.stop.store(true, Ordering::SeqCst);
            let visits = connections
                .into_iter()
                .flat_map(|connection| connection.join().expect("a visitor"));
            (visits.collect(), result)
        })
    }

    fn connection(&self, host: &str, pause: Duration) -> Vec<Visit> {
        let mut visits = Vec::new();
        let Ok(mut stream) = TcpStream::connect(host) else { return visits };
        stream.set_nodelay(true).expect("a socket takes it");
        stream.set_read_timeout(Some(WAIT)).expect("a socket takes it");
        while !self.stop.load(Ordering::SeqCst) {
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

/// Whether a redirect came. It has no body, so its head is all of it.
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
