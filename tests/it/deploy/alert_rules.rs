//! The shipped rules of Prometheus as data.

use std::collections::BTreeMap;

use harness::root;
use serde_json::Value;

/// An alert, or a recording rule.
#[derive(Debug)]
pub(crate) struct AlertRule {
    /// The file, without its folder.
    pub(crate) file: String,
    /// The alert's name, or the recorded metric's.
    pub(crate) name: String,
    pub(crate) expression: String,
    /// Empty for a recording rule.
    pub(crate) severity: String,
    /// The time for which the expression must hold, such as `5m`.
    pub(crate) lasts: String,
    /// Summary, description and `runbook_url`; none of a recording rule.
    pub(crate) annotations: BTreeMap<String, String>,
}

impl AlertRule {
    pub(crate) fn is_alert(&self) -> bool {
        !self.annotations.is_empty()
    }
}

/// The names of the files in a folder of `deploy/prometheus`.
pub(crate) fn file_names(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join("deploy/prometheus").join(folder)).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// All shipped rules.
pub(crate) fn alert_rules() -> Vec<AlertRule> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut rules = Vec::new();
    for file in file_names("rules") {
        let path = root().join("deploy/prometheus/rules").join(&file);
        let page = std::fs::read_to_string(path).unwrap();
        let page: Value = serde_saphyr::from_str(&page).unwrap();
        for group in page["groups"].as_array().unwrap() {
            for rule in group["rules"].as_array().unwrap() {
                let annotations = rule["annotations"].as_object().into_iter().flatten();
                rules.push(AlertRule {
                    file: file.clone(),
                    name: text(rule.get("alert").unwrap_or(&rule["record"])),
                    expression: text(&rule["expr"]),
                    severity: text(&rule["labels"]["severity"]),
                    lasts: rule.get("for").map_or_else(|| "0m".to_owned(), text),
                    annotations: annotations.map(|(name, of)| (name.clone(), text(of))).collect(),
                });
            }
        }
    }
    assert!(rules.len() > 40, "{} rules are all", rules.len());
    rules
}
