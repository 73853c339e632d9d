//! Whether the processor reads, for the health probe.

use std::sync::{Arc, Mutex};

use service::admin_port::Health;
use service::lock::lock;

/// What the processor does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It waits for the servers.
    #[default]
    Starting,
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
