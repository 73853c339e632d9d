//! A front before an engine: it forwards TCP connections on a port of its own. Several fronts before one
//! engine stand for the replicas of a shard; each can be killed or paused apart from the others.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::ports::free_port;

const PAUSE: Duration = Duration::from_millis(5);

/// A front; it ends with the process of the test.
#[derive(Debug)]
pub struct ReplicaFront {
    address: SocketAddr,
    target: String,
    state: Arc<FrontState>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct FrontState {
    killed: AtomicBool,
    paused: AtomicBool,
    /// Bytes that clients have sent to it, also those that it holds while it is paused.
    received: AtomicU64,
    /// Both sides of each open connection.
    connections: Mutex<Vec<TcpStream>>,
}

impl FrontState {
    fn connections(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReplicaFront {
    /// A front before `url` (`http://host:port`).
    ///
    /// # Panics
    /// When there is no port.
    pub fn start(url: &str) -> Self {
        let target = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let front = Self {
            address: free_port(),
            target,
            state: Arc::default(),
            accepting: Mutex::default(),
        };
        front.restart();
        front
    }

    /// Its base URL, also while it is killed.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Bytes that clients have sent to it, also those that it holds while it is paused.
    pub fn received(&self) -> u64 {
        self.state.received.load(Ordering::SeqCst)
    }

    /// Ends it with all its connections: new ones are refused.
    ///
    /// # Panics
    /// When its thread has panicked.
    pub fn kill(&self) {
        self.state.killed.store(true, Ordering::SeqCst);
        let accepting = self.accepting.lock().expect("no thread panics with it").take();
        accepting.map(JoinHandle::join).transpose().expect("the front does not panic");
        for connection in self.state.connections().drain(..) {
            connection.shutdown(Shutdown::Both).ok();
        }
    }

    /// Starts it again on its port.
    ///
    /// # Panics
    /// When another program has taken the port.
    pub fn restart(&self) {
        self.state.killed.store(false, Ordering::SeqCst);
        let listener = TcpListener::bind(self.address).expect("its port is free");
        listener.set_nonblocking(true).expect("a listener can be polled");
        let (state, target) = (Arc::clone(&self.state), self.target.clone());
        let accepting = std::thread::spawn(move || accept(&listener, &target, &state));
        *self.accepting.lock().expect("no thread panics with it") = Some(accepting);
    }

    /// Stops forwarding with the connections open (`true`), as a machine that hangs does, or continues it.
    pub fn pause(&self, paused: bool) {
        self.state.paused.store(paused, Ordering::SeqCst);
    }
}

fn accept(listener: &TcpListener, target: &str, state: &Arc<FrontState>) {
    while !state.killed.load(Ordering::SeqCst) {
        let Ok((client, _)) = listener.accept() else {
            std::thread::sleep(PAUSE);
            continue;
        };
        // An engine that is down: the client's connection is closed.
        let Ok(server) = TcpStream::connect(target) else { continue };
        client.set_nonblocking(false).expect("a stream can block");
        let copy = |stream: &TcpStream| stream.try_clone().expect("a stream can be cloned");
        state.connections().extend([copy(&client), copy(&server)]);
        let (client_too, server_too) = (copy(&client), copy(&server));
        let (sent, answered) = (Arc::clone(state), Arc::clone(state));
        std::thread::spawn(move || {
            forward(client, server_too, &sent, |count| {
                sent.received.fetch_add(count, Ordering::SeqCst);
            });
        });
        std::thread::spawn(move || forward(server, client_too, &answered, |_| ()));
    }
}

/// Forwards one direction of a connection to its end.
fn forward(mut from: TcpStream, mut to: TcpStream, state: &FrontState, count: impl Fn(u64)) {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut piece).unwrap_or(0);
        count(length as u64);
        while state.paused.load(Ordering::SeqCst) && !state.killed.load(Ordering::SeqCst) {
            std::thread::sleep(PAUSE);
        }
        if length == 0 || to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
