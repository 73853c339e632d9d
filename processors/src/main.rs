//! Parses the command line, starts telemetry, runs the command, maps the outcome to an exit code.

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use processors::cmd::{self, Cli, Command};
use processors::exit;
use service::telemetry;

/// How long blocking threads may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

#[expect(clippy::disallowed_methods, reason = "compares the environment with the setting names")]
fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            return match service::settings::renamed_flag(std::env::args_os()) {
                Some(renamed) => fail(&renamed, exit::USAGE),
                None => service::settings::usage(error, &Cli::command()),
            };
        }
    };
    if let Err(error) = service::settings::check(std::env::vars_os()) {
        return fail(&error, exit::USAGE);
    }
    if let Command::Healthcheck(args) = &cli.command {
        return cmd::healthcheck::healthcheck(args).into();
    }
    let settings =
        cli.telemetry.settings("clicktrail-processors", env!("CARGO_PKG_VERSION"), "processors");
    let telemetry = match telemetry::start(&settings) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(&error, exit::CONFIGURATION),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, exit::TEMPORARY),
    };
    let code = runtime.block_on(cmd::dispatch(cli.command));
    // A dropped command may still read in a blocking thread.
    runtime.shutdown_timeout(STOP_TIMEOUT);
    telemetry.shutdown();
    code
}

#[expect(clippy::print_stderr, reason = "there is no log yet")]
fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    eprintln!("processors: {error}");
    code.into()
}
