//! A collector of spans that keeps what it is sent: enough HTTP to take a POST.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A listening collector; it goes with the test's process.
#[derive(Debug)]
pub struct Collector {
    /// What to give as the OTLP endpoint.
    pub endpoint: String,
    bodies: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    /// Listens.
    ///
    /// # Panics
    /// When there is no port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bodies);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(&stream, &kept));
            }
        });
        Self { endpoint, bodies }
    }

    /// Everything that was sent to `/v1/traces`, one body after another.
    pub fn received(&self) -> Vec<u8> {
        self.bodies.lock().expect("no test panics in here").clone()
    }

    /// Whether these bytes stand in what was received.
    pub fn holds(&self, needle: &[u8]) -> bool {
        self.received().windows(needle.len()).any(|window| window == needle)
    }
}

fn serve(stream: &TcpStream, kept: &Mutex<Vec<u8>>) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        reader.read_line(&mut head).ok().filter(|bytes| *bytes > 0)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        if head.starts_with("POST /v1/traces ") {
            kept.lock().ok()?.extend_from_slice(&body);
        }
        let mut writer = stream;
        let answer =
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        writer.write_all(answer).ok()?;
    }
}
