//! Decides which dead letters are logged. All are counted; of one code and source, one is logged each
//! second, with the number of those that were not. Pure: time is an argument.

use std::collections::HashMap;
use std::time::Duration;

use records::flow::record_sign::SourceHash;
use tokio::time::Instant;

/// Time between two lines of one code and source.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// Lines in a second, of all codes and sources: a sender chooses its source.
const LINES_MAX: usize = 32;

/// A code, and the source of the click if it is known.
type Cause = (&'static str, Option<SourceHash>);

/// What was logged within the last second.
#[derive(Debug, Default)]
pub(crate) struct DeadLetterLog {
    lines: HashMap<Cause, Line>,
    /// Dead letters that were not logged, of causes that were removed.
    suppressed: u64,
}

#[derive(Debug)]
struct Line {
    at: Instant,
    /// Dead letters of the cause that were not logged since then.
    suppressed: u64,
}

impl DeadLetterLog {
    /// Whether the next dead letter is logged; if so, the number of those that were not since the last
    /// line.
    pub(crate) fn next(
        &mut self,
        code: &'static str,
        source: Option<SourceHash>,
        now: Instant,
    ) -> Option<u64> {
        let cause = (code, source);
        if let Some(line) = self.lines.get_mut(&cause).filter(|line| now < line.at + LINE_EVERY) {
            line.suppressed += 1;
            return None;
        }
        if let Some(line) = self.lines.remove(&cause) {
            self.suppressed += line.suppressed;
        }
        if self.lines.len() >= LINES_MAX {
            let suppressed = &mut self.suppressed;
            self.lines.retain(|_, line| {
                let is_recent = now < line.at + LINE_EVERY;
                *suppressed += if is_recent { 0 } else { line.suppressed };
                is_recent
            });
        }
        if self.lines.len() >= LINES_MAX {
            self.suppressed += 1;
            return None;
        }
        self.lines.insert(cause, Line { at: now, suppressed: 0 });
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test starts at the time of its runtime")]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn m7_a_flood_of_one_source_is_a_line_a_second_and_hides_no_other() {
        let (began, mut log) = (Instant::now(), DeadLetterLog::default());
        let [flood, other] = ["flood", "other"].map(|source| Some(SourceHash::of(source)));
        let mut lines = Vec::new();
        for ms in 0..10_000 {
            let now = began + Duration::from_millis(ms);
            lines.extend(log.next("occurred_at_out_of_bounds", flood, now));
        }
        assert_eq!(lines, [&[0][..], &[999; 9]].concat());
        let now = began + Duration::from_secs(10);
        assert_eq!(log.next("occurred_at_out_of_bounds", other, now), Some(0));
        assert_eq!(log.next("bad_magic", None, now), Some(0));
        assert_eq!(log.next("bad_magic", None, now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn m7_any_number_of_sources_makes_32_lines_a_second_and_each_dead_letter_is_counted() {
        let (began, mut log) = (Instant::now(), DeadLetterLog::default());
        let (mut lines, mut counted) = (Vec::new(), 0);
        for number in 0..20_000_u64 {
            let now = began + Duration::from_micros(number * 500);
            let source = SourceHash::of(&number.to_string());
            if let Some(suppressed) = log.next("occurred_at_out_of_bounds", Some(source), now) {
                lines.push(now);
                counted += 1 + suppressed;
            }
            assert!(log.lines.len() <= LINES_MAX);
        }
        for line in &lines {
            let within = lines.iter().filter(|own| (*line..*line + LINE_EVERY).contains(own));
            assert!(within.count() <= LINES_MAX);
        }
        let held: u64 = log.lines.values().map(|line| line.suppressed).sum();
        assert_eq!(counted + log.suppressed + held, 20_000);
        let later = began + Duration::from_secs(60);
        let rest = log.next("bad_magic", None, later);
        assert_eq!(rest.map(|suppressed| suppressed + counted), Some(20_000));
    }
}
