//! A running demo, as its user starts it, and what an operator does beside it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::{Child, Exit, Kafka, Raw, program, root, until_within};

/// The longest time until the demo has its data.
const PATIENCE: Duration = Duration::from_secs(240);
/// The topic of clicks.
const TOPIC: &str = "clicks.raw.v1";

/// A running demo; its drop kills it.
#[derive(Debug)]
pub(crate) struct DemoRun {
    child: Child,
    /// The address of its preview, without a slash at the end.
    pub(crate) url: String,
    env: BTreeMap<String, String>,
}

impl DemoRun {
    /// Starts it, and waits until it has its data.
    pub(crate) fn start(logs: &Path) -> Self {
        let mut command = Command::new(program("demo"));
        command.current_dir(root());
        let mut child = Child::start(command, logs.join("demo"));
        let url = until_within(PATIENCE, "the demo prints the address of its preview", || {
            assert_eq!(child.ended(), None, "{}", child.output());
            let output = child.output();
            let line = output.lines().find(|line| line.starts_with("dashboards"))?;
            let url = line.split_whitespace().find(|word| word.starts_with("http://"))?;
            Some(url.trim_end_matches('/').to_owned())
        });
        let env = std::fs::read_to_string(root().join(".demo/env")).expect("the demo's variables");
        let variable = |line: &str| {
            let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('\'').to_owned()))
        };
        Self { child, url, env: env.lines().filter_map(variable).collect() }
    }

    /// Writes records that no rule can decode, and runs a replay of the last days.
    pub(crate) fn operate(&self, logs: &Path) {
        let kafka = Kafka { brokers: self.env["KAFKA_BROKERS"].clone() };
        let bad = |text: &str| Raw { value: Some(text.as_bytes().to_vec()), ..Raw::default() };
        kafka.produce(TOPIC, &[bad("not Avro"), bad(""), bad("{\"slug\": \"json\"}")]);
        let run = |name: &str, args: &[&str]| -> Exit {
            let mut command = Command::new(program("processors"));
            command.args(args).envs(&self.env);
            Child::start(command, logs.join(name)).end_within(PATIENCE)
        };
        let reason = ["--reason", "newer rules", "--json"];
        let plan =
            run("plan", &[&["replay", "plan", "--occurred-from", "2d"], &reason[..]].concat());
        let plan = plan.expect_code(0).last_object();
        run("replay", &["replay", "run", plan["job"].as_str().expect("a job")]).expect_code(0);
    }

    /// Stops it, as its user does.
    pub(crate) fn stop(mut self) {
        self.child.stop().expect_code(0);
    }
}
