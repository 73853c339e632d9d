//! Whether the processor reads, for the health probe.

use std::sync::{Arc, Mutex};

use service::admin_port::Health;
use service::lock::lock;

/// In front of the code of the error for which a processor waits.
pub(crate) const WAITING: &str = "waiting: ";
/// Most bytes of such an error.
const ERROR_BYTES_MAX: usize = 400;

/// What the processor does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It waits for the servers.
    #[default]
    Starting,
    /// It waits for a server that fails with this error.
    Waiting(String),
    /// It reads as a member of its group.
    Reading,
    /// It stays outside its group while this reset is open.
    Outside(String),
}

/// The readiness; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Readiness(Arc<Mutex<Activity>>);

impl Readiness {
    /// Notes what the processor does from now on.
    pub(crate) fn set(&self, activity: Activity) {
        *lock(&self.0) = activity;
    }

    /// What the health probe reports.
    pub(crate) fn health(&self) -> Health {
        match &*lock(&self.0) {
            Activity::Starting => {
                Health::NotReady("waiting for ClickHouse, broker or registry".to_owned())
            }
            Activity::Waiting(error) => {
                let end = error.floor_char_boundary(ERROR_BYTES_MAX);
                Health::NotReady(format!("{WAITING}{}", error[..end].replace(['\n', '\r'], " ")))
            }
            Activity::Reading => Health::Ready,
            Activity::Outside(reset) => Health::NotReady(format!(
                "outside the consumer group until reset {reset} of its positions ends"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_waits_names_the_error_on_one_bounded_line() {
        let readiness = Readiness::default();
        let error = format!("registry_unreachable: http://r: status 500\n{}", "x".repeat(1_000));
        readiness.set(Activity::Waiting(error));
        let Health::NotReady(why) = readiness.health() else { panic!("it is ready") };
        assert!(why.starts_with("waiting: registry_unreachable: http://r: status 500 xx"), "{why}");
        assert_eq!(why.len(), WAITING.len() + ERROR_BYTES_MAX);
    }

    #[test]
    fn a_member_outside_its_group_is_not_ready_and_names_the_reset() {
        let readiness = Readiness::default();
        assert!(matches!(readiness.health(), Health::NotReady(_)));
        readiness.set(Activity::Outside("r-1".to_owned()));
        let Health::NotReady(why) = readiness.health() else { panic!("it is ready") };
        assert!(why.contains("reset r-1"), "{why}");
        readiness.set(Activity::Reading);
        assert_eq!(readiness.health(), Health::Ready);
    }
}
