//! The folder of rule tables: reads them, and reads anew what changes, without a restart.
//!
//! Whoever enriches takes the snapshot of that moment. A file that cannot be used changes nothing:
//! one line says why, and the table that is in use stays.
#![expect(clippy::disallowed_methods, reason = "says since when a table is in use")]

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::enrich::rule_set::{Rules, Table};
use crate::metrics::rules::RuleMetrics;
use service::lock::lock;
use service::number::gauge;

/// How often the folder is looked at. A file is read once it has been the same for one such time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Larger files are refused.
const BYTES_MAX: u64 = 1 << 30;

/// The snapshot that is to be used now; a clone is the same place.
pub type Current = Arc<ArcSwap<Rules>>;

/// What tells a file from the one that stood there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl Stamp {
    fn of(data: &Metadata) -> Self {
        let inode = std::os::unix::fs::MetadataExt::ino(data);
        Self { modified: data.modified().ok(), bytes: data.len(), inode }
    }
}

/// What is known of one table's file.
#[derive(Debug, Default, Clone)]
struct Known {
    /// At the last look; `None`: it was not there.
    seen: Option<Stamp>,
    /// When it was read last.
    read: Option<Stamp>,
    /// Why the table is not as its file; empty when it is.
    wrong: String,
}

/// The folder.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    current: Current,
    metrics: RuleMetrics,
    known: Mutex<[Known; Table::ALL.len()]>,
}

impl Shelf {
    /// Reads every table that is there, and says what is missing or cannot be used.
    pub fn open(folder: &Path, metrics: RuleMetrics) -> Self {
        let shelf = Self {
            folder: folder.to_owned(),
            current: Arc::default(),
            metrics,
            known: Mutex::default(),
        };
        for table in Table::ALL {
            shelf.look(table, true);
        }
        shelf
    }

    /// What is to be used now, and whatever replaces it.
    pub fn current(&self) -> Current {
        Arc::clone(&self.current)
    }

    /// What is not as the folder says, a line each.
    pub fn wrong(&self) -> Vec<String> {
        let known = lock(&self.known);
        known
            .iter()
            .filter(|known| !known.wrong.is_empty())
            .map(|known| known.wrong.clone())
            .collect()
    }

    /// Looks at the folder again and again, beside what is going on.
    pub async fn watch(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let shelf = Arc::clone(&self);
            // Compiling some thousand rules takes a core for a while: not one of those that serve.
            let look = move || Table::ALL.into_iter().for_each(|table| shelf.look(table, false));
            if let Err(error) = tokio::task::spawn_blocking(look).await {
                tracing::error!(%error, "the rules folder cannot be looked at");
            }
        }
    }

    /// Reads a table whose file is another than before; `now`: without waiting until it stays.
    fn look(&self, table: Table, now: bool) {
        let path = self.folder.join(table.file());
        let found = std::fs::metadata(&path).ok().filter(Metadata::is_file);
        let found = found.as_ref().map(Stamp::of);
        let before = {
            let mut known = lock(&self.known);
            let known = &mut known[table as usize];
            let before = known.clone();
            known.seen = found;
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

    fn replace(&self, table: Table, path: &Path, stamp: Stamp) {
        let old = self.current.load_full();
        let new = read(path, stamp).and_then(|bytes| old.with(table, bytes));
        let wrong = match new {
            Ok(new) => {
                let version = new.version(table).to_owned();
                tracing::info!(table = table.as_str(), version, "rules loaded");
                self.metrics.loaded(table, version, seconds());
                self.current.store(Arc::new(new));
                String::new()
            }
            Err(error) => {
                let code = "rules_refused";
                let path = path.display();
                let kept = kept(&old, table);
                tracing::error!(code, table = table.as_str(), %path, error, "{kept}");
                self.metrics.refused(table);
                format!("{path}: {error}; {kept}")
            }
        };
        self.note(table, |known| {
            known.read = Some(stamp);
            known.wrong = wrong;
        });
    }

    fn built_in(&self, table: Table) {
        let new = self.current.load().without(table);
        let version = new.version(table).to_owned();
        tracing::info!(table = table.as_str(), version, "going by the rules that are built in");
        self.metrics.loaded(table, version, seconds());
        self.current.store(Arc::new(new));
        self.note(table, |known| {
            known.read = None;
            known.wrong.clear();
        });
    }

    fn missing(&self, table: Table, path: &Path) {
        let kept = kept(&self.current.load(), table);
        let path = path.display();
        let code = "rules_missing";
        tracing::error!(code, table = table.as_str(), %path, "{kept}; `processors rules fetch` gets it");
        self.metrics.missing(table);
        let wrong = format!("{path} is missing; {kept}");
        self.note(table, |known| {
            known.read = None;
            known.wrong = wrong;
        });
    }

    fn note(&self, table: Table, change: impl FnOnce(&mut Known)) {
        let mut known = lock(&self.known);
        change(&mut known[table as usize]);
    }
}

/// What goes on without the file.
fn kept(rules: &Rules, table: Table) -> &'static str {
    match rules.version(table).is_empty() {
        true => "going on without this table: what it would say stays unknown",
        false => "going on with the table that is in use",
    }
}

/// A whole file, as long as it is the one that was looked at.
fn read(path: &Path, stamp: Stamp) -> Result<Vec<u8>, String> {
    if stamp.bytes > BYTES_MAX {
        return Err(format!("{} bytes are more than {BYTES_MAX}", stamp.bytes));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    match bytes.len() as u64 == stamp.bytes {
        true => Ok(bytes),
        false => Err("it changed while it was read".to_owned()),
    }
}

fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    gauge(since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(folder: &Path) -> Shelf {
        let mut registry = prometheus_client::registry::Registry::default();
        Shelf::open(folder, RuleMetrics::register(&mut registry))
    }

    #[test]
    fn a_changed_file_is_used_once_it_stays_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(Table::Crawlers.file());
        let version = |shelf: &Shelf| shelf.current().load().version(Table::Crawlers).to_owned();
        std::fs::write(&file, r#"[{"pattern": "one"}]"#).unwrap();
        let shelf = shelf(folder.path());
        let first = version(&shelf);
        assert!(!first.is_empty());
        assert_eq!(shelf.wrong().len(), 2, "the other two are missing: {:?}", shelf.wrong());

        std::fs::write(&file, r#"[{"pattern": "another"}]"#).unwrap();
        shelf.look(Table::Crawlers, false);
        assert_eq!(version(&shelf), first, "it may still be written");
        shelf.look(Table::Crawlers, false);
        let second = version(&shelf);
        assert_ne!(second, first);

        std::fs::write(&file, r#"[{"pattern": "br(oken"}]"#).unwrap();
        for _ in 0..5 {
            shelf.look(Table::Crawlers, false);
        }
        assert_eq!(version(&shelf), second);
        let wrong = shelf.wrong().join("\n");
        assert!(wrong.contains("br(oken") && wrong.contains("in use"), "{wrong}");
        let (seen, refused) = (1, shelf.metrics.refusals(Table::Crawlers));
        assert_eq!(refused, seen, "one file is refused once");

        std::fs::remove_file(&file).unwrap();
        shelf.look(Table::Crawlers, false);
        assert_eq!(version(&shelf), second, "what is in use stays");
        assert!(shelf.wrong().join("\n").contains("is missing"));
    }
}
