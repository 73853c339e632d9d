//! The demo's own count of the clicks that all its runs have sent, in a file that stays after a run,
//! so that the balance of a later run includes them all.

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

/// The clicks of one run.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Run {
    /// Redirects that the service answered.
    pub redirects: u64,
    /// Clicks of each import, by log.
    imports: Vec<(String, u64)>,
    /// Whether its counts are final.
    closed: bool,
}

/// The clicks of all runs.
#[derive(Clone, Copy, Default)]
pub struct Total {
    /// Redirects.
    pub redirects: u64,
    /// Clicks of logs, each log once.
    pub imported: u64,
    /// Clicks of repeated imports.
    pub resends: u64,
}

impl Run {
    /// Adds an import of a log, the first one or a repeated one.
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
            Ok(text) => serde_json::from_slice(&text).with_context(|| {
                format!("{}: remove the folder and start again", path.display())
            })?,
            Err(_) => Vec::new(),
        };
        Ok(Self { path, runs })
    }

    /// Whether a run was killed before its counts were final.
    pub fn was_interrupted(&self) -> bool {
        self.runs.iter().any(|run| !run.closed)
    }

    /// Records the start of a run.
    pub fn begin(&mut self) -> Result<Run> {
        self.runs.push(Run::default());
        self.write()?;
        Ok(Run::default())
    }

    /// Records the final counts of a run.
    pub fn close(&mut self, run: Run) -> Result<()> {
        self.runs.pop();
        self.runs.push(Run { closed: true, ..run });
        self.write()
    }

    /// The sum over all runs.
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
