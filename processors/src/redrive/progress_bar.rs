#![expect(clippy::disallowed_methods, reason = "the rate, and when the last progress was logged")]
//! The progress of a redrive: a bar on a terminal, and otherwise a log message every ten seconds.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressDrawTarget, ProgressStyle};
use service::number::millis;

use crate::redrive::tally::Tally;

/// Time between two log messages without a terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
const BAR: &str = "{bar:32} {pos}/{len} {msg} · {elapsed_precise} · {eta} left";

/// The progress of one process.
#[derive(Debug)]
pub(crate) struct ProgressBar {
    bar: Option<indicatif::ProgressBar>,
    selected: u64,
    /// Before this process.
    before: u64,
    done: u64,
    began: Instant,
    logged_at: Instant,
}

impl ProgressBar {
    /// Starts the progress over `selected` dead letters, after what was done `before`.
    pub(crate) fn new(selected: u64, before: &Tally) -> Self {
        let before = before.sent + before.not_sent();
        let bar = std::io::stderr().is_terminal().then(|| {
            let target = ProgressDrawTarget::stderr();
            let bar = indicatif::ProgressBar::with_draw_target(Some(selected), target);
            let bar = bar.with_position(before);
            let style = ProgressStyle::with_template(BAR);
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let began = Instant::now();
        Self { bar, selected, before, done: before, began, logged_at: began }
    }

    /// Adds dead letters that are done.
    pub(crate) fn add(&mut self, letters: usize) {
        self.done += letters as u64;
        let (done, selected) = (self.done, self.selected);
        let own = done - self.before;
        let rate = own.saturating_mul(1000) / millis(self.began.elapsed()).max(1);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(format!("{rate}/s"));
        } else if self.logged_at.elapsed() >= LOG_INTERVAL {
            self.logged_at = Instant::now();
            let seconds_left = selected.saturating_sub(done).checked_div(rate);
            tracing::info!(done, selected, rate, seconds_left, "progress of the redrive");
        }
    }

    /// Removes the bar.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
