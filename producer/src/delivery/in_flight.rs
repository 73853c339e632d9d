//! Clicks on their way: which are acknowledged, and up to where all are.
//!
//! Pure. Acknowledgements come in any order; the start moves over what has come only.

use std::collections::VecDeque;

use crate::outbox::offer::Loss;

/// A stretch of numbered clicks, each on its way or done.
#[derive(Debug)]
pub struct Window {
    /// Everything before it is done.
    start: u64,
    clicks: VecDeque<Click>,
    bytes: usize,
    passed: Passed,
}

#[derive(Debug)]
struct Click {
    taken_ms: u64,
    bytes: usize,
    end: Option<End>,
}

/// How a click needs nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The broker has it.
    Delivered,
    /// It was never to be delivered.
    Lost(Loss),
    /// As that, and counted already.
    GivenUp,
}

/// What the start moved over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    /// Clicks that the broker has.
    pub delivered: u64,
    /// Each click that is lost.
    pub lost: Vec<Loss>,
}

impl Window {
    /// Nothing is on its way; the next click is `start`.
    pub fn new(start: u64) -> Self {
        Self { start, clicks: VecDeque::new(), bytes: 0, passed: Passed::default() }
    }

    /// The first number that is not done.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Clicks between the first that is not done and the last that was sent.
    pub fn clicks(&self) -> usize {
        self.clicks.len()
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first of them was made, milliseconds since 1970.
    pub fn oldest_ms(&self) -> Option<u64> {
        self.clicks.front().map(|click| click.taken_ms)
    }

    /// The next click is on its way.
    pub fn sent(&mut self, taken_ms: u64, bytes: usize) {
        self.clicks.push_back(Click { taken_ms, bytes, end: None });
        self.bytes += bytes;
    }

    /// The click `number` needs nothing more. Says when it was made; none if that was known.
    pub fn done(&mut self, number: u64, end: End) -> Option<u64> {
        let index = usize::try_from(number.checked_sub(self.start)?).ok()?;
        let click = self.clicks.get_mut(index)?;
        if click.end.is_some() {
            return None;
        }
        click.end = Some(end);
        let taken_ms = click.taken_ms;
        while let Some(first) = self.clicks.pop_front_if(|first| first.end.is_some()) {
            self.bytes -= first.bytes;
            self.start += 1;
            match first.end {
                Some(End::Lost(loss)) => self.passed.lost.push(loss),
                Some(End::Delivered) | None => self.passed.delivered += 1,
                Some(End::GivenUp) => {}
            }
        }
        Some(taken_ms)
    }

    /// Passes over `clicks` numbers that nobody can send.
    pub fn pass(&mut self, clicks: u64, end: End) {
        for _ in 0..clicks {
            let number = self.start + self.clicks.len() as u64;
            self.sent(0, 0);
            self.done(number, end);
        }
    }

    /// What the start moved over since this was last asked.
    pub fn passed(&mut self) -> Passed {
        std::mem::take(&mut self.passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_start_never_passes_a_click_that_is_not_done(
            order in Just((0..30_u64).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut window = Window::new(100);
            (0..30).for_each(|taken| window.sent(taken, 10));
            let mut done = std::collections::BTreeSet::new();
            for number in order {
                prop_assert_eq!(window.done(100 + number, End::Delivered), Some(number));
                prop_assert_eq!(window.done(100 + number, End::Delivered), None);
                done.insert(number);
                let first = (0..30).find(|number| !done.contains(number));
                prop_assert_eq!(window.start(), 100 + first.unwrap_or(30));
                prop_assert_eq!(window.oldest_ms(), first);
                prop_assert_eq!(window.bytes(), 10 * window.clicks());
            }
            prop_assert_eq!(window.clicks(), 0);
        }
    }

    #[test]
    fn what_was_lost_is_passed_over_in_its_place() {
        let mut window = Window::new(5);
        window.sent(1, 10);
        window.pass(3, End::Lost(Loss::OutboxCorrupt));
        window.pass(2, End::GivenUp);
        window.sent(2, 10);
        assert_eq!((window.start(), window.clicks()), (5, 7));
        assert_eq!(window.passed(), Passed::default());
        window.done(5, End::Delivered);
        assert_eq!((window.start(), window.oldest_ms()), (11, Some(2)));
        let lost = vec![Loss::OutboxCorrupt; 3];
        assert_eq!(window.passed(), Passed { delivered: 1, lost });
        assert_eq!(window.done(4, End::Delivered), None);
        assert_eq!(window.done(12, End::Delivered), None);
    }
}
