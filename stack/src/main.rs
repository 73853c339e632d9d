//! The `stack` program: reads the command line, raises the interrupt of the stack on signals, and
//! prints. The library does the rest.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the output of a command line")]

mod cli;

use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Parser as _;
use clickhouse_front as front;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use stack::{Finding, Postgres, Stack, StackError, Watch, examine, run_command, watch};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Action, Cli, DiskAction, EngineArgs, Server, Setup};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            error.print().ok();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others run commands of the stack")]
    let outcome = match cli.action {
        Action::Front { listen, engine } => supervise(listen, &engine),
        Action::Engine { parent, engine } => serve(parent, engine),
        action => act(action, &cli.setup),
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
        let servers = Servers {
            postgres: setup.postgres(&stack)?,
            with_postgres: setup.with.contains(&Server::Postgres),
        };
        let mut work = tokio::task::spawn_blocking(move || perform(&stack, &servers, action));
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

/// Servers beside the parts.
struct Servers {
    postgres: Postgres,
    /// Whether PostgreSQL is started with the parts.
    with_postgres: bool,
}

impl Servers {
    fn up(&self) -> Result<(), StackError> {
        if self.with_postgres { self.postgres.up(&|line| eprintln!("{line}")) } else { Ok(()) }
    }
}

fn perform(stack: &Stack, servers: &Servers, action: Action) -> anyhow::Result<ExitCode> {
    match action {
        Action::Up => {
            let started = stack.up()?;
            servers.up()?;
            if started.is_empty() {
                eprintln!("all parts run already");
            }
            eprintln!("use it with:  eval \"$(stack env)\"");
        }
        Action::Down => {
            servers.postgres.down(false)?;
            if stack.down()?.is_empty() {
                eprintln!("no part was running");
            }
        }
        Action::Status => return status(stack),
        Action::Env => {
            for (name, value) in variables(stack, &servers.postgres)? {
                println!("export {name}='{}'", value.replace('\'', r"'\''"));
            }
        }
        Action::Logs { part } => print_log(stack, part)?,
        Action::Kill { part } => stack.kill(part)?,
        Action::Restart { part } => stack.restart(part)?,
        Action::Pause { part } => stack.pause(part)?,
        Action::Resume { part } => stack.resume(part)?,
        Action::Fault { fault, count, wait } => {
            stack.fault(fault, count, Duration::from_secs(wait))?;
            eprintln!("injected into {count} of {count} requests");
        }
        Action::Disk { part, what } => match what {
            DiskAction::Limit { bytes } => stack.limit_disk(part, bytes)?,
            DiskAction::Fill => stack.fill_disk(part)?,
            DiskAction::Free => stack.free_disk(part)?,
        },
        Action::RegistryFault { fault } => {
            let started = |url: &str| println!("export SCHEMA_REGISTRY_URL='{url}'");
            let injected = stack.registry_fault(fault, started)?;
            eprintln!("injected into {injected} requests");
            return Ok(ExitCode::from(if injected == 0 { 75 } else { 0 }));
        }
        Action::CrashEngine => stack.crash_engine()?,
        Action::Fetch => {
            stack.fetch_with_preview()?;
        }
        Action::Preview { port } => {
            let preview = stack.preview(port)?;
            println!("{}", preview.url(""));
            preview.serve_until(&stack.interrupt());
        }
        Action::Run { command } => return run(stack, servers, &command),
        Action::Doctor => return Ok(doctor(stack)),
        Action::Clean { cache } => {
            eprintln!("{} MB are freed", stack.clean(cache)? / 1_000_000);
        }
        Action::Watch { cookie, keep } => watch(stack, &cookie, &keep)?,
        Action::Front { .. } | Action::Engine { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// The variables of the stack, and `POSTGRES_URL` where there is one.
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
        println!("{:<12} {state:<14} {:<16} {pid}", status.part.name(), status.address);
    }
    Ok(ExitCode::from(u8::from(!all)))
}

fn doctor(stack: &Stack) -> ExitCode {
    let mut good = true;
    for Finding { subject, observed, fix } in examine(stack) {
        match &fix {
            None => println!("good  {subject:<8} {observed}"),
            Some(fix) => println!("BAD   {subject:<8} {observed}\n      fix: {fix}"),
        }
        good &= fix.is_none();
    }
    ExitCode::from(if good { 0 } else { 69 })
}

fn print_log(stack: &Stack, part: stack::Part) -> anyhow::Result<()> {
    let path = stack.log(part);
    let mut log = std::fs::File::open(&path)
        .map_err(|source| StackError::Io { what: format!("reading {}", path.display()), source })?;
    let mut out = std::io::stdout().lock();
    std::io::copy(&mut log, &mut out)?;
    Ok(out.flush()?)
}

/// Starts the parts, runs the command, and stops the parts that it started.
fn run(stack: &Stack, servers: &Servers, command: &[String]) -> anyhow::Result<ExitCode> {
    let watch = Watch::start(stack)?;
    let started = stack.up()?;
    let ready = servers.up();
    let ran = ready.and_then(|()| variables(stack, &servers.postgres)).and_then(|variables| {
        let mut program = Command::new(&command[0]);
        program.args(&command[1..]).envs(variables).envs([watch.variable()]);
        run_command(&mut program, &stack.interrupt())
    });
    drop(watch);
    if servers.with_postgres {
        servers.postgres.down(false)?;
    }
    stack.stop_parts(&started)?;
    let status = ran?;
    let code = status.code().or_else(|| {
        use std::os::unix::process::ExitStatusExt as _;
        status.signal().map(|signal| 128 + signal)
    });
    Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// Supervises the engine, which runs in a process of its own.
fn supervise(listen: SocketAddr, engine: &EngineArgs) -> anyhow::Result<ExitCode> {
    log();
    let flags = [
        ("--parent", OsString::from(std::process::id().to_string())),
        ("--data", engine.data.clone().into()),
        ("--spill", engine.spill.clone().into()),
        ("--library", engine.library.clone().into()),
        ("--mark", engine.mark.clone().into()),
    ];
    let arguments = flags.into_iter().flat_map(|(flag, value)| [flag.into(), value]);
    let arguments = std::iter::once("engine".into()).chain(arguments).collect();
    let supervised = front::Supervised { program: std::env::current_exe()?, arguments };
    // One thread: the engine is killed when the thread that started it ends, and this one ends last.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        front::supervise(listen, &supervised, shutdown()?).await.map_err(into)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn serve(parent: i32, engine: EngineArgs) -> anyhow::Result<ExitCode> {
    log();
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().is_none_or(|actual| actual.as_raw_nonzero().get() != parent) {
        anyhow::bail!("the process that supervises this engine has ended already");
    }
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    let settings = front::FrontSettings {
        listener: socket.into(),
        data: engine.data,
        spill: engine.spill,
        library: engine.library,
        users: stack::users(),
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let served = runtime.block_on(async {
        let ready = || println!("ready");
        front::run(settings, ready, shutdown()?).await.map_err(into)
    });
    // A query whose connection was closed may still use its thread.
    runtime.shutdown_timeout(Duration::from_secs(2));
    served.map(|()| ExitCode::SUCCESS)
}

fn into(error: front::FrontError) -> anyhow::Error {
    error.into()
}

fn log() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
}

/// Resolves on SIGINT or SIGTERM.
fn shutdown() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupts.recv() => {}
            _ = terminations.recv() => {}
        }
    })
}
