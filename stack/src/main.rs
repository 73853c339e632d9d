//! The `stack` program: reads the command line, hands signals to the stack as an
//! interrupt, prints. What it does stands in the library.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to its user")]

mod cli;

use std::io::Write as _;
use std::process::{Command, ExitCode};

use clap::Parser as _;
use stack::{Postgres, Stack, StackError, front, run_command};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Action, Cli, FrontArgs, Setup};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            error.print().ok();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let outcome = if let Action::Front(arguments) = cli.action {
        serve(arguments)
    } else {
        act(cli.action, &cli.setup)
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("stack: {error:#}");
        ExitCode::from(error.downcast_ref::<StackError>().map_or(70, StackError::exit_code))
    })
}

/// Runs the blocking work on a thread of its own and turns SIGINT, SIGTERM and SIGHUP into
/// an interrupt of it, from the first moment on.
fn act(action: Action, setup: &Setup) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        let mut hangups = signal(SignalKind::hangup())?;
        let stack = setup.open()?.reporting(|line| eprintln!("{line}"));
        let interrupt = stack.interrupt();
        let postgres = setup.postgres(&stack)?;
        let with = setup.with.is_some();
        let mut work =
            tokio::task::spawn_blocking(move || perform(&stack, action, (&postgres, with)));
        loop {
            tokio::select! {
                done = &mut work => return done?,
                _ = interrupts.recv() => interrupt.raise(),
                _ = terminations.recv() => interrupt.raise(),
                _ = hangups.recv() => interrupt.raise(),
            }
        }
    })
}

fn perform(
    stack: &Stack,
    action: Action,
    (postgres, with): (&Postgres, bool),
) -> anyhow::Result<ExitCode> {
    match action {
        Action::Up => {
            let started = stack.up()?;
            if with {
                postgres.up(&|line| eprintln!("{line}"))?;
            }
            if started.is_empty() {
                eprintln!("everything is running already");
            }
            eprintln!("use it with:  eval \"$(stack env)\"");
        }
        Action::Down => {
            postgres.down(false)?;
            if stack.down()?.is_empty() {
                eprintln!("nothing was running");
            }
        }
        Action::Status => return status(stack),
        Action::Env => {
            for (name, value) in variables(stack, postgres)? {
                println!("export {name}='{}'", value.replace('\'', r"'\''"));
            }
        }
        Action::Logs { part } => print_log(stack, part)?,
        Action::Kill { part } => stack.kill(part)?,
        Action::Restart { part } => stack.restart(part)?,
        Action::Pause { part } => stack.pause(part)?,
        Action::Resume { part } => stack.resume(part)?,
        Action::Fetch => {
            stack.fetch()?;
        }
        Action::Run { command } => return run(stack, &command, (postgres, with)),
        Action::Front(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Those of the stack, and `POSTGRES_URL` where there is one.
fn variables(
    stack: &Stack,
    postgres: &Postgres,
) -> Result<Vec<(&'static str, String)>, StackError> {
    let mut variables = stack.env()?;
    variables.extend(postgres.url().map(|url| ("POSTGRES_URL", url)));
    Ok(variables)
}

fn status(stack: &Stack) -> anyhow::Result<ExitCode> {
    let mut all = true;
    for status in stack.status()? {
        let (state, pid) = match (status.pid, status.serves) {
            (Some(pid), true) => ("ready", format!("process {pid}")),
            (Some(pid), false) => ("not answering", format!("process {pid}")),
            (None, _) => ("down", String::new()),
        };
        all &= status.serves;
        println!("{:<11} {state:<14} {:<16} {pid}", status.part.name(), status.address);
    }
    Ok(ExitCode::from(u8::from(!all)))
}

fn print_log(stack: &Stack, part: stack::Part) -> anyhow::Result<()> {
    let path = stack.log(part);
    let mut log = std::fs::File::open(&path)
        .map_err(|source| StackError::Io { what: format!("reading {}", path.display()), source })?;
    let mut out = std::io::stdout().lock();
    std::io::copy(&mut log, &mut out)?;
    Ok(out.flush()?)
}

/// Up, the command, down; what ran before stays up.
fn run(
    stack: &Stack,
    command: &[String],
    (postgres, with): (&Postgres, bool),
) -> anyhow::Result<ExitCode> {
    let started = stack.up()?;
    let ready = if with { postgres.up(&|line| eprintln!("{line}")) } else { Ok(()) };
    let ran = ready.and_then(|()| variables(stack, postgres)).and_then(|variables| {
        let mut program = Command::new(&command[0]);
        program.args(&command[1..]).envs(variables);
        run_command(&mut program, &stack.interrupt())
    });
    if with {
        postgres.down(false)?;
    }
    stack.stop_parts(&started)?;
    let status = ran?;
    let code = status.code().or_else(|| {
        use std::os::unix::process::ExitStatusExt as _;
        status.signal().map(|signal| 128 + signal)
    });
    Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

fn serve(arguments: FrontArgs) -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let settings = front::Settings {
        listen: arguments.listen,
        data: arguments.data,
        spill: arguments.spill,
        library: arguments.library,
        users: stack::users(),
    };
    let served = runtime.block_on(async {
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        let shutdown = async {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
            }
        };
        front::run(settings, shutdown).await.map_err(anyhow::Error::from)
    });
    // A query that was cut may still hold its thread.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    served.map(|()| ExitCode::SUCCESS)
}
