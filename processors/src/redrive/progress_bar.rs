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
    pub(crate) fn add(&mut self, letters: u64) {
        self.done += letters;
        let (done, selected) = (self.done, self.selected);
        let tenths = tenths_a_second(done - self.before, millis(self.began.elapsed()));
        let rate = decimal(tenths);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(format!("{rate}/s"));
        } else if self.logged_at.elapsed() >= LOG_INTERVAL {
            self.logged_at = Instant::now();
            let left = selected.saturating_sub(done);
            let seconds_left = left.saturating_mul(10).checked_div(tenths);
            tracing::info!(done, selected, %rate, seconds_left, "progress of the redrive");
        }
    }

    /// Removes the bar.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Tenths of a record a second.
fn tenths_a_second(records: u64, ms: u64) -> u64 {
    records.saturating_mul(10_000) / ms.max(1)
}

fn decimal(tenths: u64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_below_one_record_a_second_is_not_shown_as_zero() {
        for (records, ms, expected) in
            [(3, 12_000, "0.2"), (500, 1_000, "500.0"), (0, 10, "0.0"), (7, 0, "7000.0")]
        {
            assert_eq!(decimal(tenths_a_second(records, ms)), expected, "{records} {ms}");
        }
    }
}
