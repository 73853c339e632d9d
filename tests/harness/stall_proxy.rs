//! A fault proxy for any TCP server: it stops forwarding without closing connections.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(5);

/// A fault proxy for one server, on its own port; it ends with the process of the test.
#[derive(Debug)]
pub struct StallProxy {
    /// Its address.
    pub address: SocketAddr,
    stalled: Arc<AtomicBool>,
}

impl StallProxy {
    /// A proxy to `target` (`host:port`).
    ///
    /// # Panics
    /// When there is no port.
    pub fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let stalled = Arc::new(AtomicBool::new(false));
        let (shared, target) = (Arc::clone(&stalled), target.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let copies =
                    [&client, &server].map(|stream| stream.try_clone().expect("a second handle"));
                let [client_too, server_too] = copies;
                for (from, to) in [(client, server_too), (server, client_too)] {
                    let stalled = Arc::clone(&shared);
                    std::thread::spawn(move || forward(from, to, &stalled));
                }
            }
        });
        Self { address, stalled }
    }

    /// Stops forwarding (`true`) or continues it.
    pub fn stall(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::SeqCst);
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, stalled: &AtomicBool) {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut piece).unwrap_or(0);
        while stalled.load(Ordering::SeqCst) {
            std::thread::sleep(PAUSE);
        }
        if length == 0 || to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
