//! The accept loop of a listening socket: one task for each connection.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The pause after a connection could not be accepted.
const RETRY: Duration = Duration::from_millis(50);

/// Runs `serve` for each connection until `shutdown` resolves. Returns the tasks that still run;
/// when the set is dropped, they are aborted.
pub(crate) async fn accept<F>(
    listener: &TcpListener,
    serve: impl Fn(TcpStream) -> F,
    shutdown: impl Future<Output = ()>,
) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => return connections,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => drop(connections.spawn(serve(stream))),
            Err(error) => {
                // Most likely the process has no file descriptor left: others must end first.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
