//! How much the relay may send while visitors need the cores.
//!
//! Pure. Where threads have to wait for a core, whatever the relay does slows answers down. It then
//! sends no more than a steady trickle, and the outbox takes the rest: as long as more come than
//! trickle away, and the outbox has room. Of the first seconds of a rush nobody can tell yet whether
//! threads wait, and visitors come first.

use std::time::Duration;

/// Between two looks.
pub const BEAT: Duration = Duration::from_millis(100);
/// Clicks of one beat while it gives way, 10,000 a second: fewer than that never wait.
const TRICKLE: u64 = 1_000;
/// Beats of a rush of which the system's account, summed up every two seconds, may not tell yet.
const UNTOLD: u32 = 40;

/// What a look saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Visitors redirected so far.
    pub redirects: u64,
    /// Whether threads have to wait for a core.
    pub crowded: bool,
    /// Whether the outbox may take more for a while.
    pub room: bool,
}

/// The pace of one relay.
#[derive(Debug)]
pub struct Pace {
    redirects: u64,
    /// Beats in which more came than trickle away, less those in which fewer did.
    rush: u32,
    left: Option<u64>,
}

impl Pace {
    /// Begins when so many visitors had been redirected.
    pub fn since(redirects: u64) -> Self {
        Self { redirects, rush: 0, left: None }
    }

    /// Begins a beat.
    pub fn look(&mut self, look: Look) {
        let came = look.redirects.saturating_sub(self.redirects);
        self.redirects = look.redirects;
        let many = came > TRICKLE;
        // A pause does not make a rush a new one: the account has told of it all the same.
        self.rush = match many {
            true => (self.rush + 1).min(UNTOLD + 1),
            false => self.rush.saturating_sub(1),
        };
        let crowded = look.crowded || self.rush <= UNTOLD;
        self.left = (many && crowded && look.room).then_some(TRICKLE);
    }

    /// Whether it gives way.
    pub fn gives_way(&self) -> bool {
        self.left.is_some()
    }

    /// Whether one more may be sent in this beat.
    pub fn admits(&self) -> bool {
        self.left != Some(0)
    }

    /// One more was sent.
    pub fn sent(&mut self) {
        self.left = self.left.map(|left| left.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 5,000 clicks go in one beat.
    fn goes(pace: &mut Pace) -> u64 {
        let mut sent = 0;
        while sent < 5_000 && pace.admits() {
            pace.sent();
            sent += 1;
        }
        sent
    }

    #[test]
    fn a_relay_throttled_to_many_visitors_while_cores_may_be_short_and_the_outbox_has_room() {
        for (came, crowded, room, expected) in [
            (9_000, true, true, TRICKLE),
            (9_000, false, true, 5_000),
            (9_000, true, false, 5_000),
            (TRICKLE, true, true, 5_000),
        ] {
            let mut pace = Pace::since(100);
            assert_eq!(goes(&mut pace), 5_000, "before the first look");
            pace.look(Look { redirects: 100, crowded: false, room: true });
            assert_eq!(goes(&mut pace), 5_000, "those of an earlier relay are none of this one's");
            for beat in 1..=99 {
                pace.look(Look { redirects: 100 + beat * came, crowded, room });
                let untold = beat <= u64::from(UNTOLD) && came > TRICKLE && room;
                let expected = if untold { TRICKLE } else { expected };
                assert_eq!(pace.gives_way(), expected == TRICKLE);
                assert_eq!(goes(&mut pace), expected, "{beat} {came} {crowded} {room}");
            }
            // They have gone: what waits is delivered at once.
            pace.look(Look { redirects: 100 + 99 * came, crowded, room });
            assert_eq!(goes(&mut pace), 5_000);
        }
    }

    #[test]
    fn a_rush_that_pauses_is_no_new_one_and_one_after_a_long_pause_is() {
        let (mut pace, mut redirects) = (Pace::since(0), 0);
        let mut gave_way = |beats: usize, came: u64| {
            let looks = (0..beats).filter(|_| {
                redirects += came;
                pace.look(Look { redirects, crowded: false, room: true });
                pace.gives_way()
            });
            looks.count()
        };
        assert_eq!(gave_way(100, 9_000), 40);
        for _ in 0..100 {
            assert_eq!((gave_way(1, 0), gave_way(39, 9_000)), (0, 0));
        }
        assert_eq!((gave_way(100, 0), gave_way(100, 9_000)), (0, 40));
    }
}
