//! SIGTERM and SIGINT, as a token that is cancelled once.

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
