//! The clicks that all runs of the demo have sent, by its own count: a file that stays after a run, so
//! that the balance of a second run covers them all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// All runs on one folder of data.
pub struct SentClicks {
    path: PathBuf,
    runs: Vec<Run>,
}

/// What one run sent.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Run {
    /// Redirects that were answered.
    pub redirects: u64,
    /// Clicks of each imported log, once an import.
    imports: Vec<(String, u64)>,
    /// Whether its numbers are final.
    closed: bool,
}

/// What all runs sent.
#[derive(Clone, Copy, Default)]
pub struct Total {
    /// Redirects.
    pub redirects: u64,
    /// Clicks of logs, each log once.
    pub imported: u64,
    /// Clicks of logs that had been imported before.
    pub resends: u64,
}

impl Run {
    /// A log was imported, for the first time or again.
    pub fn import(&mut self, log: &str, clicks: u64) {
        self.imports.push((log.to_owned(), clicks));
    }
}

impl SentClicks {
    /// The clicks sent from a folder.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join("ledger.json");
        let runs = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{}: remove the folder to start over", path.display()))?,
            Err(_) => Vec::new(),
        };
        Ok(Self { path, runs })
    }

    /// Whether a run was killed before it knew what it had sent.
    pub fn was_interrupted(&self) -> bool {
        self.runs.iter().any(|run| !run.closed)
    }

    /// Records that a run begins to send.
    pub fn begin(&mut self) -> Result<Run> {
        self.runs.push(Run::default());
        self.write()?;
        Ok(Run::default())
    }

    /// Records what it sent.
    pub fn close(&mut self, run: Run) -> Result<()> {
        self.runs.pop();
        self.runs.push(Run { closed: true, ..run });
        self.write()
    }

    /// All that was sent.
    pub fn total(&self) -> Total {
        let mut total = Total::default();
        let mut logs: BTreeMap<&str, u64> = BTreeMap::new();
        for run in &self.runs {
            total.redirects += run.redirects;
            for (log, clicks) in &run.imports {
                match logs.insert(log, *clicks) {
                    None => total.imported += clicks,
                    Some(_) => total.resends += clicks,
                }
            }
        }
        total
    }

    fn write(&self) -> Result<()> {
        let partial = self.path.with_extension("partial");
        fs::write(&partial, serde_json::to_vec(&self.runs)?)?;
        Ok(fs::rename(&partial, &self.path)?)
    }
}
