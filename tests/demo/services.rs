//! The services of the demo, started by their commands.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

const READY: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);
const LINKS: &str = include_str!("links.jsonl");

/// Producer, processors and audit of the demo.
pub struct Services {
    env: Vec<(&'static str, String)>,
    logs: PathBuf,
    links: PathBuf,
    listen: SocketAddr,
    children: Vec<(&'static str, Child)>,
}

/// The summary of `producer import`.
pub struct Imported {
    /// Lines that it read.
    pub lines: u64,
    /// Lines that are clicks.
    pub clicks: u64,
}

impl Services {
    /// Prepares the services; starts none.
    pub fn new(folder: &Path, stack: &[(&'static str, String)]) -> Result<Self> {
        let logs = folder.join("logs");
        std::fs::create_dir_all(&logs)?;
        let links = folder.join("links.jsonl");
        std::fs::write(&links, LINKS)?;
        let listen = free(8080)?;
        let mut env = stack.to_vec();
        env.push(("CLICKTRAIL_LISTEN", listen.to_string()));
        env.push(("CLICKTRAIL_PRODUCER_ADMIN_LISTEN", free(9180)?.to_string()));
        env.push(("CLICKTRAIL_PROCESSORS_ADMIN_LISTEN", free(9181)?.to_string()));
        env.push(("CLICKTRAIL_AUDIT_ADMIN_LISTEN", free(9182)?.to_string()));
        env.push(("CLICKTRAIL_LINKS", links.display().to_string()));
        env.push(("CLICKTRAIL_RULES", crate::root()?.join(".stack/rules").display().to_string()));
        env.push(("CLICKTRAIL_OUTBOX", folder.join("outbox").display().to_string()));
        // The generated visitors name their addresses as those behind a proxy do.
        env.push(("CLICKTRAIL_TRUSTED_PROXIES", "127.0.0.0/8".to_owned()));
        Ok(Self { env, logs, links, listen, children: Vec::new() })
    }

    /// The address that serves redirects.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// The URL of a path at this address.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listen)
    }

    fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(built(program)?);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// `processors setup`.
    pub fn setup(&self) -> Result<()> {
        let output = self.command("processors")?.arg("setup").output()?;
        if !output.status.success() {
            bail!("processors setup: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            println!("             {line}");
        }
        Ok(())
    }

    /// `producer serve`, `processors run` and `processors audit --follow`.
    pub fn start(&mut self) -> Result<()> {
        let audit = ["audit", "--follow", "--every", "10s"];
        for (name, program, arguments) in [
            ("producer", "producer", &["serve"][..]),
            ("processors", "processors", &["run"]),
            ("audit", "processors", &audit),
        ] {
            let log = File::create(self.log(name))?;
            let mut command = self.command(program)?;
            command.args(arguments).stdin(Stdio::null());
            command.stdout(log.try_clone()?).stderr(log);
            // The demo handles Ctrl-C and then stops the services in order.
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
            self.children.push((name, command.spawn()?));
        }
        Ok(())
    }

    /// Waits for the first 302. It is recorded as a click.
    pub fn first_redirect(&mut self) -> Result<()> {
        let give_up = Instant::now() + READY;
        loop {
            match answer(self.listen, "/spring") {
                Ok(line) if line.contains(" 302 ") => return Ok(()),
                Ok(line) => bail!("expected a redirect, got {line:?}"),
                Err(_) => {}
            }
            for (program, child) in &mut self.children {
                if let Some(status) = child.try_wait()? {
                    bail!("{program} ended with {status}; its log: {}", self.logs.display());
                }
            }
            if Instant::now() >= give_up {
                bail!("no redirect within {} s; logs: {}", READY.as_secs(), self.logs.display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `producer import`.
    pub fn import(&self, log: &Path, format: &str, source: &str) -> Result<Imported> {
        let mut command = self.command("producer")?;
        command.args(["import", "--format", format, "--source", source, "--links"]);
        let output = command.arg(&self.links).arg(log).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("producer import: {text}{errors}");
        }
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            println!("             {line}");
        }
        Ok(Imported { lines: number(&text, "lines")?, clicks: number(&text, "clicks")? })
    }

    fn log(&self, program: &str) -> PathBuf {
        self.logs.join(format!("{program}.log"))
    }

    /// Stops the services in order: the producer delivers its clicks, then the processors commit what
    /// they read. Returns the number of clicks that the producer reports.
    pub fn stop(&mut self) -> Result<u64> {
        for (program, mut child) in std::mem::take(&mut self.children) {
            let give_up = Instant::now() + STOP;
            terminate(&child);
            loop {
                if let Some(status) = child.try_wait()? {
                    // The user may have stopped it already, as the demo's own hints propose.
                    if !status.success() {
                        let log = self.log(program);
                        bail!("{program} ended with {status}:\n{}", tail(&log));
                    }
                    break;
                }
                if Instant::now() >= give_up {
                    bail!("{program} did not stop within {} s", STOP.as_secs());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let last = std::fs::read_to_string(self.log("producer"))?;
        let last = last.lines().rev().find(|line| line.starts_with("serve: "));
        number(last.unwrap_or_default(), "clicks")
    }

    /// Writes the variables of all commands to the file that the demo's hints name.
    pub fn write_env(&self, folder: &Path) -> Result<()> {
        let mut file = File::create(folder.join("env"))?;
        for (name, value) in &self.env {
            writeln!(file, "export {name}='{value}'")?;
        }
        Ok(())
    }

    /// Prints all addresses and three commands to try.
    pub fn things_to_try(&self) {
        let value = |name: &str| {
            let found = self.env.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        let pid = self.children.iter().find(|child| child.0 == "processors");
        let pid = pid.map(|(_, child)| child.id()).unwrap_or_default();
        println!(
            "\
redirects   {redirects}
metrics     http://{producer}/metrics  http://{processors}/metrics
clickhouse  {clickhouse}  (user {user}, password {password}, database {database})
kafka       {brokers}   registry {registry}
logs        .demo/logs

Three things to try, in another terminal at the top of the clone, after  . .demo/env
1. Follow a link and query its row, which appears within a second:
     curl -si {redirects} | head -3
     curl -s \"$CLICKHOUSE_URL/?database=$CLICKHOUSE_DATABASE\" -u \"$CLICKHOUSE_USER:$CLICKHOUSE_PASSWORD\" \\
       -d 'SELECT occurred_at, slug, outcome, country, browser, bot_class FROM clicks ORDER BY occurred_at DESC LIMIT 3'
2. Replay the whole log with Kafka's own tool; no count changes:
     kill {pid}          # the processors: they finish and commit their batch
     java -cp \"$KAFKA_LIBS/*\" org.apache.kafka.tools.consumer.group.ConsumerGroupCommand \\
       --bootstrap-server $KAFKA_BROKERS --group clicktrail-processors --topic clicks.raw.v1 \\
       --reset-offsets --to-earliest --execute
     target/debug/processors run      # Ctrl-C after a few seconds, or keep it running
3. Compare the log with the table, click by click:
     target/debug/processors audit

Ctrl-C stops everything. The data is kept: `make demo` continues with it, `rm -rf .demo` removes it.",
            redirects = self.url("/spring"),
            producer = value("CLICKTRAIL_PRODUCER_ADMIN_LISTEN"),
            processors = value("CLICKTRAIL_PROCESSORS_ADMIN_LISTEN"),
            clickhouse = value("CLICKHOUSE_URL"),
            user = value("CLICKHOUSE_USER"),
            password = value("CLICKHOUSE_PASSWORD"),
            database = value("CLICKHOUSE_DATABASE"),
            brokers = value("KAFKA_BROKERS"),
            registry = value("SCHEMA_REGISTRY_URL"),
        );
    }
}

impl Drop for Services {
    /// Kills the services after a failure, so that no process stays.
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            let _gone_already = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// The value of `name=` in a summary line.
fn number(text: &str, name: &str) -> Result<u64> {
    let words = text.split_whitespace();
    let value = words.filter_map(|word| word.split_once('=')).find(|pair| pair.0 == name);
    Ok(value.with_context(|| format!("no {name}= in {text:?}"))?.1.parse()?)
}

fn terminate(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _gone_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// The status line of the response to `GET path`.
fn answer(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

/// `port` on the loopback address if it is free, else any free port.
fn free(port: u16) -> Result<SocketAddr> {
    let wanted = SocketAddr::from(([127, 0, 0, 1], port));
    let listener = TcpListener::bind(wanted).or_else(|_| TcpListener::bind("127.0.0.1:0"))?;
    Ok(listener.local_addr()?)
}

fn built(program: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.with_file_name(program);
    if !path.is_file() {
        bail!("{} is not built: cargo build --workspace --bins", path.display());
    }
    Ok(path)
}

fn tail(log: &Path) -> String {
    let mut text = String::new();
    if let Ok(mut file) = File::open(log) {
        let _as_much_as_is_text = file.read_to_string(&mut text);
    }
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
