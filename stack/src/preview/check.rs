//! Asks every query of every dashboard once, as a browser would.

use std::net::SocketAddr;

use dashboards::Dashboard;
use serde_json::{Value, json};

use super::question::ALERT_LIST;
use crate::http_probe::post_json;

/// The code of a query of Prometheus that is not running.
pub(crate) const NO_PROMETHEUS: &str = "no_prometheus";

/// What became of all queries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreviewCheck {
    /// Queries with an answer.
    pub answered: usize,
    /// Queries of Prometheus, which is not running.
    pub without_prometheus: usize,
    /// Each other query with its error.
    pub failed: Vec<String>,
}

impl std::fmt::Display for PreviewCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} queries of the dashboards answered", self.answered)?;
        if self.without_prometheus > 0 {
            write!(f, ", {} not: Prometheus is not running", self.without_prometheus)?;
        }
        if !self.failed.is_empty() {
            write!(f, ", {} failed:\n  {}", self.failed.len(), self.failed.join("\n  "))?;
        }
        Ok(())
    }
}

/// Asks all of them for a range, in milliseconds since 1970; those of each dashboard at the same time as those of the
/// others, as several viewers would.
pub(crate) fn check(address: SocketAddr, from: i64, to: i64) -> PreviewCheck {
    let dashboards = dashboards::files().into_iter().map(|(_, text)| Dashboard::parse(text));
    let dashboards: Vec<_> = dashboards.filter_map(Result::ok).collect();
    std::thread::scope(|scope| {
        let ask = |dashboard| scope.spawn(move || check_dashboard(address, dashboard, from, to));
        let threads: Vec<_> = dashboards.iter().map(ask).collect();
        let mut all = PreviewCheck::default();
        for thread in threads {
            let own = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            all.answered += own.answered;
            all.without_prometheus += own.without_prometheus;
            all.failed.extend(own.failed);
        }
        all
    })
}

fn check_dashboard(address: SocketAddr, dashboard: &Dashboard, from: i64, to: i64) -> PreviewCheck {
    let mut check = PreviewCheck::default();
    for (what, mut question) in questions(dashboard) {
        question["dashboard"] = json!(dashboard.uid);
        question["from"] = json!(from);
        question["to"] = json!(to);
        question["zone"] = json!("UTC");
        let body = post_json(address, "/api/query", &question.to_string()).unwrap_or_default();
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        if body["rows"].is_array() {
            check.answered += 1;
        } else if body["code"] == NO_PROMETHEUS {
            check.without_prometheus += 1;
        } else {
            let cause = body["error"].as_str().unwrap_or("no answer");
            check.failed.push(format!("{}, {what}: {cause}", dashboard.title));
        }
    }
    check
}

/// Each query of a dashboard: its name for a person, and the question.
fn questions(dashboard: &Dashboard) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for panel in dashboard.charts() {
        let queries =
            panel.targets.iter().filter(|target| !target.hide && target.query().is_some());
        all.extend(queries.map(|target| {
            let question = json!({"panel": panel.id, "target": target.ref_id});
            (format!("{} ({})", panel.title, target.ref_id), question)
        }));
        if panel.kind == ALERT_LIST {
            all.push((panel.title.clone(), json!({"panel": panel.id})));
        }
    }
    let has_query = |target: &dashboards::Target| target.query().is_some();
    let annotations = dashboard.annotations().iter();
    let annotations = annotations.filter(|it| it.target.as_ref().is_some_and(has_query));
    all.extend(
        annotations.map(|it| (format!("annotation {}", it.name), json!({"annotation": it.name}))),
    );
    all
}
