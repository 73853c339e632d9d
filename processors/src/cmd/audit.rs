//! `processors audit`: reads the log to its end and holds the view `clicks` against it, once or,
//! for its newest stretch, again and again.
#![expect(clippy::disallowed_methods, reason = "waits for rows that are on their way")]

use broker::ServerError;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use crate::audit::continuous_audit;
use crate::audit::continuous_audit::FollowArgs;
use crate::audit::full_audit;
use crate::audit::full_audit::Scratch;
use crate::config::Servers;
use crate::exit::{DIFFERS, DONE, say};

/// What `audit` needs to know.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(flatten)]
    pub(super) servers: Servers,
    /// Seconds to wait for rows that are still on their way.
    #[arg(long, default_value_t = 0)]
    wait_seconds: u64,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// MiB of memory in which to sort what is compared; what is more goes to the scratch folder.
    #[arg(long, env = "CLICKTRAIL_AUDIT_MEMORY_MIB", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(4..=65_536))]
    memory_mib: u32,
    /// Folder for what does not fit into memory: 28 bytes for each record, and for each row.
    #[arg(long, env = "TMPDIR", default_value = "/tmp")]
    scratch_dir: PathBuf,
    #[command(flatten)]
    follow: FollowArgs,
}

impl AuditArgs {
    /// Whether it goes on until it is told to end.
    pub(super) fn follows(&self) -> bool {
        self.follow.follow
    }
}

const ASK_AGAIN: Duration = Duration::from_secs(1);

pub(super) async fn audit(args: AuditArgs) -> Result<u8, ServerError> {
    let scratch =
        Scratch { folder: args.scratch_dir, memory: args.memory_mib as usize * 1024 * 1024 };
    if args.follow.follow {
        return continuous_audit::follow(&args.servers, &scratch, &args.follow)
            .await
            .map(|()| DONE);
    }
    let give_up = Instant::now() + Duration::from_secs(args.wait_seconds);
    let log = full_audit::log(&args.servers, &scratch).await?;
    let report = loop {
        let report = full_audit::compare(&args.servers, &scratch, &log).await?;
        if !report.may_still_come() || Instant::now() >= give_up {
            break report;
        }
        tokio::time::sleep(ASK_AGAIN).await;
    };
    match args.json {
        true => say(serde_json::to_string_pretty(&report)
            .map_err(|error| ServerError::fatal("task_panicked", error))?),
        false => say(&report),
    }
    Ok(if report.balanced() { DONE } else { DIFFERS })
}
