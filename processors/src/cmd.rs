//! One subcommand a file.

pub mod audit;
pub mod breaker;
pub mod healthcheck;
pub mod rules;
pub mod run;

use broker::{ErrorClass, ServerError};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::exit::{CONFIGURATION, DONE, TEMPORARY, TOLD, complain};
use crate::setup::apply;
use service::telemetry::TelemetryArgs;

/// Reads the log of clicks into ClickHouse, and proves that it did.
#[derive(Debug, Parser)]
#[command(name = "processors", version, max_term_width = 100)]
pub struct Cli {
    /// Logging and tracing options.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make topics, schemas and tables, or bring them up to date; safe to run twice.
    Setup(apply::SetupArgs),
    /// Read, enrich, insert, commit; until SIGTERM or SIGINT.
    Run(run::RunCommand),
    /// Compare the log with the table, event by event; exit code 1 when they differ.
    Audit(audit::AuditArgs),
    /// Override the storm breaker for a range of offsets, or list the overrides.
    Breaker(breaker::BreakerArgs),
    /// Get the rule tables by which clicks are enriched, or show them.
    Rules(rules::RulesCommand),
    /// Ask whether a running service is ready; for images without a shell.
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Runs a command to its exit code, with one clear line when it fails.
pub async fn dispatch(command: Command) -> ExitCode {
    let servers = match &command {
        Command::Setup(args) => args.servers.to_string(),
        Command::Run(args) => args.servers.to_string(),
        Command::Audit(args) => args.servers.to_string(),
        Command::Breaker(args) => args.servers.to_string(),
        Command::Rules(_) => String::new(),
        Command::Healthcheck(args) => return healthcheck::healthcheck(args).into(),
    };
    let outcome = match command {
        Command::Setup(args) => unless_told(apply::setup(args)).await,
        Command::Run(args) => run::run(args).await.map(|()| DONE),
        Command::Rules(args) => rules::rules(&args),
        // Follows until told, and then says what it found.
        Command::Audit(args) if args.follows() => audit::audit(args).await,
        Command::Audit(args) => unless_told(audit::audit(args)).await,
        Command::Breaker(args) => unless_told(breaker::breaker(args)).await,
        Command::Healthcheck(_) => Ok(DONE),
    };
    match outcome {
        Ok(code) => code.into(),
        Err(error) => match error.class {
            ErrorClass::Fatal => {
                complain(&error);
                CONFIGURATION.into()
            }
            ErrorClass::Retryable | ErrorClass::Record => {
                complain(format_args!("{error} ({servers})"));
                TEMPORARY.into()
            }
        },
    }
}

/// A command that has nothing to finish when it is told to end.
async fn unless_told(
    command: impl Future<Output = Result<u8, ServerError>>,
) -> Result<u8, ServerError> {
    match service::shutdown::until_signal(command).await {
        Ok(ended) => ended.unwrap_or(Ok(TOLD)),
        Err(error) => Err(ServerError::fatal("signal_handler", error)),
    }
}
