//! The names of all settings, so that a misspelt one is refused instead of ignored.
//!
//! Both services read one environment; a name that either knows is known.

use std::ffi::OsString;
use std::process::ExitCode;

use thiserror::Error;

/// Exit code of a wrong command line or environment.
const USAGE: u8 = 64;
const PREFIX: &str = "CLICKTRAIL_";

/// Every `CLICKTRAIL_…` name of both services (a test holds the list against their flags).
pub const NAMES: &[&str] = &[
    "CLICKTRAIL_AUDIT_ADMIN_LISTEN",
    "CLICKTRAIL_AUDIT_EVERY",
    "CLICKTRAIL_AUDIT_GRACE",
    "CLICKTRAIL_AUDIT_MEMORY_MIB",
    "CLICKTRAIL_AUDIT_WINDOW",
    "CLICKTRAIL_BATCH_MIB",
    "CLICKTRAIL_BATCH_ROWS",
    "CLICKTRAIL_BODY_BYTES",
    "CLICKTRAIL_BODY_RECORDS",
    "CLICKTRAIL_BODY_SECONDS",
    "CLICKTRAIL_CACHE",
    "CLICKTRAIL_CLIENT_ADDRESS",
    "CLICKTRAIL_COLLECTOR_TOKEN",
    "CLICKTRAIL_COLLECTOR_TOKEN_FILE",
    "CLICKTRAIL_CONNECTIONS",
    "CLICKTRAIL_DRAIN_SECONDS",
    "CLICKTRAIL_FLUSH_SECONDS",
    "CLICKTRAIL_GROUP",
    "CLICKTRAIL_GROUP_INSTANCE",
    "CLICKTRAIL_GROUP_PROTOCOL",
    "CLICKTRAIL_HEAD_BYTES",
    "CLICKTRAIL_HEAD_SECONDS",
    "CLICKTRAIL_KAFKA_PROPERTIES",
    "CLICKTRAIL_LINKS",
    "CLICKTRAIL_LINKS_DB",
    "CLICKTRAIL_LINKS_LISTEN",
    "CLICKTRAIL_LINKS_SNAPSHOT",
    "CLICKTRAIL_LINKS_TOKEN",
    "CLICKTRAIL_LINKS_TOKEN_FILE",
    "CLICKTRAIL_LINKS_TOPIC",
    "CLICKTRAIL_LISTEN",
    "CLICKTRAIL_LOG",
    "CLICKTRAIL_LOG_JSON",
    "CLICKTRAIL_NODE",
    "CLICKTRAIL_OUTBOX",
    "CLICKTRAIL_OUTBOX_BYTES",
    "CLICKTRAIL_OUTBOX_FULL",
    "CLICKTRAIL_OUTBOX_SYNC",
    "CLICKTRAIL_OUTBOX_SYNC_MS",
    "CLICKTRAIL_PARTITIONS",
    "CLICKTRAIL_PRIVACY_LINKS",
    "CLICKTRAIL_PRIVACY_SIGNALS",
    "CLICKTRAIL_PROCESSORS_ADMIN_LISTEN",
    "CLICKTRAIL_PRODUCER_ADMIN_LISTEN",
    "CLICKTRAIL_PROXY_HEADER",
    "CLICKTRAIL_QUEUE_BYTES",
    "CLICKTRAIL_QUEUE_CLICKS",
    "CLICKTRAIL_REPLICATION",
    "CLICKTRAIL_RULES",
    "CLICKTRAIL_START_SECONDS",
    "CLICKTRAIL_THREADS",
    "CLICKTRAIL_TOPIC",
    "CLICKTRAIL_TRACE_SAMPLE",
    "CLICKTRAIL_TRUSTED_PROXIES",
    "CLICKTRAIL_UNKNOWN_SLUGS",
    "CLICKTRAIL_VISITOR_KEYS",
    "CLICKTRAIL_WRITE_SECONDS",
];

/// A variable that nobody reads.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the environment sets {name}, which is no setting; did you mean {nearest}?")]
pub struct Unknown {
    /// As set.
    pub name: String,
    /// The setting whose name is nearest.
    pub nearest: &'static str,
}

/// Refuses the first `CLICKTRAIL_…` variable that is no setting.
///
/// # Errors
/// [`Unknown`], with the nearest name.
pub fn check(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<(), Unknown> {
    for (name, _) in variables {
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && !NAMES.contains(&&*name) {
            let nearest = NAMES.iter().min_by_key(|known| distance(known, &name));
            let nearest = nearest.copied().unwrap_or_default();
            return Err(Unknown { name: name.into_owned(), nearest });
        }
    }
    Ok(())
}

/// Prints what clap has to say; help and version are no errors.
pub fn usage(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    match error.use_stderr() || printed.is_err() {
        true => USAGE.into(),
        false => ExitCode::SUCCESS,
    }
}

/// Edit distance of two names.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_setting_is_refused_with_the_nearest_name() {
        let set = |name: &str| check([(name.into(), "1".into())].into_iter());
        assert_eq!(set("CLICKTRAIL_TOPIC"), Ok(()));
        assert_eq!(set("OTHER_TOPIC"), Ok(()));
        let refused = set("CLICKTRAIL_TOPICS").unwrap_err();
        assert_eq!(refused.nearest, "CLICKTRAIL_TOPIC");
        assert_eq!(set("CLICKTRAIL_BATCH_ROW").unwrap_err().nearest, "CLICKTRAIL_BATCH_ROWS");
    }
}
