//! What is wrong with links: of dashboards, of panels, and of values.

use crate::dashboard::Dashboard;
use crate::known_dashboards::KnownDashboards;
use crate::lint_finding::{Findings, named};
use crate::variables::references;

/// What Grafana replaces in a link.
const BUILT_IN: [&str; 12] = [
    "__url_time_range",
    "__all_variables",
    "__data",
    "__field",
    "__value",
    "__series",
    "__from",
    "__to",
    "__timezone",
    "__dashboard",
    "__org",
    "__url",
];

/// Adds what is wrong with the links of a dashboard.
pub(crate) fn links(
    dashboard: &Dashboard,
    known: &KnownDashboards<'_>,
    findings: &mut Findings<'_>,
) {
    for link in &dashboard.links {
        let place = format!("link \"{}\"", link.title);
        if link.title.is_empty() {
            findings.add(&place, "it needs a title");
        }
        if link.kind == "dashboards" && !link.keep_time {
            findings.add(&place, "it is to keep the time range (keepTime)");
        }
        match link.url.as_deref().unwrap_or_default() {
            "" if link.kind == "link" => findings.add(&place, "it needs a url"),
            url => address(dashboard, known, url, &place, findings),
        }
    }
    for panel in dashboard.charts() {
        for link in panel.links.iter().cloned().chain(panel.data_links()) {
            let place = format!("{}, link \"{}\"", named(panel), link.title);
            if link.title.is_empty() {
                findings.add(&place, "it needs a title");
            }
            address(dashboard, known, &link.url, &place, findings);
        }
    }
}

/// Checks one address.
fn address(
    dashboard: &Dashboard,
    known: &KnownDashboards<'_>,
    url: &str,
    place: &str,
    findings: &mut Findings<'_>,
) {
    let names: Vec<_> = dashboard.variables().iter().map(|it| it.name.as_str()).collect();
    for found in references(url) {
        if !names.contains(&found.name) && !BUILT_IN.contains(&found.name) {
            findings.add(place, format!("the dashboard has no variable {}", found.name));
        }
        // A value of a visitor could add parameters, or name another host.
        let encoded = matches!(found.format, Some("percentencode" | "queryparam"));
        if url[..found.range.start].ends_with('=') && !encoded {
            let text = &url[found.range.clone()];
            findings.add(place, format!("the value {text} needs the format percentencode"));
        }
    }
    let Some(path) = url.strip_prefix("/d/").or_else(|| url.strip_prefix("d/")) else { return };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let uid = path.split('/').next().unwrap_or_default();
    let Some(target) = known.find(uid) else {
        findings.add(place, format!("no dashboard has the uid {uid}"));
        return;
    };
    let has = |name: &str| target.variables().iter().any(|variable| variable.name == name);
    let named = query.split('&').filter_map(|pair| pair.strip_prefix("var-"));
    let named = named.filter_map(|pair| pair.split('=').next()).map(str::to_owned);
    let written = references(query).into_iter();
    let written = written.filter(|found| found.format == Some("queryparam"));
    let written = written.map(|found| found.name.to_owned());
    for name in named.chain(written).filter(|name| !name.starts_with('_')) {
        if !has(&name) {
            findings.add(place, format!("the dashboard {uid} has no variable {name}"));
        }
    }
}
