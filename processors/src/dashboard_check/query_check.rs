//! Checks the queries of one dashboard: each for its viewer, and with attacks as the values of its filters.

use std::collections::BTreeSet;

use broker::ServerError;
use dashboards::{
    Dashboard, HOSTILE, PlacedQuery, Query, Variable, View, placed_queries, references,
};

use crate::dashboard_check::check_report::{CheckReport, PlaceResult};
use crate::dashboard_check::query_outcome::QueryOutcome;
use crate::dashboard_check::query_run::QueryRun;

/// Runs all queries of a dashboard, and adds a result for each place.
pub(super) async fn check(
    run: &QueryRun<'_>,
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
        let result = run.send(&placed, &view).await?;
        let mut outcome = result.outcome;
        if !outcome.is_wrong() {
            let attacks = attacks(dashboard, &placed, &view);
            report.hostile += attacks.len();
            if let Some(text) = attacked(run, &placed, attacks, result.rows).await? {
                outcome = QueryOutcome::Attacked(text);
            }
        }
        // The queries of a panel are one line.
        let place = (dashboard.title.clone(), placed.place);
        match report
            .places
            .last_mut()
            .filter(|last| (&last.dashboard, &last.place) == (&place.0, &place.1))
        {
            Some(last) => {
                last.rows += result.rows;
                last.time += result.time;
                last.outcome = last.outcome.clone().max(outcome);
            }
            None => report.places.push(PlaceResult {
                dashboard: place.0,
                place: place.1,
                rows: result.rows,
                time: result.time,
                outcome,
            }),
        }
    }
    Ok(())
}

/// A viewer who opened an address with attacks in it.
struct Attack {
    view: View,
    /// Whether it only filters, so that no query returns more rows.
    filters: bool,
}

/// All attacks in one text as the value of all filters of the query, and of all its choices. That each attack alone, as the
/// value of each variable alone, changes nothing but a literal of the statement is a rule for the files.
fn attacks(dashboard: &Dashboard, placed: &PlacedQuery<'_>, view: &View) -> Vec<Attack> {
    let Query::Sql(sql) = placed.query else { return Vec::new() };
    let used: BTreeSet<_> = references(sql).into_iter().map(|found| found.name).collect();
    let used =
        dashboard.variables().iter().filter(|variable| used.contains(variable.name.as_str()));
    let (filters, choices): (Vec<_>, Vec<_>) = used
        .filter(|variable| variable.kind != "datasource")
        .partition(|variable| variable.kind == "textbox");
    // A query that does not depend on the range does not read clicks, such as that of the filter bar.
    let ranges = ["$__timeFilter", "$__fromTime", "$__dateFilter", "$__dateTimeFilter"];
    let ranged = ranges.iter().any(|name| sql.contains(name));
    let text = HOSTILE.concat();
    let both = [(filters, ranged), (choices, false)];
    let attack = |(variables, filters): (Vec<&Variable>, bool)| {
        let all = variables.iter();
        let view = all.fold(view.clone(), |view, variable| view.with(&variable.name, &text));
        (!variables.is_empty()).then_some(Attack { view, filters })
    };
    both.into_iter().filter_map(attack).collect()
}

/// What an attack did, if one did something.
async fn attacked(
    run: &QueryRun<'_>,
    placed: &PlacedQuery<'_>,
    attacks: Vec<Attack>,
    rows: usize,
) -> Result<Option<String>, ServerError> {
    for attack in attacks {
        let result = run.send(placed, &attack.view).await?;
        if let QueryOutcome::Failed(text) = result.outcome {
            return Ok(Some(format!("with attacks as values: {text}")));
        }
        if attack.filters && result.rows > rows {
            let text = format!("with attacks as values: {} rows, without: {rows}", result.rows);
            return Ok(Some(text));
        }
    }
    Ok(None)
}
