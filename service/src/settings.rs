//! The names of all settings: a service refuses a misspelt or renamed one instead of ignoring it.
//!
//! Both services read one environment, so each accepts the names of the other. A test compares the list with
//! the flags of both.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use thiserror::Error;

/// Exit code of a wrong command line or environment.
const USAGE: u8 = 64;
const PREFIX: &str = "CLICKTRAIL_";

/// Every `CLICKTRAIL_…` name of both services.
pub const NAMES: &[&str] = &[
    "CLICKTRAIL_ACTOR",
    "CLICKTRAIL_ADMIN_HOSTS",
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
    "CLICKTRAIL_COLLECTOR_DAYS",
    "CLICKTRAIL_COLLECTOR_TOKEN",
    "CLICKTRAIL_COLLECTOR_TOKEN_FILE",
    "CLICKTRAIL_CONNECTIONS",
    "CLICKTRAIL_CONNECTIONS_PER_CLIENT",
    "CLICKTRAIL_CONNECTION_SECONDS",
    "CLICKTRAIL_DEAD_LETTER_PAYLOAD_DAYS",
    "CLICKTRAIL_DRAIN_SECONDS",
    "CLICKTRAIL_FLUSH_SECONDS",
    "CLICKTRAIL_GROUP",
    "CLICKTRAIL_GROUP_INSTANCE_ID",
    "CLICKTRAIL_GROUP_PROTOCOL",
    "CLICKTRAIL_HEADER_BYTES",
    "CLICKTRAIL_HEADER_SECONDS",
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
    "CLICKTRAIL_OUTBOX_DROP",
    "CLICKTRAIL_OUTBOX_SYNC",
    "CLICKTRAIL_OUTBOX_SYNC_MS",
    "CLICKTRAIL_PARTITIONS",
    "CLICKTRAIL_PRIVACY_CLIENT_ADDRESS",
    "CLICKTRAIL_PRIVACY_OPT_OUT",
    "CLICKTRAIL_PRIVACY_SIGNALS",
    "CLICKTRAIL_PROCESSORS_ADMIN_LISTEN",
    "CLICKTRAIL_PRODUCER_ADMIN_LISTEN",
    "CLICKTRAIL_PROXY_HEADER",
    "CLICKTRAIL_QUEUE_BYTES",
    "CLICKTRAIL_QUEUE_CLICKS",
    "CLICKTRAIL_RELAY_LINGER_MS",
    "CLICKTRAIL_REPLICATION",
    "CLICKTRAIL_REPLAY_ADMIN_LISTEN",
    "CLICKTRAIL_RULES",
    "CLICKTRAIL_SERVICES",
    "CLICKTRAIL_SLUG_CASE",
    "CLICKTRAIL_START_SECONDS",
    "CLICKTRAIL_STUCK_SECONDS",
    "CLICKTRAIL_THREADS",
    "CLICKTRAIL_TOPIC",
    "CLICKTRAIL_TRACE_SAMPLE",
    "CLICKTRAIL_TRUSTED_PROXIES",
    "CLICKTRAIL_UNKNOWN_SLUGS_PER_MINUTE",
    "CLICKTRAIL_VISITOR_KEYS",
    "CLICKTRAIL_VISITOR_KEY_DAYS",
    "CLICKTRAIL_WRITE_SECONDS",
];

/// Settings that had another name, with the name that they have now.
pub const RENAMED: &[(&str, &str)] = &[
    ("CLICKTRAIL_CLIENT_ADDRESS", "CLICKTRAIL_PRIVACY_CLIENT_ADDRESS"),
    ("CLICKTRAIL_GROUP_INSTANCE", "CLICKTRAIL_GROUP_INSTANCE_ID"),
    ("CLICKTRAIL_HEAD_BYTES", "CLICKTRAIL_HEADER_BYTES"),
    ("CLICKTRAIL_HEAD_SECONDS", "CLICKTRAIL_HEADER_SECONDS"),
    ("CLICKTRAIL_OUTBOX_FULL", "CLICKTRAIL_OUTBOX_DROP"),
    ("CLICKTRAIL_PRIVACY_LINKS", "CLICKTRAIL_PRIVACY_OPT_OUT"),
    ("CLICKTRAIL_UNKNOWN_SLUGS", "CLICKTRAIL_UNKNOWN_SLUGS_PER_MINUTE"),
];

/// A variable of the environment that no setting reads.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// A setting of an earlier version.
    #[error("the environment sets {name}, which is now named {now}")]
    Renamed {
        /// As set.
        name: &'static str,
        /// Its present name.
        now: &'static str,
    },
    /// The flag of such a setting.
    #[error("the flag {name} is now named {now}")]
    RenamedFlag {
        /// As given.
        name: String,
        /// Its present name.
        now: String,
    },
    /// Neither a setting nor a former one.
    #[error("the environment sets {name}, which is not a setting; did you mean {nearest}?")]
    Unknown {
        /// As set.
        name: String,
        /// The setting whose name is nearest.
        nearest: &'static str,
    },
}

/// Refuses the first `CLICKTRAIL_…` variable that is no setting.
///
/// # Errors
/// [`Refused`], with the present or the nearest name.
pub fn check(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<(), Refused> {
    for (name, _) in variables {
        let name = name.to_string_lossy();
        if let Some(&(name, now)) = RENAMED.iter().find(|(old, _)| *old == name) {
            return Err(Refused::Renamed { name, now });
        }
        if name.starts_with(PREFIX) && !NAMES.contains(&&*name) {
            let nearest = NAMES.iter().min_by_key(|known| distance(known, &name));
            let nearest = nearest.copied().unwrap_or_default();
            return Err(Refused::Unknown { name: name.into_owned(), nearest });
        }
    }
    Ok(())
}

/// The first argument that is the flag of a renamed setting, with its present name.
pub fn renamed_flag(arguments: impl Iterator<Item = OsString>) -> Option<Refused> {
    let flag = |name: &str| {
        let words = name.strip_prefix(PREFIX).unwrap_or(name).to_lowercase();
        format!("--{}", words.replace('_', "-"))
    };
    arguments.into_iter().find_map(|argument| {
        let argument = argument.to_string_lossy().into_owned();
        let name = argument.split('=').next().unwrap_or_default();
        let renamed = RENAMED.iter().find(|(old, _)| flag(old) == name);
        renamed.map(|(old, now)| Refused::RenamedFlag { name: flag(old), now: flag(now) })
    })
}

/// Prints the text of clap, without the value of a setting that may be a secret; help and version are
/// no errors.
pub fn usage(mut error: clap::Error, command: &clap::Command) -> ExitCode {
    hide_secret(&mut error, command);
    let printed = error.print();
    if error.use_stderr() || printed.is_err() { USAGE.into() } else { ExitCode::SUCCESS }
}

/// Replaces the value that `error` repeats, if it is that of an argument whose environment values are
/// hidden.
fn hide_secret(error: &mut clap::Error, command: &clap::Command) {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return };
    let flag = argument.split([' ', '=', '.']).next().unwrap_or_default().to_owned();
    if is_secret(command, flag.trim_start_matches('-')) {
        let hidden = ContextValue::String("(not shown)".to_owned());
        error.insert(ContextKind::InvalidValue, hidden);
    }
}

fn is_secret(command: &clap::Command, long: &str) -> bool {
    let named = |argument: &&clap::Arg| argument.get_long() == Some(long);
    command.get_arguments().any(|it| named(&it) && it.is_hide_env_values_set())
        || command.get_subcommands().any(|inner| is_secret(inner, long))
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
        for (wrong, right) in [
            ("CLICKTRAIL_TOPICS", "CLICKTRAIL_TOPIC"),
            ("CLICKTRAIL_BATCH_ROW", "CLICKTRAIL_BATCH_ROWS"),
        ] {
            let Err(Refused::Unknown { name, nearest }) = set(wrong) else { panic!("{wrong}") };
            assert_eq!((name.as_str(), nearest), (wrong, right));
        }
    }

    #[test]
    fn l6_an_error_does_not_repeat_the_value_of_a_secret() {
        let argument = |name: &'static str| {
            clap::Arg::new(name).long(name).value_parser(clap::value_parser!(u8))
        };
        let inner = clap::Command::new("serve")
            .arg(argument("token").hide_env_values(true).value_name("TOKEN"))
            .arg(argument("tokens").hide_env_values(true).num_args(1..))
            .arg(argument("rows"));
        let command = clap::Command::new("x").subcommand(inner);
        for (arguments, shown) in [
            (["x", "serve", "--token=geheim"].as_slice(), false),
            (&["x", "serve", "--token", "geheim"], false),
            (&["x", "serve", "--tokens", "1", "geheim"], false),
            (&["x", "serve", "--rows", "geheim"], true),
        ] {
            let mut error = command.clone().try_get_matches_from(arguments).unwrap_err();
            assert!(error.to_string().contains("geheim"), "clap repeats it: {error}");
            hide_secret(&mut error, &command);
            let text = error.to_string();
            assert_eq!(text.contains("geheim"), shown, "{text}");
            assert!(text.contains(arguments[2].split('=').next().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_renamed_setting_is_refused_with_its_new_name() {
        for (old, now) in RENAMED {
            let refused = check([(OsString::from(old), "1".into())].into_iter()).unwrap_err();
            assert!(refused.to_string().ends_with(&format!("is now named {now}")), "{refused}");
            assert!(NAMES.contains(now) && !NAMES.contains(old), "{old}");
        }
        let refused = |flag: &str| {
            renamed_flag(["serve", flag].map(OsString::from).into_iter()).map(|it| it.to_string())
        };
        let expected = "the flag --outbox-full is now named --outbox-drop";
        assert_eq!(refused("--outbox-full=oldest").as_deref(), Some(expected));
        assert_eq!(refused("--outbox-drop"), None);
    }
}
