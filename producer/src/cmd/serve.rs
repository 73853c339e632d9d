//! `producer serve`: runs the server and prints its results.

use crate::config::ServeArgs;
use crate::exit::{self, Exit, Failure};
use crate::server::{self, ServeSummary};

/// Runs the server until SIGTERM or SIGINT; `exports`: whether it exports spans.
///
/// # Errors
/// The server cannot start.
pub async fn run(args: &ServeArgs, exports: bool) -> Result<Exit, Failure> {
    let summary = server::run(args, exports, print).await?;
    Ok(if summary.undelivered > 0 { Exit::Unavailable } else { Exit::Done })
}

fn print(summary: &ServeSummary) {
    let ServeSummary { redirects, clicks, recovered, delivered, waiting, undelivered } = summary;
    exit::print_line(&format!(
        "serve: redirects={redirects} clicks={clicks} recovered={recovered} \
         delivered={delivered} waiting={waiting} undelivered={undelivered}"
    ));
}
