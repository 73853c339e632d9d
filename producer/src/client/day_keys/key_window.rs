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

    /// The first day.
    pub fn first(self) -> Day {
        self.first
    }

    /// How many days there are, today the last of them.
    pub fn days(self) -> Day {
        self.today - self.first + 1
    }

    /// The first day whose key is not deleted, where keys were made on the day `made` before today
    /// last, if that is known. If that is longer ago than yesterday, no process has run since, or the
    /// clock is ahead: the window is then the one of that day. A clock that is ahead so deletes nothing
    /// before it has passed its next midnight.
    pub fn first_kept(self, made: Option<Day>) -> Day {
        let last = made.filter(|made| *made < self.today - 1).unwrap_or(self.today);
        last - self.days() + 1
    }

    /// The day that it is.
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
