//! Checks the queries of one dashboard: each for its viewer, and with attacks as the values of its filters.

use std::collections::BTreeSet;

use broker::ServerError;
use dashboards::{Dashboard, HOSTILE, PlacedQuery, Query, View, placed_queries, references};

use crate::dashboard_check::check_report::{CheckReport, PlaceResult};
use crate::dashboard_check::query_outcome::QueryOutcome;
use crate::dashboard_check::query_run::{QueryRun, RunResult};

/// Runs all queries of a dashboard, and adds a result for each place.
pub(super) async fn check(
    run: &mut QueryRun<'_>,
    dashboard: &Dashboard,
    view: &View,
    report: &mut CheckReport,
) -> Result<(), ServerError> {
    let charts: Vec<_> = dashboard.charts().collect();
    for placed in placed_queries(dashboard) {
        let view = match placed.chart.and_then(|chart| charts.get(chart)) {
            Some(panel) => view.at(panel, None),
            None => view.clone(),
        };
        let mut result = run.send(&placed, &view).await?;
        if !result.outcome.is_wrong()
            && let Query::Sql(sql) = placed.query
            && let Some(attack) = attack(dashboard, sql, &view)
        {
            report.hostile += 1;
            let attacked = run.send(&placed, &attack).await?;
            if let Some(text) = effect(&result, attacked, narrows(dashboard, sql)) {
                result.outcome = QueryOutcome::Attacked(format!("with attacks as values: {text}"));
            }
        }
        add(report, dashboard, placed, result);
    }
    Ok(())
}

/// Adds the result of a query to that of its panel, which is one line.
fn add(
    report: &mut CheckReport,
    dashboard: &Dashboard,
    placed: PlacedQuery<'_>,
    result: RunResult,
) {
    let RunResult { rows, time, outcome } = result;
    let (dashboard, place) = (dashboard.title.clone(), placed.place);
    let last = report.places.last_mut();
    let same = last.filter(|last| last.dashboard == dashboard && last.place == place);
    if let Some(last) = same {
        last.rows += rows;
        last.time += time;
        last.outcome = last.outcome.clone().max(outcome);
        return;
    }
    report.places.push(PlaceResult { dashboard, place, rows, time, outcome });
}

/// What an attack did, if it did something.
fn effect(plain: &RunResult, attacked: RunResult, narrows: bool) -> Option<String> {
    if let QueryOutcome::Failed(text) = attacked.outcome {
        return Some(text);
    }
    let more = narrows && attacked.rows > plain.rows;
    more.then(|| format!("{} rows, without: {}", attacked.rows, plain.rows))
}

/// The view of an address that has all attacks in the value of each filter and each choice of a query;
/// nothing for a query without any. That each attack alone, as the value of each variable alone, changes nothing but a
/// literal of the statement is a rule for the files.
fn attack(dashboard: &Dashboard, sql: &str, view: &View) -> Option<View> {
    let used: BTreeSet<_> = references(sql).into_iter().map(|found| found.name).collect();
    let variables = dashboard.variables().iter();
    let mut names = variables
        .filter(|variable| variable.kind != "datasource" && used.contains(variable.name.as_str()))
        .map(|variable| &variable.name)
        .peekable();
    names.peek()?;
    let text = HOSTILE.concat();
    Some(names.fold(view.clone(), |view, name| view.with(name, &text)))
}

/// Whether a query reads clicks of the range that filters narrow: then none of their values returns more rows. The filter
/// bar returns more, and so may a choice alone.
fn narrows(dashboard: &Dashboard, sql: &str) -> bool {
    let ranges = ["$__timeFilter", "$__fromTime", "$__dateFilter", "$__dateTimeFilter"];
    let is_filter =
        |name: &str| dashboard.variables().iter().any(|it| it.name == name && it.kind == "textbox");
    ranges.iter().any(|name| sql.contains(name))
        && references(sql).iter().any(|found| is_filter(found.name))
}
