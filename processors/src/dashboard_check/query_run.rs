//! Runs the queries of dashboards for one viewer, and measures their times. Dashboards share panels: what ClickHouse
//! receives twice, it is asked once.
#![expect(
    clippy::disallowed_methods,
    reason = "the time that a query takes is a part of the report"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use broker::ServerError;
use dashboards::{PlacedQuery, Query, View, misfit};

use crate::clickhouse::result_table::result_table;
use crate::clickhouse::server::Server;
use crate::dashboard_check::prometheus_server::{PrometheusServer, Times};
use crate::dashboard_check::query_outcome::QueryOutcome;

/// Where queries go, and the results of those that ClickHouse has answered.
#[derive(Debug)]
pub(super) struct QueryRun<'a> {
    clickhouse: &'a Server,
    /// None: its queries are skipped.
    prometheus: Option<&'a PrometheusServer>,
    /// By the type of the panel, which decides what fits it, and the text.
    known: BTreeMap<(String, String), RunResult>,
}

/// What one run gave.
#[derive(Debug, Clone)]
pub(super) struct RunResult {
    /// Rows of ClickHouse, series of Prometheus.
    pub(super) rows: usize,
    /// From the request to the end of the answer.
    pub(super) time: Duration,
    /// How it ended.
    pub(super) outcome: QueryOutcome,
}

impl RunResult {
    fn without_rows(outcome: QueryOutcome) -> Self {
        Self { rows: 0, time: Duration::ZERO, outcome }
    }
}

impl<'a> QueryRun<'a> {
    /// Asks these servers.
    pub(super) fn of(clickhouse: &'a Server, prometheus: Option<&'a PrometheusServer>) -> Self {
        Self { clickhouse, prometheus, known: BTreeMap::new() }
    }

    /// Sends a query for a viewer.
    ///
    /// # Errors
    /// A server does not answer, or refuses the user.
    pub(super) async fn send(
        &mut self,
        placed: &PlacedQuery<'_>,
        view: &View,
    ) -> Result<RunResult, ServerError> {
        let expanded = match placed.query {
            Query::Sql(text) => view.sql(text),
            Query::Promql { text, .. } => view.promql(text),
        };
        let text = match expanded {
            Ok(text) => text,
            Err(error) => {
                return Ok(RunResult::without_rows(QueryOutcome::Failed(error.to_string())));
            }
        };
        match placed.query {
            Query::Sql(_) => {
                let query = (placed.kind.to_owned(), text);
                if let Some(result) = self.known.get(&query) {
                    return Ok(result.clone());
                }
                let result = self.ask_clickhouse(placed.kind, &query.1).await?;
                self.known.insert(query, result.clone());
                Ok(result)
            }
            Query::Promql { instant, .. } => {
                let step = (!instant).then(|| view.step());
                self.ask_prometheus(&text, Times { from: view.from, to: view.to, step }).await
            }
        }
    }

    async fn ask_clickhouse(&self, kind: &str, sql: &str) -> Result<RunResult, ServerError> {
        let began = Instant::now();
        let table = result_table(self.clickhouse, sql).await?;
        let time = began.elapsed();
        let table = match table {
            Ok(table) => table,
            Err(text) => {
                return Ok(RunResult { rows: 0, time, outcome: QueryOutcome::Failed(text) });
            }
        };
        let fits = match kind {
            // A variable needs a value, and may have a text; an annotation needs a time.
            "variable" => (table.columns.len() > 2).then(|| {
                format!("a variable has a value and a text, not {} columns", table.columns.len())
            }),
            "annotation" => (!table.columns.iter().any(|(name, _)| name == "time"))
                .then(|| "an annotation needs a column named time".to_owned()),
            kind => misfit(kind, &table),
        };
        let outcome = match fits {
            Some(text) => QueryOutcome::Misfit(text),
            None if table.rows.is_empty() => QueryOutcome::NoData,
            None => QueryOutcome::Rows,
        };
        Ok(RunResult { rows: table.rows.len(), time, outcome })
    }

    async fn ask_prometheus(&self, query: &str, times: Times) -> Result<RunResult, ServerError> {
        let Some(prometheus) = self.prometheus else {
            return Ok(RunResult::without_rows(QueryOutcome::Skipped));
        };
        let began = Instant::now();
        let series = prometheus.series(query, times).await?;
        let time = began.elapsed();
        let (rows, outcome) = match series {
            Ok(0) => (0, QueryOutcome::NoData),
            Ok(rows) => (rows, QueryOutcome::Rows),
            Err(text) => (0, QueryOutcome::Failed(text)),
        };
        Ok(RunResult { rows, time, outcome })
    }
}
