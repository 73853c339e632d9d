//! Progress lines with the time since the start, and the handling of Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

/// Prints finished steps with their times.
#[derive(Clone)]
pub struct Steps {
    began: Instant,
}

impl Steps {
    /// Starts the clock.
    pub fn start() -> Self {
        Self { began: Instant::now() }
    }

    /// Reports a finished step.
    pub fn report(&self, step: &str) {
        println!("{:7.1} s  {step}", self.began.elapsed().as_secs_f64());
    }
}

/// The user's request to stop.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Whether a signal has arrived.
    pub fn raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits for a signal.
    pub fn wait(&self) {
        while !self.raised() {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Handles SIGINT and SIGTERM: calls `also` and sets the returned stop.
pub fn on_interrupt(also: impl Fn() + Send + 'static) -> Result<Stop> {
    let stop = Stop::default();
    let raised = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            if let Ok(token) = service::shutdown::on_signal() {
                token.cancelled().await;
            }
        });
        raised.0.store(true, Ordering::Relaxed);
        also();
    });
    Ok(stop)
}
