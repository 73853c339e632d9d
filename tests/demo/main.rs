//! The main job on real parts, start to finish: redirects and an imported log become rows, a
//! re-send changes nothing, and the books close on screen.
//!
//! It drives the services as an operator would, by their commands, and takes every figure of the
//! books from another source than the services' own counts.

mod balance;
mod input;
mod sent_clicks;
mod load;
mod log_size;
mod picture;
mod services;
mod steps;
mod tables;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use stack::{Cache, PortChoice, Stack};

use balance::Books;
use sent_clicks::{Ledger, Run};
use services::Services;
use steps::Steps;
use tables::Tables;

/// Live redirects a second.
const RATE: u32 = 50;
/// How long they are sent.
const LIVE: Duration = Duration::from_secs(20);
/// How long rows may take to come after the last click.
const SETTLE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let once = std::env::var_os("DEMO_ONCE").is_some_and(|value| value != "0" && !value.is_empty());
    match demo(once) {
        Ok(books) => {
            println!("{books}");
            ExitCode::from(u8::from(!books.balanced()))
        }
        Err(error) => {
            eprintln!("demo: {error:#}");
            println!("books: OUT OF BALANCE (the demo did not finish)");
            ExitCode::FAILURE
        }
    }
}

fn demo(once: bool) -> Result<Books> {
    let steps = Steps::start();
    let folder = folder()?;
    let mut ledger = Ledger::open(&folder)?;
    if ledger.was_interrupted() {
        steps.say("the last demo was killed before its books were closed: starting over");
        std::fs::remove_dir_all(&folder).context("removing the data of the last demo")?;
        ledger = Ledger::open(&folder)?;
    }
    let choice = PortChoice { auto: true, ..PortChoice::default() };
    let stack = Stack::open(&folder.join("stack"), Cache::shared()?, choice)?;
    let stack = stack.reporting({
        let steps = steps.clone();
        move |line| steps.say(line)
    });
    let stop = steps::on_interrupt({
        let interrupt = stack.interrupt();
        move || interrupt.raise()
    })?;
    stack.up().context("starting the parts")?;
    let demo = Demo { env: stack.env()?, folder, steps, stop, once };
    let outcome = demo.on_stack(&mut ledger);
    let down = stack.down();
    let books = outcome?;
    down.context("stopping the parts")?;
    Ok(books)
}

/// What every part of the demo needs.
struct Demo {
    env: Vec<(&'static str, String)>,
    folder: PathBuf,
    steps: Steps,
    stop: steps::Stop,
    once: bool,
}

impl Demo {
    /// Everything between the stack's start and its end.
    fn on_stack(&self, ledger: &mut Ledger) -> Result<Books> {
        let Self { env, folder, steps, stop, once } = self;
        let mut services = Services::new(folder, env)?;
        services.setup()?;
        steps.say("topics, schema and tables are there");
        let tables = Tables::new(env)?;
        let began = tables.now()?;
        let mut run = ledger.begin()?;
        services.start()?;
        services.first_redirect()?;
        run.redirects += 1;
        steps.say(&format!("first redirect answered: {}", services.url("/spring")));

        let log = input::log(folder)?;
        run.imported_lines(&log, services.import(&log.path)?)?;
        steps.say(&format!("imported {} ({} lines)", log.path.display(), log.lines));
        run.imported_lines(&log, services.import(&log.path)?)?;
        steps.say("imported it again: a re-send, which may not change a number");

        let sent = load::run(services.address(), RATE, LIVE, stop)?;
        run.redirects += sent.answered;
        if sent.failed > 0 {
            bail!("{} of the redirects were not answered: {}", sent.failed, sent.cause);
        }
        steps.say(&format!("{} live redirects answered at {RATE} a second", sent.answered));
        ledger.close(run.clone())?;

        let books = settle(ledger, &tables, env, &began)?;
        match books.balanced() {
            true => steps.say("every click is a row"),
            false => steps.say("the books do not balance (if others wrote to this log, `rm -rf .demo` begins anew)"),
        }
        picture::draw(&tables)?;
        println!("\n{books}\n");
        if !once && !stop.raised() {
            services.things_to_try(folder)?;
            stop.wait();
            println!("stopping");
        }
        // Whoever clicked while it stayed up belongs to the books of the next run.
        let answered = services.stop()?;
        if answered > run.redirects {
            run.redirects = answered;
            ledger.close(run)?;
        }
        Ok(books)
    }
}

/// Waits until the rows are there, or the time is over: the books then show what is missing.
fn settle(
    ledger: &Ledger,
    tables: &Tables,
    env: &[(&'static str, String)],
    began: &str,
) -> Result<Books> {
    let give_up = Instant::now() + SETTLE;
    loop {
        let books = Books::take(ledger.total(), tables, env, began)?;
        if books.balanced() || Instant::now() >= give_up {
            return Ok(books);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// The demo's data, in the clone that it was built from.
fn folder() -> Result<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the clone's top folder")?;
    let folder = top.join(".demo");
    std::fs::create_dir_all(&folder).context("making .demo")?;
    Ok(folder)
}

impl Run {
    fn imported_lines(&mut self, log: &input::Log, imported: services::Imported) -> Result<()> {
        if imported.lines != log.lines {
            bail!("the import read {} lines of {}", imported.lines, log.lines);
        }
        self.import(&log.id, imported.clicks);
        Ok(())
    }
}
