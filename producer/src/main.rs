//! The binary: settings, telemetry, runtime, command, exit code.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use producer::cmd;
use producer::config::{Cli, Command, HealthcheckArgs};
use producer::exit::{self, Exit, Failure};
use producer::stop_deadline::RUNTIME_STOP;
use service::telemetry::{self, Telemetry};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            if let Some(renamed) = service::settings::renamed_flag(std::env::args_os()) {
                exit::print_error(&format!("producer: {renamed}"));
                return Exit::Usage.into();
            }
            // A misspelt variable may be why a setting is missing.
            if let (true, Err(unknown)) = (error.use_stderr(), check_variables()) {
                exit::print_error(&format!("producer: {unknown}"));
            }
            return service::settings::usage(error, &Cli::command());
        }
    };
    if let Command::Healthcheck(args) = &cli.command {
        return healthcheck(args).into();
    }
    match start(&cli).and_then(|telemetry| {
        let ended = run(cli, telemetry.exports());
        telemetry.shutdown();
        ended
    }) {
        Ok(exit) => exit.into(),
        Err(Failure { exit, cause }) => {
            exit::print_error(&format!("producer: {cause:#}"));
            exit.into()
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "compares the environment with the setting names")]
fn check_variables() -> Result<(), service::settings::Refused> {
    service::settings::check(std::env::vars_os())
}

/// Runs before telemetry starts: a supervisor calls it every few seconds.
fn healthcheck(args: &HealthcheckArgs) -> Exit {
    match service::healthcheck::check(args.admin_listen) {
        Ok(answer) => {
            exit::print_line(&answer);
            Exit::Done
        }
        Err(error) => {
            exit::print_error(&format!("producer: {error}"));
            Exit::Unavailable
        }
    }
}

fn start(cli: &Cli) -> Result<Telemetry, Failure> {
    check_variables().map_err(Failure::usage)?;
    let settings =
        cli.telemetry.settings("clicktrail-producer", env!("CARGO_PKG_VERSION"), "producer");
    telemetry::start(&settings).map_err(Failure::configuration)
}

fn run(cli: Cli, exports: bool) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::invariant)?;
    let ended = match cli.command {
        Command::Serve(args) => runtime.block_on(cmd::serve::run(&args, exports)),
        Command::Import(args) => runtime.block_on(cmd::import::run(*args)),
        Command::VisitorKeys(args) => cmd::visitor_keys::run(&args),
        Command::Links(args) => cmd::links::run(&args),
        Command::Healthcheck(args) => Ok(healthcheck(&args)),
    };
    runtime.shutdown_timeout(RUNTIME_STOP);
    ended
}
