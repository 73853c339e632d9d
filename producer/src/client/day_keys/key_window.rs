//! The days whose keys are kept at one moment.
//!
//! Pure.

use crate::client::visitor_id::Day;

/// A number of days up to today, and tomorrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyWindow {
    first: Day,
    today: Day,
}

impl KeyWindow {
    /// The window of `days` days, of which `today` is the last, and of tomorrow.
    ///
    /// # Panics
    /// `days` is 0.
    pub fn new(today: Day, days: u16) -> Self {
        assert!(days > 0, "the key of today is kept");
        Self { first: today - Day::from(days) + 1, today }
    }

    /// The first day.
    pub fn first(self) -> Day {
        self.first
    }

    /// Number of days, without tomorrow.
    pub fn days(self) -> Day {
        self.today - self.first + 1
    }

    /// The first day whose key is kept. `made` is the last day before today on which a key was created, if
    /// that is known. If it is earlier than yesterday, no process has run since then, or the clock is
    /// ahead; the window of that day then decides. So a clock that is ahead deletes no key before its next
    /// midnight.
    pub fn first_kept(self, made: Option<Day>) -> Day {
        let last = made.filter(|made| *made < self.today - 1).unwrap_or(self.today);
        last - self.days() + 1
    }

    /// The current day.
    pub fn today(self) -> Day {
        self.today
    }

    /// The last day: tomorrow.
    pub fn last(self) -> Day {
        self.today + 1
    }

    /// Whether the key of a day is kept.
    pub fn contains(self, day: Day) -> bool {
        (self.first..=self.last()).contains(&day)
    }

    /// The days whose missing keys are created: today, and tomorrow, so that no request waits for the store
    /// at midnight. A missing key of an earlier day was deleted, or no process needed it; a new key would
    /// give visitors of that day other ids.
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

    #[test]
    fn a_clock_that_is_ahead_deletes_no_key_of_the_days_that_are_kept() {
        let window = KeyWindow::new(100, 2);
        for (made, first) in [(None, 99), (Some(99), 99), (Some(98), 97), (Some(70), 69)] {
            assert_eq!(window.first_kept(made), first, "{made:?}");
        }
        assert_eq!(KeyWindow::new(100, 30).first_kept(Some(70)), 41);
        assert_eq!(KeyWindow::new(100, 1).first_kept(Some(98)), 98);
    }
}
