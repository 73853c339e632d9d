#![expect(clippy::disallowed_methods, reason = "the beat of the lines is read here")]
//! How far an import is: a bar on a terminal, a line in a while elsewhere, on stderr.

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Lines of input between two looks at the clock.
const LOOK_EVERY: u64 = 256;
const BAR: &str = "{bar:32} {percent:>3}% {msg} · {elapsed_precise} · {eta} left";

/// Progress over some files, measured in their bytes.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    bytes: u64,
    /// Bytes of the files that are done.
    done: Cell<u64>,
    told: Cell<Instant>,
}

impl Progress {
    /// Starts over these files.
    pub fn over(files: &[PathBuf]) -> Self {
        let bytes = files.iter().map(|file| size(file)).sum();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
            bar.with_style(
                ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar()),
            )
        });
        Self { bar, bytes, done: Cell::new(0), told: Cell::new(Instant::now()) }
    }

    /// Notes the place in the current file and the counts so far.
    pub fn at(&self, position: u64, lines: u64, malformed: u64) {
        if !lines.is_multiple_of(LOOK_EVERY) {
            return;
        }
        let bytes = self.done.get() + position;
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
            bar.set_message(format!("{lines} lines, {malformed} malformed"));
        } else if self.told.get().elapsed() > LINE_EVERY {
            self.told.set(Instant::now());
            let percent = (bytes * 100).checked_div(self.bytes).unwrap_or(100);
            tracing::info!(percent, lines, malformed, "importing");
        }
    }

    /// Notes that a file is done.
    pub fn done_with(&self, file: &Path) {
        self.done.set(self.done.get() + size(file));
    }

    /// Writes a line without tearing the bar.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| crate::exit::warn(line)),
            None => crate::exit::warn(line),
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}
