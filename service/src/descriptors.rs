//! File descriptors: the process raises its limit, and reserves some for other files than connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that connections never use: files of the outbox, brokers, registry, link store,
/// admin port.
pub const RESERVE: u64 = 256;

/// The descriptors that this process may open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors(u64);

impl Descriptors {
    /// Raises the soft limit to the hard one.
    pub fn raise() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        // Without a limit that of the system applies, which is far above any bound of ports.
        let hard = maximum.unwrap_or(u64::MAX);
        let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        match raised {
            Ok(()) => Self(hard),
            Err(error) => {
                tracing::warn!(%error, "cannot raise the limit of file descriptors");
                Self(current.unwrap_or(u64::MAX))
            }
        }
    }

    /// The limit.
    pub fn limit(self) -> u64 {
        self.0
    }

    /// The number of the wanted connections that leaves the reserve free; at least one.
    pub fn connections(self, wanted: u32) -> usize {
        // Below twice the reserve, half of the descriptors.
        let left = self.0.saturating_sub(RESERVE).max(self.0.min(2 * RESERVE) / 2);
        usize::try_from(left).map_or(wanted as usize, |left| left.min(wanted as usize)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h10_connections_leave_a_reserve_of_descriptors() {
        for (limit, wanted, expected) in [
            (u64::MAX, 10_000, 10_000),
            (1 << 20, 10_000, 10_000),
            (10_256, 10_000, 10_000),
            (10_255, 10_000, 9_999),
            (1_024, 10_000, 768),
            (512, 10_000, 256),
            (256, 10_000, 128),
            (1_024, 10, 10),
            (1, 10, 1),
        ] {
            assert_eq!(Descriptors(limit).connections(wanted), expected, "{limit}");
        }
    }

    #[test]
    fn h10_the_soft_limit_becomes_the_hard_one() {
        let raised = Descriptors::raise();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
        assert_eq!(raised.limit(), now.maximum.unwrap_or(u64::MAX));
    }
}
