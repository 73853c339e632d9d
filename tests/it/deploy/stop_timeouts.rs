//! The kill timeouts of supervisors are longer than the longest stop of the producer.

use std::time::Duration;

use clap::CommandFactory as _;
use harness::root;
use producer::stop_deadline::stop_timeout;
use serde_json::Value;

fn page(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The longest stop with the shipped settings; no file changes it.
fn longest() -> u64 {
    let mut command = producer::config::Cli::command();
    command.build();
    let serve = command.find_subcommand("serve").unwrap();
    let flush = serve.get_arguments().find(|it| it.get_long() == Some("flush-seconds")).unwrap();
    let flush = flush.get_default_values()[0].to_str().unwrap().parse().unwrap();
    stop_timeout(Duration::from_secs(flush)).as_secs()
}

#[test]
fn m9_every_shipped_kill_timeout_is_longer_than_the_longest_stop() {
    let longest = longest();
    let unit = page("docs/deploy/systemd/clicktrail-producer.service");
    let unit = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    let compose: Value = serde_saphyr::from_str(&page("docker-compose.yml")).unwrap();
    let compose = compose["services"]["producer"]["stop_grace_period"].as_str().unwrap();
    let pods = page("docs/deploy/kubernetes.yaml");
    let pod = pods.split("\n---").find(|it| it.contains("command: [producer, serve]")).unwrap();
    let pod: Value = serde_saphyr::from_str(pod).unwrap();
    let spec = &pod["spec"]["template"]["spec"];
    let pause = &spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"];
    let pod = spec["terminationGracePeriodSeconds"].as_u64().unwrap() - pause.as_u64().unwrap();
    let compose = compose.strip_suffix('s').unwrap();
    for (name, seconds) in [("systemd", unit), ("compose", compose), ("pod", &pod.to_string())] {
        let seconds: u64 = seconds.parse().unwrap();
        assert!(seconds > longest, "{name} kills after {seconds} s, a stop takes {longest} s");
    }
}
