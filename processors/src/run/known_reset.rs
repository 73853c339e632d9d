//! What a member knows of the open reset of its group. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// The open reset, as last read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KnownReset {
    open: Option<OpenReset>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct OpenReset {
    id: String,
    /// When it expires, unless its command renews it.
    until: Instant,
}

impl KnownReset {
    /// The table was read at `now`: the open reset, and how long it still lasts.
    pub(crate) fn read(&mut self, found: Option<(String, u64)>, now: Instant) {
        let open = |(id, left_us)| OpenReset { id, until: now + Duration::from_micros(left_us) };
        self.open = found.map(open);
    }

    /// The id of the reset that keeps the member outside its group at `now`. A server that does not answer
    /// changes nothing, and does not keep a member outside for longer than the reset lasts: a commit from outside
    /// cannot succeed once the member is in the group again.
    pub(crate) fn open_at(&self, now: Instant) -> Option<&str> {
        self.open.as_ref().filter(|open| now < open.until).map(|open| open.id.as_str())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant")]
mod tests {
    use super::*;

    #[test]
    fn a_reset_keeps_a_member_outside_until_it_ends_or_expires_without_an_answer() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut known = KnownReset::default();
        assert_eq!(known.open_at(now), None);
        known.read(Some(("r".to_owned(), 10_000_000)), now);
        assert_eq!(known.open_at(after(9)), Some("r"), "no answer since");
        assert_eq!(known.open_at(after(10)), None, "its command is gone");
        known.read(Some(("r".to_owned(), 10_000_000)), after(9));
        assert_eq!(known.open_at(after(18)), Some("r"), "renewed");
        known.read(None, after(12));
        assert_eq!(known.open_at(after(12)), None, "ended");
    }
}
