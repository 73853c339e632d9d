//! The producer of a bench: `producer serve` with links of its own.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::{Child, World, free_port, get, metric, until};

/// The longest time to deliver all waiting clicks.
const DRAIN: Duration = Duration::from_secs(600);

/// A running producer.
pub struct Producer {
    /// The process.
    pub child: Child,
    /// `host:port` of the public port.
    pub host: String,
    /// `http://…` of the admin port.
    pub admin: String,
}

impl Producer {
    /// Starts `command`, which is `producer` with its variables, with these links and an outbox of its own.
    pub fn start(world: &World, mut command: Command, links: &str) -> Result<Self> {
        let (public, admin) = (free_port(), free_port());
        let file = world.folder().join(format!("links-{}.jsonl", public.port()));
        std::fs::write(&file, links)?;
        let outbox = world.folder().join(format!("outbox-{}", public.port()));
        command
            .args(["serve", "--node", "bench", "--links"])
            .arg(&file)
            .arg("--outbox")
            .arg(outbox);
        command.args(["--listen", &public.to_string(), "--admin-listen", &admin.to_string()]);
        let child = world.start(command);
        let (host, admin) = (public.to_string(), format!("http://{admin}"));
        let ready = format!("{admin}/readyz");
        until("the producer is ready", || get(&ready).ok().filter(|answer| answer.status == 200));
        Ok(Self { child, host, admin })
    }

    /// Waits until all clicks are delivered; returns the time.
    pub fn drained(&self) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let waits = |name: &str| metric(&self.admin, &format!("clicktrail_producer_{name}"));
            if waits("queue_clicks") == Some(0.0) && waits("outbox_clicks") == Some(0.0) {
                return Ok(began.elapsed());
            }
            ensure!(began.elapsed() < DRAIN, "clicks are still undelivered after {DRAIN:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
