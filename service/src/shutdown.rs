//! SIGTERM and SIGINT, as a token that is cancelled once.
//!
//! The first process of a container has no default handlers: without a handler of its own it ignores a
//! signal, and its supervisor kills it after a timeout.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that the first SIGTERM or SIGINT cancels. It needs a running runtime and lasts as long as the
/// runtime; a second signal changes nothing (SIGKILL ends the process at once).
///
/// # Errors
/// The system refuses a handler.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let fired = token.clone();
    #[expect(clippy::disallowed_methods, reason = "the task lives as long as the runtime")]
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        fired.cancel();
    });
    Ok(token)
}

/// The result of `work`; `None` when a signal came first, and `work` is dropped. For commands that
/// have nothing to finish.
///
/// # Errors
/// As [`on_signal`].
pub async fn until_signal<T>(work: impl Future<Output = T>) -> std::io::Result<Option<T>> {
    let stop = on_signal()?;
    Ok(stop.run_until_cancelled(work).await)
}
