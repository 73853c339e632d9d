//! `processors audit`: compares the log with the view `clicks`, once or periodically.

use broker::ServerError;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::audit::continuous_audit;
use crate::audit::follow_args::FollowArgs;
use crate::audit::full_audit::{self, SortSpace};
use crate::config::Servers;
use crate::exit::{DIFFERS, DONE, print_line};

/// Arguments of `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(flatten)]
    pub(super) servers: Servers,
    /// Seconds to wait for rows that are not inserted yet.
    #[arg(long, default_value_t = 0)]
    wait_seconds: u64,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Memory for sorting, in MiB; data beyond it goes to the scratch folder.
    #[arg(long, env = "CLICKTRAIL_AUDIT_MEMORY_MIB", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(4..=65_536))]
    memory_mib: u32,
    /// Folder for sorted data that exceeds the memory: 28 bytes for each record and each row.
    #[arg(long, env = "TMPDIR", default_value = "/tmp")]
    scratch_dir: PathBuf,
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
    let space =
        SortSpace { folder: args.scratch_dir, memory: args.memory_mib as usize * 1024 * 1024 };
    if args.follow.follow {
        let runs = continuous_audit::follow(&args.servers, &space, &args.follow).await?;
        print_line(format_args!("audit: runs={runs}"));
        return Ok(DONE);
    }
    let wait = Duration::from_secs(args.wait_seconds);
    let report = full_audit::audit(&args.servers, &space, wait).await?;
    if args.json {
        let json = serde_json::to_string_pretty(&report);
        print_line(json.map_err(|error| ServerError::fatal("task_panicked", error))?);
    } else {
        print_line(&report);
    }
    Ok(if report.balanced() { DONE } else { DIFFERS })
}
