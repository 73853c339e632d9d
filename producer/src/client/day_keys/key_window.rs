//! The days whose keys are kept at one moment.
//!
//! Pure.

use crate::client::visitor_id::Day;

/// Some days up to today, and tomorrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyWindow {
    first: Day,
    today: Day,
}

impl KeyWindow {
    /// `days` days, of which `today` is the last, and tomorrow.
    ///
    /// # Panics
    /// There is no day.
    pub fn new(today: Day, days: u16) -> Self {
        assert!(days > 0, "the key of today is kept");
        Self { first: today - Day::from(days) + 1, today }
    }

    /// The first day; keys of earlier days are deleted.
    pub fn first(self) -> Day {
        self.first
    }

    /// The last day: tomorrow.
    pub fn last(self) -> Day {
        self.today + 1
    }

    /// Whether the key of a day is kept.
    pub fn contains(self, day: Day) -> bool {
        (self.first..=self.last()).contains(&day)
    }

    /// The days whose key is made when there is none: today, and tomorrow so that midnight waits for
    /// no store. A missing key of an earlier day was deleted, or no process needed it; a new one would
    /// give visitors of that day another id.
    pub fn made(self) -> [Day; 2] {
        [self.today, self.last()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m15_a_window_holds_its_days_and_tomorrow_and_makes_no_key_of_the_past() {
        for (days, kept) in
            [(1, [false, false, true, true, false]), (2, [false, true, true, true, false])]
        {
            let window = KeyWindow::new(100, days);
            assert_eq!([98, 99, 100, 101, 102].map(|day| window.contains(day)), kept, "{days}");
            assert_eq!(window.made(), [100, 101]);
        }
        assert_eq!(KeyWindow::new(0, 400).first(), -399);
    }
}
