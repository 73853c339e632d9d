#![expect(clippy::disallowed_methods, reason = "when the last progress was logged is read here")]
//! The progress of an import: a bar on a terminal, and otherwise periodic log messages.

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressDrawTarget, ProgressStyle};

use service::number::millis;

use crate::import::access_log_file::STDIN;

/// Time between two log messages without a terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Lines of input between two updates.
const UPDATE_LINES: u64 = 256;
const BAR: &str = "{bar:32} {percent:>3}% {msg} · {elapsed_precise} · {eta} left";
/// For standard input, whose length is unknown.
const SPINNER: &str = "{spinner} {msg} · {elapsed_precise}";

/// The progress over some files, in bytes.
#[derive(Debug)]
pub struct ProgressBar {
    bar: Option<indicatif::ProgressBar>,
    bytes: u64,
    /// Bytes of the files that have been read.
    done: Cell<u64>,
    began: Instant,
    logged: Cell<Instant>,
}

impl ProgressBar {
    /// Starts the progress of these files.
    pub fn new(files: &[PathBuf]) -> Self {
        let bytes = files.iter().map(|file| size(file)).sum();
        let unbounded = files.iter().any(|file| file.as_os_str() == STDIN);
        let bar = std::io::stderr().is_terminal().then(|| {
            let length = (!unbounded).then_some(bytes);
            let bar =
                indicatif::ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(if unbounded { SPINNER } else { BAR });
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let began = Instant::now();
        Self { bar, bytes, done: Cell::new(0), began, logged: Cell::new(began) }
    }

    /// Sets the position in the current file and the counts so far.
    pub fn update(&self, position: u64, lines: u64, malformed: u64) {
        if !lines.is_multiple_of(UPDATE_LINES) {
            return;
        }
        let bytes = self.done.get() + position;
        let millis = millis(self.began.elapsed()).max(1);
        let rate = lines.saturating_mul(1000) / millis;
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
            bar.set_message(format!("{lines} lines, {malformed} malformed, {rate}/s"));
        } else if self.logged.get().elapsed() > LOG_INTERVAL {
            self.logged.set(Instant::now());
            let percent = (bytes * 100).checked_div(self.bytes).unwrap_or(100);
            tracing::info!(percent, lines, malformed, rate, "importing");
        }
    }

    /// Adds a file that was read to its end.
    pub fn finish_file(&self, file: &Path) {
        self.done.set(self.done.get() + size(file));
    }

    /// Prints a line to stderr, above the bar.
    pub fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| crate::exit::print_error(line)),
            None => crate::exit::print_error(line),
        }
    }

    /// Removes the bar.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}
