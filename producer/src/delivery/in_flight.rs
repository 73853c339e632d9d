//! Clicks in flight: which of them are settled, and up to which sequence number all are.
//!
//! Pure. Acknowledgements arrive in any order; the start moves only past clicks that are settled.

use std::collections::VecDeque;

use crate::outbox::offer::Loss;

/// A range of clicks by sequence number, each in flight or settled.
#[derive(Debug)]
pub struct InFlight {
    /// All clicks before it are settled.
    start: u64,
    clicks: VecDeque<Click>,
    bytes: usize,
    settled: SettledClicks,
}

#[derive(Debug)]
struct Click {
    taken_ms: u64,
    bytes: usize,
    settlement: Option<Settlement>,
}

/// How a click was settled: the relay does nothing more for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// The broker has it.
    Delivered,
    /// It cannot be delivered, and is to be counted as lost.
    Lost(Loss),
    /// The outbox dropped it, and has counted it as lost.
    Dropped,
}

/// The clicks that the start moved past.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettledClicks {
    /// How many of them the broker has.
    pub delivered: u64,
    /// The cause of each one that is lost.
    pub lost: Vec<Loss>,
}

impl InFlight {
    /// A range without a click; the next click has the sequence number `start`.
    pub fn new(start: u64) -> Self {
        Self { start, clicks: VecDeque::new(), bytes: 0, settled: SettledClicks::default() }
    }

    /// The first sequence number that is not settled.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Clicks from the first one that is not settled to the last one that was sent.
    pub fn clicks(&self) -> usize {
        self.clicks.len()
    }

    /// Bytes of the clicks in flight.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first of the clicks in flight was made, milliseconds since 1970.
    pub fn oldest_ms(&self) -> Option<u64> {
        self.clicks.front().map(|click| click.taken_ms)
    }

    /// Notes that the next click was sent.
    pub fn sent(&mut self, taken_ms: u64, bytes: usize) {
        self.clicks.push_back(Click { taken_ms, bytes, settlement: None });
        self.bytes += bytes;
    }

    /// Settles the click `number`. Returns when it was made, or `None` if it was settled before.
    pub fn settle(&mut self, number: u64, settlement: Settlement) -> Option<u64> {
        let index = usize::try_from(number.checked_sub(self.start)?).ok()?;
        let click = self.clicks.get_mut(index)?;
        if click.settlement.is_some() {
            return None;
        }
        click.settlement = Some(settlement);
        let taken_ms = click.taken_ms;
        while let Some(first) = self.clicks.pop_front_if(|first| first.settlement.is_some()) {
            self.bytes -= first.bytes;
            self.start += 1;
            match first.settlement {
                Some(Settlement::Lost(loss)) => self.settled.lost.push(loss),
                Some(Settlement::Delivered) | None => self.settled.delivered += 1,
                Some(Settlement::Dropped) => {}
            }
        }
        Some(taken_ms)
    }

    /// Settles the next `clicks` sequence numbers, whose clicks cannot be sent.
    pub fn skip(&mut self, clicks: u64, settlement: Settlement) {
        for _ in 0..clicks {
            let number = self.start + self.clicks.len() as u64;
            self.sent(0, 0);
            self.settle(number, settlement);
        }
    }

    /// The clicks that the start moved past since the last call.
    pub fn take_settled(&mut self) -> SettledClicks {
        std::mem::take(&mut self.settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_start_never_passes_a_click_that_is_not_settled(
            order in Just((0..30_u64).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut in_flight = InFlight::new(100);
            (0..30).for_each(|taken| in_flight.sent(taken, 10));
            let mut done = std::collections::BTreeSet::new();
            for number in order {
                prop_assert_eq!(in_flight.settle(100 + number, Settlement::Delivered), Some(number));
                prop_assert_eq!(in_flight.settle(100 + number, Settlement::Delivered), None);
                done.insert(number);
                let first = (0..30).find(|number| !done.contains(number));
                prop_assert_eq!(in_flight.start(), 100 + first.unwrap_or(30));
                prop_assert_eq!(in_flight.oldest_ms(), first);
                prop_assert_eq!(in_flight.bytes(), 10 * in_flight.clicks());
            }
            prop_assert_eq!(in_flight.clicks(), 0);
        }
    }

    #[test]
    fn lost_clicks_are_skipped_in_order() {
        let mut in_flight = InFlight::new(5);
        in_flight.sent(1, 10);
        in_flight.skip(3, Settlement::Lost(Loss::OutboxCorrupt));
        in_flight.skip(2, Settlement::Dropped);
        in_flight.sent(2, 10);
        assert_eq!((in_flight.start(), in_flight.clicks()), (5, 7));
        assert_eq!(in_flight.take_settled(), SettledClicks::default());
        in_flight.settle(5, Settlement::Delivered);
        assert_eq!((in_flight.start(), in_flight.oldest_ms()), (11, Some(2)));
        let lost = vec![Loss::OutboxCorrupt; 3];
        assert_eq!(in_flight.take_settled(), SettledClicks { delivered: 1, lost });
        assert_eq!(in_flight.settle(4, Settlement::Delivered), None);
        assert_eq!(in_flight.settle(12, Settlement::Delivered), None);
    }
}
