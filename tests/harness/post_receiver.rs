//! A server that keeps the body of each POST: enough HTTP for an exporter of spans and for a webhook.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A listening server; it ends with the process of the test.
#[derive(Debug)]
pub struct PostReceiver {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl PostReceiver {
    /// Listens, and keeps what is posted to `path`.
    ///
    /// # Panics
    /// When there is no port.
    pub fn start(path: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bodies);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(&stream, path, &kept));
            }
        });
        Self { address, bodies }
    }

    /// Its URL without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bodies so far, in the order of their arrival.
    ///
    /// # Panics
    /// When another test has panicked while it held them.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.bodies.lock().expect("no test panics in here").clone()
    }
}

fn serve(stream: &TcpStream, path: &str, kept: &Mutex<Vec<Vec<u8>>>) -> Option<()> {
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
        if head.starts_with(&format!("POST {path} ")) {
            kept.lock().ok()?.push(body);
        }
        let mut writer = stream;
        let answer =
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        writer.write_all(answer).ok()?;
    }
}
