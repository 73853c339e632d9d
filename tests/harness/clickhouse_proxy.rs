//! A fault proxy for ClickHouse: it drops the responses to applied inserts, holds inserts or requests with a
//! text, or refuses connections.

use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(10);

/// A fault proxy for one server, on its own port; it ends with the process of the test.
#[derive(Debug)]
pub struct ClickHouseProxy {
    /// Its base URL.
    pub url: String,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    /// The number of responses to inserts that it will drop.
    lose: AtomicU32,
    lost: AtomicU32,
    /// Whether it refuses connections.
    closed: AtomicBool,
    /// Connections that it refused.
    refused: AtomicU32,
    /// Whether it holds inserts.
    held: AtomicBool,
    /// Inserts, or requests with the text, that it held.
    waited: AtomicU32,
    /// The requests that it holds by their text.
    text: Mutex<HeldText>,
    /// The heads of requests that insert.
    heads: Mutex<Vec<String>>,
}

#[derive(Debug, Default)]
struct HeldText {
    /// Empty: holds none.
    text: String,
    /// Requests with the text that it forwards first.
    after: u32,
}

impl Faults {
    /// Whether a part of a request has to wait, by its text.
    fn holds(&self, piece: &[u8]) -> bool {
        let mut held = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let text = held.text.as_bytes();
        if text.is_empty() || !piece.windows(text.len()).any(|window| window == text) {
            return false;
        }
        let left = held.after.checked_sub(1);
        held.after = left.unwrap_or_default();
        left.is_none()
    }
}

impl ClickHouseProxy {
    /// A proxy to `url` (`http://host:port`).
    ///
    /// # Panics
    /// When there is no port.
    pub fn start(url: &str) -> Self {
        let target = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let faults = Arc::new(Faults::default());
        let shared = Arc::clone(&faults);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.closed.load(Ordering::SeqCst) {
                    shared.refused.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let Ok(server) = TcpStream::connect(&target) else { continue };
                join(client, server, &shared);
            }
        });
        Self { url, faults }
    }

    /// Drops the responses to the next `count` inserts: the server has applied them, and the client's
    /// connection is closed.
    pub fn lose_answers(&self, count: u32) {
        self.faults.lose.store(count, Ordering::SeqCst);
    }

    /// Responses dropped so far.
    pub fn lost(&self) -> u32 {
        self.faults.lost.load(Ordering::SeqCst)
    }

    /// Connections refused so far.
    pub fn refused(&self) -> u32 {
        self.faults.refused.load(Ordering::SeqCst)
    }

    /// Parts of inserts, and requests with the text, that it held so far.
    pub fn waited(&self) -> u32 {
        self.faults.waited.load(Ordering::SeqCst)
    }

    /// The heads of the requests so far that insert.
    ///
    /// # Panics
    /// When another thread has panicked while it held them.
    pub fn heads(&self) -> Vec<String> {
        self.faults.heads.lock().expect("no thread panics in here").clone()
    }

    /// Holds inserts (`true`) or forwards them again.
    pub fn hold(&self, held: bool) {
        self.faults.held.store(held, Ordering::SeqCst);
    }

    /// Forwards `after` requests that contain `text`, and then holds such requests; an empty text forwards all
    /// again. The text is within the first bytes of a request.
    pub fn hold_text(&self, text: &str, after: u32) {
        let mut held = self.faults.text.lock().unwrap_or_else(PoisonError::into_inner);
        *held = HeldText { text: text.to_owned(), after };
    }

    /// Closes new connections at once (`true`) or forwards them again.
    pub fn close(&self, closed: bool) {
        self.faults.closed.store(closed, Ordering::SeqCst);
    }
}

fn join(client: TcpStream, server: TcpStream, faults: &Arc<Faults>) {
    let inserts = Arc::new(AtomicBool::new(false));
    let copies =
        [&client, &server].map(|stream| stream.try_clone().expect("a stream can be cloned"));
    let [client_too, server_too] = copies;
    let (seen, held_faults) = (Arc::clone(&inserts), Arc::clone(faults));
    std::thread::spawn(move || {
        copy(client_too, server_too, |piece| {
            let insert = piece.windows(6).any(|window| window.eq_ignore_ascii_case(b"insert"));
            // A request head fits into one read, so that no word of it is split.
            if insert && piece.starts_with(b"POST ") {
                let head = String::from_utf8_lossy(piece);
                let head = head.split("\r\n\r\n").next().unwrap_or_default().to_owned();
                held_faults.heads.lock().expect("no thread panics in here").push(head);
            }
            let insert = seen.fetch_or(insert, Ordering::SeqCst) || insert;
            if insert && held_faults.held.load(Ordering::SeqCst) {
                held_faults.waited.fetch_add(1, Ordering::SeqCst);
            }
            while insert && held_faults.held.load(Ordering::SeqCst) {
                std::thread::sleep(PAUSE);
            }
            if held_faults.holds(piece) {
                held_faults.waited.fetch_add(1, Ordering::SeqCst);
                while held_faults.holds(piece) {
                    std::thread::sleep(PAUSE);
                }
            }
            true
        });
    });
    let faults = Arc::clone(faults);
    std::thread::spawn(move || {
        copy(server, client, |_| {
            let take = |left: u32| left.checked_sub(1);
            let lose = inserts.swap(false, Ordering::SeqCst)
                && faults.lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
            if lose {
                faults.lost.fetch_add(1, Ordering::SeqCst);
            }
            let closed = faults.closed.load(Ordering::SeqCst);
            if closed {
                faults.refused.fetch_add(1, Ordering::SeqCst);
            }
            !lose && !closed
        });
    });
}

/// Copies until one side closes or `pass` refuses a part; then closes both sides.
fn copy(mut from: TcpStream, mut to: TcpStream, mut pass: impl FnMut(&[u8]) -> bool) {
    let mut piece = vec![0; 64 * 1024];
    loop {
        match from.read(&mut piece) {
            Ok(length)
                if length > 0
                    && pass(&piece[..length])
                    && to.write_all(&piece[..length]).is_ok() => {}
            _ => break,
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
