//! Panels of *Pipeline*: from the log to the table, and the processes.

use serde_json::json;

use crate::generate::clock;
use crate::generate::column::Column;
use crate::generate::look::{self, Colour, Unit};
use crate::generate::panel::Panel;
use crate::generate::stat::stat;
use crate::generate::time_series::{counted_series, time_series};

/// A time series of metrics of the processors.
fn series(title: &str, description: &str) -> Panel {
    time_series(title, description)
        .no_value("Prometheus has no such metric: are the processors scraped?")
        .size(8, 8)
}

/// The same of whole numbers or of shares.
fn counts(title: &str, description: &str) -> Panel {
    counted_series(title, description)
        .no_value("Prometheus has no such metric: are the processors scraped?")
        .size(8, 8)
}

/// The figures of this moment.
pub(crate) fn now() -> Panel {
    let description = "At the end of the time range. Lag: records of the log that no process has read. Catching up: the lag by \
        the present rate of reading. Rows late: seconds from the log to the acknowledged insert, of the newest row of the \
        slowest process. Alerts: those that fire and page.";
    let late = look::thresholds(Colour::Good, &[(10.0, Colour::Warning), (60.0, Colour::Bad)]);
    let coloured = |name: &str, title: &str, unit| {
        Column::new(name, title, unit).property("color", json!({ "mode": "thresholds" }))
    };
    let some = |limit: f64| look::thresholds(Colour::Good, &[(limit, Colour::Bad)]);
    stat("Now", description)
        .no_value("Prometheus has none of these metrics")
        .column(&Column::new("redirects", "Redirects", Unit::RequestsPerSecond))
        .column(&Column::new("rows", "Rows", Unit::PerSecond))
        .column(&coloured("lag", "Lag, records", Unit::Short).property("thresholds", some(10_000.0)))
        .column(&coloured("catching up", "Catching up", Unit::Seconds).property("thresholds", late.clone()))
        .column(&coloured("late", "Rows late", Unit::Seconds).property("thresholds", late))
        .column(&coloured("dead letters", "Open dead letters", Unit::Count).property("thresholds", some(1.0)))
        .column(&coloured("alerts", "Alerts that page", Unit::Count).property("thresholds", some(1.0)))
        .promql_now("sum(rate(clicktrail_producer_requests_total[$__rate_interval]))", "redirects")
        .promql_now("sum(rate(clicktrail_processors_rows_inserted_total[$__rate_interval]))", "rows")
        .promql_now("sum(max by (partition) (clicktrail_processors_lag_records))", "lag")
        .promql_now(
            "sum(max by (partition) (clicktrail_processors_lag_records)) / \
            sum(rate(clicktrail_processors_records_read_total[$__rate_interval]) > 0)",
            "catching up",
        )
        .promql_now("max(clicktrail_processors_freshness_seconds)", "late")
        .promql_now(
            "sum(max by (code, state) (clicktrail_processors_dead_letters_held{state=~\"open|failed_again\"})) or vector(0)",
            "dead letters",
        )
        .promql_now("count(ALERTS{alertstate=\"firing\", severity=\"page\"}) or vector(0)", "alerts")
        .size(24, 4)
}

/// Each step's rate: where one is below the one before, clicks wait.
pub(crate) fn throughput() -> Panel {
    let description = "Events a second of each step. Where a line is below the one before it, clicks wait between the two. Of \
        several shards, the rows of each: it pages when one takes none (ShardTakesNoRows).";
    let rate = |metric: &str| format!("sum(rate({metric}[$__rate_interval]))");
    series("Throughput", description)
        .unit(Unit::PerSecond)
        .promql(&rate("clicktrail_producer_clicks_offered_total"), "clicks")
        .promql(&rate("clicktrail_producer_clicks_delivered_total"), "in the log")
        .promql(&rate("clicktrail_processors_records_read_total"), "read")
        .promql(&rate("clicktrail_processors_rows_inserted_total"), "in the table")
        .promql(
            "sum by (shard) (rate(clicktrail_processors_shard_rows_inserted_total[$__rate_interval]))",
            "on shard {{shard}}",
        )
}

/// Records that were not read.
pub(crate) fn lag() -> Panel {
    let description = "Records of each partition that were not read. It pages when more than 10,000 grow (LagGrows). An \
        imported log is a lag until it is read.";
    counts("Lag, records", description)
        .unit(Unit::Short)
        .promql("max by (partition) (clicktrail_processors_lag_records)", "partition {{partition}}")
}

/// How late rows are.
pub(crate) fn delay() -> Panel {
    let description = "Seconds from the time at which the log took a click to its row, by the log's time. It pages above 60 s \
        (RowsLate). A click that was processed again shows the time until then.";
    let sql = format!(
        "WITH\n{range},\n  {step}\nSELECT {bucket} AS time,\n  \
        quantile(0.5)(late) AS half,\n  quantile(0.99)(late) AS most\nFROM\n(\n  \
        SELECT toDateTime({slot}, zone) AS moment, \
        greatest(0, dateDiff('millisecond', c.logged_at, c.ingested_at)) / 1000 AS late\n  \
        FROM clicks AS c\n  WHERE c.occurred_at >= begin - toIntervalHour(1) AND c.occurred_at < until AND c.logged_at >= begin\n)\n\
        GROUP BY time\nORDER BY time",
        range = clock::RANGE,
        step = clock::STEP,
        bucket = clock::bucket("moment"),
        slot = clock::slot("toUnixTimestamp(c.logged_at)"),
    );
    time_series("Lag, seconds", description)
        .no_value("No click in this time range")
        .unit(Unit::Seconds)
        .column(&Column::new("half", "median", Unit::Seconds))
        .column(&Column::new("most", "99th percentile", Unit::Seconds))
        .property("maxDataPoints", json!(200))
        .series(&sql)
        .size(8, 8)
}

/// How long inserts take.
pub(crate) fn insert_latency() -> Panel {
    let quantile = |share: &str| {
        format!(
            "histogram_quantile({share}, sum by (le) (rate(clicktrail_processors_insert_seconds_bucket[$__rate_interval])))"
        )
    };
    let description = "Seconds from the first attempt of an insert to its acknowledgement. The ticket InsertsSlow fires above \
        10 s at the 99th percentile.";
    series("Insert latency", description)
        .unit(Unit::Seconds)
        .promql(&quantile("0.5"), "median")
        .promql(&quantile("0.99"), "99th percentile")
}

/// How large inserts are.
pub(crate) fn insert_size() -> Panel {
    series(
        "Insert size",
        "Rows of an insert on average, and inserts a second. Small inserts make many parts.",
    )
    .unit(Unit::Short)
    .promql(
        "sum(rate(clicktrail_processors_rows_inserted_total[$__rate_interval])) / \
            sum(rate(clicktrail_processors_batches_inserted_total[$__rate_interval]))",
        "rows an insert",
    )
    .promql(
        "sum(rate(clicktrail_processors_batches_inserted_total[$__rate_interval]))",
        "inserts a second",
    )
}

/// Parts of the tables.
pub(crate) fn parts() -> Panel {
    let description = "Most parts of a partition of any table of ClickHouse, by its own metrics endpoint, and of the table of \
        clicks, by the workers of a replay. By default inserts slow down at 1,000 parts and fail at 3,000.";
    counts("Parts", description)
        .unit(Unit::Short)
        .no_value("ClickHouse is not scraped, and no replay runs")
        .promql("ClickHouseAsyncMetrics_MaxPartCountForPartition", "{{instance}}")
        .promql("max(clicktrail_replay_active_parts)", "clicks")
}

/// What is repeated.
pub(crate) fn retries() -> Panel {
    let description = "Attempts that failed and are repeated, by stage and code, and seconds since the first failure of what \
        has failed for five minutes. Each code has a heading in RUNBOOK.md.";
    counts("Retries", description)
        .unit(Unit::Short)
        .no_value("No attempt failed in this time range")
        .promql("sum by (stage, code) (increase(clicktrail_processors_retries_total[$__rate_interval]))", "{{stage}} {{code}}")
        .promql("sum by (shard) (increase(clicktrail_processors_shard_retries_total[$__rate_interval]))", "insert on shard {{shard}}")
        .promql("max by (instance, stage, code) (clicktrail_processors_stuck_seconds) > 0", "{{instance}} {{stage}} fails, s: {{code}}")
}

/// How full the queues are.
pub(crate) fn bounds() -> Panel {
    let description = "Share of their bounds that the queues of the processors take. At 1 a queue delays what fills it.";
    counts("Queues, share of their bounds", description)
        .unit(Unit::Share)
        .promql("max(clicktrail_processors_batch_rows / clicktrail_processors_batch_rows_max)", "rows of a batch")
        .promql("max(clicktrail_processors_batch_bytes / clicktrail_processors_batch_bytes_max)", "bytes of a batch")
        .promql("max(clicktrail_processors_waiting_blocks / clicktrail_processors_waiting_bound_blocks)", "blocks")
}

/// Positions and partitions.
pub(crate) fn positions() -> Panel {
    let description = "Partitions that are assigned, commits, positions that another client reset, and records that retention \
        deleted before they were read.";
    counts("Positions", description)
        .unit(Unit::Short)
        .promql("sum(clicktrail_processors_partitions_assigned)", "partitions assigned")
        .promql(
            "sum(rate(clicktrail_processors_commits_total[$__rate_interval]))",
            "commits a second",
        )
        .promql(
            "sum(increase(clicktrail_processors_position_resets_total[$__rate_interval]))",
            "resets",
        )
        .promql(
            "sum(increase(clicktrail_processors_records_expired_total[$__rate_interval]))",
            "expired records",
        )
        .promql(
            "sum(increase(clicktrail_processors_schema_ids_refused_total[$__rate_interval]))",
            "refused schema ids",
        )
}

/// Which processes run.
pub(crate) fn processes() -> Panel {
    let description = "1 while Prometheus can read a process, 0 while it cannot, and restarts within the time range.";
    counts("Processes", description)
        .unit(Unit::Short)
        .no_value("Prometheus has no target of the jobs producer, processors and audit")
        .promql("up{job=~\"producer|processors|audit|replay\"}", "{{job}} {{instance}}")
        .promql(
            "sum by (job) (changes(process_start_time_seconds[$__range]))",
            "restarts of {{job}}",
        )
        .size(12, 8)
}

/// The disks of all hosts.
pub(crate) fn disks() -> Panel {
    counts("Free disk", "Free share of the fullest disk of each host, by Prometheus' node exporter. Pages below 10 % (DiskFilling).")
        .unit(Unit::Share)
        .no_value("No node exporter is scraped")
        .promql(
            // As the alert: a read-only image is always full, and a file system in memory is no disk.
            "min by (instance) (node_filesystem_avail_bytes{fstype!~\"tmpfs|ramfs|overlay|squashfs|iso9660\", mountpoint!~\"/boot.*\"} \
            / node_filesystem_size_bytes)",
            "{{instance}}",
        )
        .size(12, 8)
}
