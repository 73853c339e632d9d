#![expect(clippy::disallowed_methods, reason = "the beat of the lines is read here")]
//! How far an import is: a bar on a terminal, a line in a while elsewhere, on stderr.

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::import::access_log_file::STDIN;

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Lines of input between two looks at the clock.
const LOOK_EVERY: u64 = 256;
const BAR: &str = "{bar:32} {percent:>3}% {msg} · {elapsed_precise} · {eta} left";
/// Of standard input nobody knows the end.
const ENDLESS: &str = "{spinner} {msg} · {elapsed_precise}";

/// Progress over some files, measured in their bytes.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    bytes: u64,
    /// Bytes of the files that are done.
    done: Cell<u64>,
    began: Instant,
    told: Cell<Instant>,
}

impl Progress {
    /// Starts over these files.
    pub fn over(files: &[PathBuf]) -> Self {
        let bytes = files.iter().map(|file| size(file)).sum();
        let endless = files.iter().any(|file| file.as_os_str() == STDIN);
        let bar = std::io::stderr().is_terminal().then(|| {
            let length = (!endless).then_some(bytes);
            let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(if endless { ENDLESS } else { BAR });
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let began = Instant::now();
        Self { bar, bytes, done: Cell::new(0), began, told: Cell::new(began) }
    }

    /// Notes the place in the current file and the counts so far.
    pub fn at(&self, position: u64, lines: u64, malformed: u64) {
        if !lines.is_multiple_of(LOOK_EVERY) {
            return;
        }
        let bytes = self.done.get() + position;
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = lines.saturating_mul(1000) / millis;
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
            bar.set_message(format!("{lines} lines, {malformed} malformed, {rate}/s"));
        } else if self.told.get().elapsed() > LINE_EVERY {
            self.told.set(Instant::now());
            let percent = (bytes * 100).checked_div(self.bytes).unwrap_or(100);
            tracing::info!(percent, lines, malformed, rate, "importing");
        }
    }

    /// Notes that a file is done.
    pub fn done_with(&self, file: &Path) {
        self.done.set(self.done.get() + size(file));
    }

    /// Writes a line without tearing the bar.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| crate::exit::print_error(line)),
            None => crate::exit::print_error(line),
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
