//! SIGTERM and SIGINT, as a token that is cancelled once.
//!
//! The first process of a container has no default handler: what does not handle a signal there
//! ignores it, and is killed only after its supervisor's patience.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that the first SIGTERM or SIGINT cancels. Needs a running runtime, and lasts as long
/// as it; a second signal is taken in and changes nothing (SIGKILL is there for those who can not
/// wait).
///
/// # Errors
/// The system refuses a handler.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let fired = token.clone();
    #[expect(clippy::disallowed_methods, reason = "lives as long as the runtime, holds nothing")]
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        fired.cancel();
    });
    Ok(token)
}

/// What `work` comes to; none when a signal came first, and `work` is dropped. For commands that
/// have nothing to finish.
///
/// # Errors
/// As [`on_signal`].
pub async fn unless_told<T>(work: impl Future<Output = T>) -> std::io::Result<Option<T>> {
    let told = on_signal()?;
    Ok(told.run_until_cancelled(work).await)
}
