//! The command line: one file for each subcommand.

pub mod audit;
pub mod breaker;
pub mod dashboards;
pub mod dlq;
pub mod healthcheck;
pub mod offsets;
pub mod replay;
mod reset_args;
pub mod rules;
pub mod run;
pub mod setup;
pub mod status;

use std::process::ExitCode;

use broker::{ErrorClass, ServerError};
use clap::{Parser, Subcommand};

use crate::exit::{CONFIGURATION, DONE, TEMPORARY, TERMINATED, print_error};
use service::telemetry::TelemetryArgs;

/// Copies the log of clicks into ClickHouse, and audits the copy.
#[derive(Debug, Parser)]
#[command(name = "processors", version, max_term_width = 100)]
pub struct Cli {
    /// Logging and tracing options.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create topics, schemas and tables, or update them; safe to repeat.
    Setup(setup::SetupArgs),
    /// Read, enrich, insert and commit clicks until SIGTERM or SIGINT.
    Run(run::RunCommand),
    /// Compare the log with the table, event by event; exit code 1 when they differ.
    Audit(audit::AuditArgs),
    /// Print the state of all parts of the pipeline; exit code 1 when something is wrong, 75 when a part does not
    /// answer.
    Status(Box<status::StatusCommand>),
    /// Override the storm breaker for a range of offsets, or list the overrides.
    Breaker(breaker::BreakerArgs),
    /// Inspect dead letters, and redrive them to the source topic.
    Dlq(Box<dlq::DlqArgs>),
    /// Read ranges of the log again beside live processing, as a job, and verify the result.
    Replay(Box<replay::ReplayArgs>),
    /// Move the committed positions of the consumer group, also while it has members.
    Offsets(Box<offsets::OffsetsArgs>),
    /// Check the files of dashboards, and run each of their queries as Grafana does; exit code 1 when something is wrong.
    Dashboards(Box<dashboards::DashboardsArgs>),
    /// Fetch or list the rule tables that enrichment uses.
    Rules(rules::RulesCommand),
    /// Check whether a running service is ready; works in images without a shell.
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Runs a command and returns its exit code; prints one line when it fails.
pub async fn dispatch(command: Command) -> ExitCode {
    let servers = match &command {
        Command::Setup(args) => args.servers.to_string(),
        Command::Run(args) => args.servers.to_string(),
        Command::Audit(args) => args.servers.to_string(),
        Command::Status(args) => args.servers.to_string(),
        Command::Breaker(args) => args.servers.to_string(),
        Command::Dlq(args) => args.servers.to_string(),
        Command::Replay(args) => args.servers.to_string(),
        Command::Offsets(args) => args.servers.to_string(),
        Command::Dashboards(args) => args.servers(),
        Command::Rules(_) => String::new(),
        Command::Healthcheck(args) => return healthcheck::healthcheck(args).into(),
    };
    let outcome = match command {
        Command::Setup(args) => until_signal(setup::setup(args)).await,
        Command::Run(args) => run::run(args).await.map(|()| DONE),
        Command::Rules(args) => until_signal(rules::rules(&args)).await,
        // Runs until a signal, and then prints its result.
        Command::Audit(args) if args.follows() => audit::audit(args).await,
        Command::Audit(args) => until_signal(audit::audit(args)).await,
        Command::Status(args) => until_signal(status::status(*args)).await,
        Command::Breaker(args) => until_signal(breaker::breaker(args)).await,
        Command::Dlq(args) if args.handles_signals() => dlq::dlq(*args).await,
        Command::Dlq(args) => until_signal(dlq::dlq(*args)).await,
        Command::Replay(args) if args.handles_signals() => replay::replay(*args).await,
        Command::Replay(args) => until_signal(replay::replay(*args)).await,
        Command::Offsets(args) => until_signal(offsets::offsets(*args)).await,
        Command::Dashboards(args) => until_signal(dashboards::dashboards(*args)).await,
        Command::Healthcheck(_) => Ok(DONE),
    };
    match outcome {
        Ok(code) => code.into(),
        Err(error) => match error.class {
            ErrorClass::Fatal => {
                print_error(&error);
                CONFIGURATION.into()
            }
            ErrorClass::Retryable | ErrorClass::Record => {
                print_error(format_args!("{error} ({servers})"));
                TEMPORARY.into()
            }
        },
    }
}

/// Runs a command that a signal may stop at any point.
async fn until_signal(
    command: impl Future<Output = Result<u8, ServerError>>,
) -> Result<u8, ServerError> {
    match service::shutdown::until_signal(command).await {
        Ok(ended) => ended.unwrap_or(Ok(TERMINATED)),
        Err(error) => Err(ServerError::fatal("signal_handler", error)),
    }
}
