//! The tables that a process would load from the rules folder if it started now.

use std::path::Path;

use records::enrich::rule_set::{RuleSet, RuleTable, checksum};

use crate::rules::packages::PACKAGES;

/// The state of one table, in lines.
#[derive(Debug)]
pub(crate) struct TableListing {
    /// Version, checksum and licence.
    pub(crate) lines: Vec<String>,
    /// The version that rows would hold; empty without a usable table.
    pub(crate) version: String,
    /// Whether a process can use the table.
    pub(crate) is_usable: bool,
}

impl TableListing {
    /// Reads the file of `table` in `folder`.
    pub(crate) fn read(folder: &Path, table: RuleTable) -> Self {
        let path = &folder.join(table.file());
        let (name, shown) = (table.as_str(), path.display());
        if table.is_built_in() && !path.exists() {
            let rules = RuleSet::default();
            let version = rules.version(table).to_owned();
            let line = format!("{name}: {version} (built in; lines of {shown} would override it)");
            return Self { lines: vec![line], version, is_usable: true };
        }
        let Ok(bytes) = std::fs::read(path) else {
            let line = format!("{name}: {shown} is missing; `processors rules fetch` fetches it");
            return Self { lines: vec![line], version: String::new(), is_usable: false };
        };
        let (sum, length) = (checksum(&bytes), bytes.len());
        let rules = RuleSet::default().with(table, bytes);
        let is_usable = rules.is_ok();
        let version =
            rules.as_ref().map_or_else(|_| String::new(), |rules| rules.version(table).to_owned());
        let mut lines = vec![match rules {
            Ok(_) => {
                let since = modified_at(path);
                format!("{name}: {version} ({shown}, {length} bytes, since {since})")
            }
            Err(error) => format!("{name}: {shown} cannot be used: {error}"),
        }];
        lines.push(format!("  sha256 {sum}"));
        match PACKAGES.iter().find(|package| package.table == table && package.sha256 == sum) {
            Some(package) => lines.extend(package.describe()),
            None if table.is_built_in() => {
                lines.push("  an operator's lines over the built-in table".to_owned());
            }
            None => lines.push(
                "  not fetched by `processors rules fetch`; check its licence yourself".to_owned(),
            ),
        }
        Self { lines, version, is_usable }
    }
}

/// When a file was written, as RFC 3339 (UTC); empty if the file system does not report it.
fn modified_at(path: &Path) -> String {
    let modified = std::fs::metadata(path).and_then(|data| data.modified());
    let seconds = modified.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let seconds = seconds.and_then(|since| i64::try_from(since.as_secs()).ok());
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}
