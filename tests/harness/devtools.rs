//! Chromium's DevTools protocol by its pipe: JSON messages, each ended by a NUL byte, on the file
//! descriptors 3 and 4 of the browser.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The programs that have the protocol. The first one has no window system and is the smallest.
const PROGRAMS: [&str; 2] = ["chromium-headless-shell", "chromium"];
/// The longest time until the response to a command.
const RESPONSE: Duration = Duration::from_secs(60);
/// The shell gives its own ends of the pipes to the browser, as the descriptors of the protocol.
const EXEC: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >&2"#;
/// Chromium's flags: no sandbox, since tests may run as root, and only pages of this machine are
/// opened; nothing that asks servers of others; the same colours and text on every machine.
const FLAGS: [&str; 11] = [
    "--remote-debugging-pipe",
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
];

/// A running Chromium and one session with a page of it.
#[derive(Debug)]
pub(crate) struct DevTools {
    process: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    /// Number of the last command.
    last: u64,
    /// The page's session; empty before it exists.
    session: String,
    events: Vec<Value>,
    log: PathBuf,
}

impl DevTools {
    /// Starts Chromium with its profile and its log in `folder`, and opens an empty page.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub(crate) fn start(folder: &Path) -> Self {
        let log = folder.join("chromium.log");
        let errors = File::create(&log).expect("a log file can be made");
        let mut command = Command::new("sh");
        command.args(["-c", EXEC, program()]).args(FLAGS);
        command.arg(format!("--user-data-dir={}", folder.join("profile").display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut process = command.spawn().expect("a shell can be started");
        let commands = process.stdin.take().expect("standard input is a pipe");
        let mut output = BufReader::new(process.stdout.take().expect("standard output is a pipe"));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                let value = serde_json::from_slice(message.strip_suffix(&[0]).unwrap_or(&message));
                if value.is_ok_and(|value| sender.send(value).is_err()) {
                    return;
                }
                message.clear();
            }
        });
        let events = Vec::new();
        let session = String::new();
        let mut tools = Self { process, commands, messages, last: 0, session, events, log };
        let page = tools.must("Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = tools.must("Target.attachToTarget", target);
        attached["sessionId"].as_str().expect("a session").clone_into(&mut tools.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tools.must(&format!("{domain}.enable"), json!({}));
        }
        tools
    }

    /// Sends a command to the page and returns its result.
    ///
    /// # Errors
    /// The browser's error.
    ///
    /// # Panics
    /// When the browser has ended or does not respond.
    pub(crate) fn send(&mut self, method: &str, parameters: Value) -> Result<Value, String> {
        let id = self.write(method, parameters);
        let deadline = Instant::now() + RESPONSE;
        loop {
            let mut message = match self.messages.recv_timeout(deadline - Instant::now()) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => panic!("Chromium does not respond to {method}"),
                Err(RecvTimeoutError::Disconnected) => panic!("Chromium ended during {method}"),
            };
            if message["id"] != id {
                self.event(message);
            } else if message["error"].is_null() {
                return Ok(message["result"].take());
            } else {
                return Err(message["error"]["message"].to_string());
            }
        }
    }

    /// Like [`DevTools::send`], for a command that must succeed.
    pub(crate) fn must(&mut self, method: &str, parameters: Value) -> Value {
        let result = self.send(method, parameters);
        result.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Takes the events until now.
    pub(crate) fn events(&mut self) -> Vec<Value> {
        while let Ok(message) = self.messages.try_recv() {
            self.event(message);
        }
        std::mem::take(&mut self.events)
    }

    fn event(&mut self, event: Value) {
        // An open dialog stops the page: it is recorded and closed.
        if event["method"] == "Page.javascriptDialogOpening" {
            self.write("Page.handleJavaScriptDialog", json!({ "accept": false }));
        }
        if event["method"].is_string() {
            self.events.push(event);
        }
    }

    /// Writes a command; returns its number.
    fn write(&mut self, method: &str, parameters: Value) -> u64 {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": parameters });
        // Commands of the browser itself have no session.
        if !self.session.is_empty() && !method.starts_with("Browser.") {
            command["sessionId"] = json!(self.session);
        }
        let written = self.commands.write_all(format!("{command}\0").as_bytes());
        written.unwrap_or_else(|error| panic!("Chromium ended before {method}: {error}"));
        self.last
    }
}

/// The first of [`PROGRAMS`] that is installed.
fn program() -> &'static str {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let installed =
        |name: &&str| std::env::split_paths(&folders).any(|folder| folder.join(name).is_file());
    PROGRAMS.into_iter().find(installed).unwrap_or_else(|| {
        panic!("{} is not installed: run `./prerequisites.sh test`", PROGRAMS.join(" or "))
    })
}

impl Drop for DevTools {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(10).collect();
            eprintln!("--- end of Chromium's log, last line first\n{}", tail.join("\n"));
        }
    }
}
