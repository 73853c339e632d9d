//! The shipped alerts, by Prometheus' and Alertmanager's own tools.

use std::process::Command;

use harness::root;

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

/// The names of the files in a folder of the shipped files.
fn names(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join("deploy/prometheus").join(folder)).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn prometheus_and_alertmanager_accept_the_shipped_configuration() {
    let text = checked("promtool", &["check", "config", "prometheus.yml"]);
    let rules = names("rules").len();
    assert!(text.contains(&format!("{rules} rule files found")), "{text}");
    let list = std::fs::read_to_string(root().join("deploy/prometheus/alertmanagers.yml")).unwrap();
    assert_eq!(list.lines().last(), Some("[]"), "the list is empty as shipped");
    let text = checked("amtool", &["check-config", "alertmanager.yml"]);
    assert!(text.contains("1 receivers"), "{text}");
}

#[test]
fn each_file_of_rules_passes_its_tests() {
    let rules = names("rules");
    assert_eq!(rules, names("tests"), "each file of rules has a file of tests");
    for name in rules {
        let text = checked("promtool", &["test", "rules", &format!("tests/{name}")]);
        assert!(text.contains("SUCCESS"), "{text}");
    }
}

#[test]
fn every_alert_names_a_heading_of_the_runbook() {
    let runbook = std::fs::read_to_string(root().join("RUNBOOK.md")).unwrap();
    let anchors: Vec<_> = runbook
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-"))
        .collect();
    let mut alerts = 0;
    for name in names("rules") {
        let path = root().join("deploy/prometheus/rules").join(&name);
        let text = std::fs::read_to_string(path).unwrap();
        let urls = text.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: "));
        let urls: Vec<_> = urls.collect();
        assert_eq!(urls.len(), text.matches("- alert: ").count(), "{name}");
        for url in urls {
            let anchor = url.strip_prefix("RUNBOOK.md#").unwrap();
            assert!(anchors.iter().any(|own| own == anchor), "{name}: {anchor}");
            alerts += 1;
        }
    }
    assert!(alerts > 0);
}
