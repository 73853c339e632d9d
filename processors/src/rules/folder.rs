//! The rules folder: reads the rule tables, and reads changed files again without a restart.
//!
//! Each block is enriched by one rule set. A file that cannot be used is logged and has no other effect:
//! the table in use stays.
#![expect(clippy::disallowed_methods, reason = "reports since when a table is in use")]

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use records::enrich::rule_set::{RuleSet, RuleTable};
use tokio_util::sync::CancellationToken;

use crate::metrics::rules::RuleMetrics;
use service::lock::lock;
use service::number::gauge;

/// How often the folder is checked. A file is read after it has been unchanged for one such time.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Larger files are refused.
const BYTES_MAX: u64 = 1 << 30;

/// The rule set in use; clones share it.
pub type SharedRuleSet = Arc<ArcSwap<RuleSet>>;

/// What differs when a file was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl FileStamp {
    fn of(data: &Metadata) -> Self {
        let inode = std::os::unix::fs::MetadataExt::ino(data);
        Self { modified: data.modified().ok(), bytes: data.len(), inode }
    }
}

/// The state of one table's file.
#[derive(Debug, Default, Clone)]
struct TableState {
    /// At the last check; `None` without a file.
    seen: Option<FileStamp>,
    /// When it was read last.
    read: Option<FileStamp>,
    /// Why the table in use is not that of the file; empty if it is.
    problem: String,
}

/// The folder.
#[derive(Debug)]
pub struct RulesFolder {
    folder: PathBuf,
    current: SharedRuleSet,
    metrics: RuleMetrics,
    states: Mutex<[TableState; RuleTable::ALL.len()]>,
}

impl RulesFolder {
    /// Reads every table, and logs the files that are missing or cannot be used.
    pub fn open(folder: &Path, metrics: RuleMetrics) -> Self {
        let rules_folder = Self {
            folder: folder.to_owned(),
            current: Arc::default(),
            metrics,
            states: Mutex::default(),
        };
        for table in RuleTable::ALL {
            rules_folder.check(table, true);
        }
        rules_folder
    }

    /// The rule set in use, and each one that replaces it.
    pub fn current(&self) -> SharedRuleSet {
        Arc::clone(&self.current)
    }

    /// Why tables in use are not those of their files, one line for each, which begins with its code.
    pub fn problems(&self) -> Vec<String> {
        let states = lock(&self.states);
        states
            .iter()
            .filter(|state| !state.problem.is_empty())
            .map(|state| state.problem.clone())
            .collect()
    }

    /// Checks the folder periodically until shutdown.
    pub async fn watch(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(CHECK_EVERY) => {}
            }
            let rules_folder = Arc::clone(&self);
            // Compiling some thousand rules would block a worker thread of the runtime.
            let check = move || {
                RuleTable::ALL.into_iter().for_each(|table| rules_folder.check(table, false));
            };
            if let Err(error) = tokio::task::spawn_blocking(check).await {
                tracing::error!(%error, "the check of the rules folder failed");
            }
        }
    }

    /// Reads a table whose file has changed; with `now`, without a wait until the file is stable.
    fn check(&self, table: RuleTable, now: bool) {
        let path = self.folder.join(table.file());
        let found = std::fs::metadata(&path).ok().filter(Metadata::is_file);
        let found = found.as_ref().map(FileStamp::of);
        let before = {
            let mut states = lock(&self.states);
            let state = &mut states[table as usize];
            let before = state.clone();
            state.seen = found;
            before
        };
        match found {
            None if table.is_built_in() && (now || before.seen.is_some()) => self.built_in(table),
            None if now || before.seen.is_some() => self.missing(table, &path),
            Some(stamp) if before.read != found && (now || before.seen == found) => {
                self.replace(table, &path, stamp);
            }
            None | Some(_) => {}
        }
    }

    fn replace(&self, table: RuleTable, path: &Path, stamp: FileStamp) {
        let old = self.current.load_full();
        let new = read(path, stamp).and_then(|bytes| old.with(table, bytes));
        let problem = match new {
            Ok(new) => {
                let version = new.version(table);
                tracing::info!(table = table.as_str(), version, "the rule table is loaded");
                self.metrics.loaded(table, &new, seconds());
                self.current.store(Arc::new(new));
                String::new()
            }
            Err(error) => {
                let code = "rules_refused";
                let path = path.display();
                let kept = kept(&old, table);
                tracing::error!(code, table = table.as_str(), %path, error, "the rule file is refused; {kept}");
                self.metrics.refused(table);
                format!("{code}: {path}: {error}; {kept}")
            }
        };
        self.update(table, |state| {
            state.read = Some(stamp);
            state.problem = problem;
        });
    }

    fn built_in(&self, table: RuleTable) {
        let new = self.current.load().without(table);
        let version = new.version(table);
        tracing::info!(table = table.as_str(), version, "the built-in rules are in use");
        self.metrics.loaded(table, &new, seconds());
        self.current.store(Arc::new(new));
        self.update(table, |state| {
            state.read = None;
            state.problem.clear();
        });
    }

    fn missing(&self, table: RuleTable, path: &Path) {
        let kept = kept(&self.current.load(), table);
        let path = path.display();
        let code = "rules_missing";
        tracing::error!(code, table = table.as_str(), %path, "the rule file is missing; {kept}; run `processors rules fetch`");
        self.metrics.missing(table);
        let problem = format!("{code}: {path} is missing; {kept}");
        self.update(table, |state| {
            state.read = None;
            state.problem = problem;
        });
    }

    fn update(&self, table: RuleTable, change: impl FnOnce(&mut TableState)) {
        let mut states = lock(&self.states);
        change(&mut states[table as usize]);
    }
}

/// Which table is in use without the file.
fn kept(rules: &RuleSet, table: RuleTable) -> &'static str {
    if rules.version(table).is_empty() {
        "no table is in use, and its columns stay unknown"
    } else {
        "the loaded table stays in use"
    }
}

/// The bytes of the file, if it is still the one that was checked.
fn read(path: &Path, stamp: FileStamp) -> Result<Vec<u8>, String> {
    if stamp.bytes > BYTES_MAX {
        return Err(format!("{} bytes are more than {BYTES_MAX}", stamp.bytes));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    if bytes.len() as u64 == stamp.bytes {
        Ok(bytes)
    } else {
        Err("the file changed while it was read".to_owned())
    }
}

fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    gauge(since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_folder(folder: &Path) -> RulesFolder {
        let mut registry = prometheus_client::registry::Registry::default();
        RulesFolder::open(folder, RuleMetrics::register(&mut registry))
    }

    #[test]
    fn a_changed_file_is_used_when_it_is_stable_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(RuleTable::Crawlers.file());
        let version = |rules_folder: &RulesFolder| {
            rules_folder.current().load().version(RuleTable::Crawlers).to_owned()
        };
        std::fs::write(&file, r#"[{"pattern": "one"}]"#).unwrap();
        let rules_folder = rules_folder(folder.path());
        let first = version(&rules_folder);
        assert!(!first.is_empty());
        assert_eq!(
            rules_folder.problems().len(),
            2,
            "the other two are missing: {:?}",
            rules_folder.problems()
        );

        std::fs::write(&file, r#"[{"pattern": "another"}]"#).unwrap();
        rules_folder.check(RuleTable::Crawlers, false);
        assert_eq!(version(&rules_folder), first, "it may still be written");
        rules_folder.check(RuleTable::Crawlers, false);
        let second = version(&rules_folder);
        assert_ne!(second, first);

        std::fs::write(&file, r#"[{"pattern": "br(oken"}]"#).unwrap();
        for _ in 0..5 {
            rules_folder.check(RuleTable::Crawlers, false);
        }
        assert_eq!(version(&rules_folder), second);
        let problem = rules_folder.problems().join("\n");
        assert!(problem.contains("br(oken") && problem.contains("in use"), "{problem}");
        assert!(problem.contains("rules_refused: /"), "{problem}");
        let (seen, refused) = (1, rules_folder.metrics.refusals(RuleTable::Crawlers));
        assert_eq!(refused, seen, "one file is refused once");

        std::fs::remove_file(&file).unwrap();
        rules_folder.check(RuleTable::Crawlers, false);
        assert_eq!(version(&rules_folder), second, "what is in use stays");
        let problems = rules_folder.problems();
        assert!(problems.iter().all(|it| it.starts_with("rules_missing: /")), "{problems:?}");
    }
}
