//! `processors replay` in tests.

use std::time::Duration;

use serde_json::Value;

use crate::backends::root;
use crate::child::{Child, Exit};
use crate::world::World;

impl World {
    /// Starts `processors replay`. The group removes a killed worker after seconds.
    pub fn replay(&self, args: &[&str], set: &[(&str, &str)]) -> Child {
        let mut command = self.command("processors", &[("CLICKTRAIL_GROUP", &self.group)]);
        command.envs(set.iter().copied());
        command.args(["replay", "--kafka", "session.timeout.ms=6000"]);
        command.args(["--kafka", "heartbeat.interval.ms=1000"]);
        // A worker sees within a second that the topic has grown.
        command.args(["--kafka", "topic.metadata.refresh.interval.ms=1000"]).args(args);
        self.start(command)
    }

    /// Plans a replay; returns the plan.
    ///
    /// # Panics
    /// When the plan is refused.
    pub fn plan_replay(&self, window: &[&str], set: &[(&str, &str)]) -> Value {
        let args = [&["plan"], window, &["--json"]].concat();
        self.replay(&args, set).end().expect_code(0).last_object()
    }

    /// Runs a replay to its end as its only worker.
    pub fn run_replay(&self, id: &str, set: &[(&str, &str)]) -> Exit {
        self.replay(&["run", id, "--json"], set).end_within(Duration::from_secs(180))
    }

    /// A rules folder with one of the small geo databases as its only table.
    ///
    /// # Panics
    /// When there is no such database.
    pub fn geo_rules(&self, geo: &str) -> String {
        let folder = self.folder().join(geo);
        std::fs::create_dir_all(&folder).expect("a folder can be created");
        let from = root().join("tests/fixtures/geo").join(geo);
        std::fs::copy(from, folder.join("geo.mmdb")).expect("a file can be copied");
        folder.to_string_lossy().into_owned()
    }
}

impl Exit {
    /// The last line of the output, which is an object of JSON.
    ///
    /// # Panics
    /// When it is not.
    pub fn last_object(&self) -> Value {
        let line = self.out.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The id of the job of a plan.
///
/// # Panics
/// When the plan has none.
pub fn job_id(plan: &Value) -> String {
    plan["job"].as_str().unwrap_or_else(|| panic!("{plan}")).to_owned()
}
