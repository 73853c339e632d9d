//! The check of dashboards: their files, then each query as Grafana sends it.

pub mod check_lines;
pub mod check_report;
mod dashboard_files;
mod prometheus_server;
mod query_check;
pub mod query_outcome;
mod query_run;

use std::path::PathBuf;

use broker::ServerError;
use dashboards::{Dashboard, View, lint};
use url::Url;

use crate::clickhouse::result_table::result_table;
use crate::clickhouse::server::Server;
use crate::dashboard_check::check_report::CheckReport;
use crate::dashboard_check::dashboard_files::{committed, in_folder};
use crate::dashboard_check::prometheus_server::PrometheusServer;
use crate::dashboard_check::query_run::QueryRun;

/// What to check, and as which viewer.
#[derive(Debug)]
pub struct CheckPlan {
    /// The folder of the files; the committed dashboards without one.
    pub folder: Option<PathBuf>,
    /// Where ClickHouse is.
    pub server: Server,
    /// Where Prometheus is; its queries are skipped without it.
    pub prometheus: Option<Url>,
    /// Begin of the range, in seconds since 1970.
    pub from: i64,
    /// Its end.
    pub to: i64,
    /// The viewer's time zone.
    pub zone: String,
    /// Values of variables other than their defaults.
    pub values: Vec<(String, String)>,
}

/// Checks all dashboards.
///
/// # Errors
/// A file cannot be read, a variable does not exist, or a server does not answer or refuses the user.
pub async fn check(plan: &CheckPlan) -> Result<CheckReport, ServerError> {
    let dashboards = match &plan.folder {
        Some(folder) => in_folder(folder)?,
        None => committed()?,
    };
    known_variables(&dashboards, &plan.values)?;
    let mut report = CheckReport {
        dashboards: dashboards.len(),
        findings: lint(&dashboards),
        ..CheckReport::default()
    };
    // A server that does not answer is one error, not one for each query.
    result_table(&plan.server, "SELECT 1")
        .await?
        .map_err(|text| ServerError::retryable("clickhouse_refused", text))?;
    let prometheus = match &plan.prometheus {
        Some(url) => Some(PrometheusServer::at(url).await?),
        None => None,
    };
    let mut run = QueryRun::of(&plan.server, prometheus.as_ref());
    for dashboard in &dashboards {
        let mut view = View::of(dashboard, plan.from, plan.to, &plan.zone);
        for (name, value) in &plan.values {
            if view.values.contains_key(name) {
                view = view.with(name, value);
            }
        }
        query_check::check(&mut run, dashboard, &view, &mut report).await?;
    }
    Ok(report)
}

/// Each variable of the command line is one of some dashboard.
fn known_variables(
    dashboards: &[Dashboard],
    values: &[(String, String)],
) -> Result<(), ServerError> {
    let all = || dashboards.iter().flat_map(Dashboard::variables);
    for (name, _) in values {
        if !all().any(|variable| &variable.name == name) {
            let mut names: Vec<_> = all().map(|variable| variable.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            let text =
                format!("no dashboard has the variable {name}; they have {}", names.join(", "));
            return Err(ServerError::fatal("dashboard_argument", text));
        }
    }
    Ok(())
}
