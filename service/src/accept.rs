//! The accept loop of every port: a bound on open connections, and a pause when accepting fails.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// After a failure (out of descriptors, most likely), so that the loop does not spin.
const PAUSE: Duration = Duration::from_millis(50);

/// An open connection; its slot is free again when `slot` is dropped.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub stream: TcpStream,
    /// The client's address.
    pub peer: SocketAddr,
    /// Its permit among the open connections.
    pub slot: OwnedSemaphorePermit,
}

/// Accepts connections until `shutdown`, at most `connections_max` at once: more wait in the
/// system's backlog. Each is handed to `serve`, which must not block. `port` names the port in logs.
///
/// # Errors
/// That of `serve`; a failure to accept is logged and repeated.
pub async fn run(
    listener: TcpListener,
    port: &str,
    connections_max: usize,
    shutdown: CancellationToken,
    mut serve: impl FnMut(Accepted) -> io::Result<()>,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(connections_max));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok(accepted) => serve(accepted)?,
            Err(error) => {
                tracing::warn!(port, %error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> io::Result<Accepted> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok(Accepted { stream, peer, slot })
}
