//! The dashboards over the demo's clicks, drawn without Grafana.

use anyhow::{Result, bail};
use stack::{Preview, Stack};

use crate::steps::Steps;
use crate::tables::Tables;

const DAY_MS: i64 = 86_400_000;

/// The preview of the demo's stack; none where its page is not built, which is one line of the report.
pub fn start(stack: &Stack, steps: &Steps) -> Option<Preview> {
    // `make demo` has tried to build it, and reported why it could not.
    let preview = match stack.has_preview() {
        true => stack.preview(None).map_err(|error| error.cause()),
        false => Err("its page is not built; `target/debug/stack fetch` builds it".to_owned()),
    };
    preview.map_err(|cause| steps.report(&format!("no preview of the dashboards: {cause}"))).ok()
}

/// Asks each query of each dashboard for the newest day.
pub fn check(preview: &Preview, tables: &Tables, steps: &Steps) -> Result<()> {
    let now: i64 = tables.value("SELECT toUnixTimestamp64Milli(now64(3))")?.parse()?;
    let check = preview.check(now - DAY_MS, now);
    if !check.failed.is_empty() {
        bail!("the preview of the dashboards: {check}");
    }
    steps.report(&format!("preview of the dashboards: {check}"));
    Ok(())
}

/// Prints the addresses: of the newest clicks, of four weeks, and of the imported log, which is years old.
pub fn print_addresses(preview: &Preview, tables: &Tables) -> Result<()> {
    let bounds = "SELECT toUnixTimestamp(min(occurred_at)) AS first, \
        toUnixTimestamp(max(occurred_at)) + 1 FROM clicks \
        WHERE occurred_at < (SELECT min(occurred_at) FROM clicks) + toIntervalDay(30)";
    let rows = tables.rows(bounds)?;
    let overview = preview.url("clicktrail-overview");
    println!("dashboards  {}  (a preview without Grafana)", preview.url(""));
    println!("            two weeks, compared  {overview}?from=now-14d&to=now");
    println!("            this hour, live      {overview}?from=now-1h&to=now&refresh=10s");
    if let Some([first, last]) = rows.first().map(Vec::as_slice) {
        println!("            the imported log     {overview}?from={first}000&to={last}000");
    }
    Ok(())
}
