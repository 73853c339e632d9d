//! `processors audit`: compares the log with the view `clicks`, once or periodically.

use broker::ServerError;
use std::time::Duration;

use clap::Args;

use crate::audit::continuous_audit;
use crate::audit::follow_args::FollowArgs;
use crate::audit::full_audit::{self, JudgedLog};
use crate::audit::sort_args::SortArgs;
use crate::clickhouse::verdict_table::{self, AgedVerdict, VerdictSubject};
use crate::config::Servers;
use crate::exit::{DIFFERS, DONE, print_line};

/// Arguments of `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(flatten)]
    pub(super) servers: Servers,
    /// Name of the consumer group of `run`: what it has not processed yet is lagging, and not missing.
    #[arg(long, env = "CLICKTRAIL_GROUP", default_value = "clicktrail-processors")]
    group: String,
    /// Seconds to wait for rows that are not inserted yet.
    #[arg(long, default_value_t = 0)]
    wait_seconds: u64,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sort: SortArgs,
    #[command(flatten)]
    follow: FollowArgs,
}

impl AuditArgs {
    /// Whether it runs until a signal.
    pub(super) fn follows(&self) -> bool {
        self.follow.follow
    }
}

pub(super) async fn audit(args: AuditArgs) -> Result<u8, ServerError> {
    let space = args.sort.space();
    if args.follow.follow {
        let runs =
            continuous_audit::follow(&args.servers, &space, &args.group, &args.follow).await?;
        print_line(format_args!("audit: runs={runs}"));
        return Ok(DONE);
    }
    let wait = Duration::from_secs(args.wait_seconds);
    let judged = full_audit::audit(&args.servers, &space, &args.group, wait).await?;
    let report = &judged.report;
    if args.json {
        let json = serde_json::to_string_pretty(report);
        print_line(json.map_err(|error| ServerError::fatal("task_panicked", error))?);
    } else {
        print_line(report);
    }
    store(&args.servers, args.group, &judged).await?;
    Ok(if report.balanced() { DONE } else { DIFFERS })
}

/// Stores the verdict, which the dashboards and `status` show. The report is valid without it.
async fn store(servers: &Servers, group: String, judged: &JudgedLog) -> Result<(), ServerError> {
    let server = servers.clickhouse.server()?;
    let topic = servers.kafka.topic.to_string();
    let subject = VerdictSubject { topic, group, every: Duration::ZERO };
    let JudgedLog { verdict, took, .. } = judged;
    let verdict = AgedVerdict { verdict, since_begin: *took, since_end: Duration::ZERO };
    if let Err(error) = verdict_table::add(&server, &subject, &[verdict]).await {
        tracing::warn!(
            code = error.code,
            %error,
            "the verdict of the audit is not stored; dashboards and status do not show it"
        );
    }
    Ok(())
}
