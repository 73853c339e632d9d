//! Arguments of `processors audit --follow`.

use std::time::Duration;

use clap::Args;
use service::admin_args::{AdminArgs, listen_at};

/// Arguments of `audit --follow` beyond those of the audit itself.
#[derive(Debug, Args)]
#[command(mut_arg("admin_listen", |it| {
    listen_at(it, "CLICKTRAIL_AUDIT_ADMIN_LISTEN", "127.0.0.1:9182")
        .help("Address of the admin port of --follow: /metrics /livez /readyz")
}))]
pub(crate) struct FollowArgs {
    /// Audit the newest part of the log periodically, until SIGTERM or SIGINT.
    #[arg(long, conflicts_with_all = ["json", "wait_seconds"])]
    pub(crate) follow: bool,
    /// Maximum age of the records that --follow audits, by log time (90s, 15m, 6h, 1d).
    #[arg(long, env = "CLICKTRAIL_AUDIT_WINDOW", default_value = "15m", value_parser = span)]
    pub(super) window: Duration,
    /// Interval between the starts of two runs of --follow.
    #[arg(long, env = "CLICKTRAIL_AUDIT_EVERY", default_value = "60s", value_parser = span)]
    pub(super) every: Duration,
    /// Age at which a record must have a row or a dead letter.
    #[arg(long, env = "CLICKTRAIL_AUDIT_GRACE", default_value = "30s", value_parser = span)]
    pub(super) grace: Duration,
    /// The admin port of --follow.
    #[command(flatten)]
    pub(super) admin: AdminArgs,
}

/// Reads a duration with its unit.
fn span(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        count.checked_mul(*seconds).filter(|seconds| (1..=366 * 86_400).contains(seconds))
    });
    parsed
        .map(Duration::from_secs)
        .ok_or_else(|| "write a duration such as 90s, 15m, 6h or 1d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("6h", 21_600), ("1d", 86_400)] {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "15", "s", "-1s", "0s", "1.5h", "9999999999999999999d", "400d"] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
