//! The shipped alerts, by Prometheus' and Alertmanager's own tools.

use std::process::Command;

use harness::root;
use producer::outbox::offer::Loss;

use crate::deploy::alert_rules::{alert_rules, file_names};
use crate::deploy::promql_names::PromqlNames;
use crate::meta::source::{none, page};

/// Runs a tool in the folder of the shipped files; returns its output.
fn checked(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root().join("deploy/prometheus"));
    let output = command.output();
    let output = output.unwrap_or_else(|error| {
        panic!("{program} is not installed: run `./prerequisites.sh test` ({error})")
    });
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(output.status.success(), "{program} {arguments:?}:\n{text}");
    text
}

#[test]
fn prometheus_and_alertmanager_accept_the_shipped_configuration() {
    let text = checked("promtool", &["check", "config", "prometheus.yml"]);
    let rules = file_names("rules").len();
    assert!(text.contains(&format!("{rules} rule files found")), "{text}");
    let list = std::fs::read_to_string(root().join("deploy/prometheus/alertmanagers.yml")).unwrap();
    let port = "9093";
    let listed = format!("[{{targets: [\"alertmanager:{port}\"]}}]");
    assert_eq!(list.lines().last(), Some(listed.as_str()), "the compose file's is listed");
    let compose = page("docker-compose.yml");
    for line in ["  alertmanager:\n".to_owned(), format!("ports: [\"127.0.0.1:{port}:{port}\"]")] {
        assert!(compose.contains(&line), "{line}");
    }
    let text = checked("amtool", &["check-config", "alertmanager.yml"]);
    assert!(text.contains("1 receivers"), "{text}");
}

#[test]
fn each_file_of_rules_passes_its_tests() {
    let rules = file_names("rules");
    assert_eq!(rules, file_names("tests"), "each file of rules has a file of tests");
    std::thread::scope(|scope| {
        for name in rules {
            scope.spawn(move || {
                let text = checked("promtool", &["test", "rules", &format!("tests/{name}")]);
                assert!(text.contains("SUCCESS"), "{text}");
            });
        }
    });
}

#[test]
fn the_tests_of_each_file_of_rules_name_each_of_its_alerts() {
    let mut wrong = Vec::new();
    for rule in alert_rules().iter().filter(|rule| rule.is_alert()) {
        let tests = page(&format!("deploy/prometheus/tests/{}", rule.file));
        let sample = format!("alertname=\"{}\"", rule.name);
        if !tests.contains(&sample) && !tests.contains(&format!("alertname: {}\n", rule.name)) {
            wrong.push(format!("{} of {}", rule.name, rule.file));
        }
    }
    none("alerts without a test", wrong);
}

/// The headings of a document, as the anchors that links use.
fn anchors(document: &str) -> Vec<String> {
    let page = page(document);
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let words = headings.map(|line| line.trim_start_matches(['#', ' ']).to_lowercase());
    words.map(|words| words.replace(['`', '(', ')'], "").replace(' ', "-")).collect()
}

#[test]
fn every_alert_names_a_heading_that_exists() {
    let mut wrong = Vec::new();
    for rule in alert_rules().iter().filter(|rule| rule.is_alert()) {
        let url = &rule.annotations["runbook_url"];
        let (document, anchor) = url.split_once('#').unwrap();
        let expected: Vec<String> = match anchor {
            "{{ $labels.code }}" if rule.name == "ClicksLost" => {
                Loss::ALL.map(|loss| loss.code().to_owned()).into()
            }
            // Any code of a server; each has a heading in RUNBOOK.
            "{{ $labels.code }}" => Vec::new(),
            "{{ $labels.result }}" => {
                let metrics = PromqlNames::of(&rule.expression).metrics;
                let labels = metrics.iter().flat_map(|metric| &metric.labels);
                let values = labels.filter(|(label, _)| label == "result");
                values.flat_map(|(_, value)| value.split('|')).map(str::to_owned).collect()
            }
            anchor => vec![anchor.to_owned()],
        };
        let anchors = anchors(document);
        let absent = expected.iter().filter(|anchor| !anchors.contains(anchor));
        wrong.extend(absent.map(|anchor| format!("{}: {document}#{anchor}", rule.name)));
    }
    none("headings", wrong);
}
