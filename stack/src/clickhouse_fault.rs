//! Injects faults into ClickHouse: sets one, waits until it was injected, and resets it after a
//! timeout. Faults of a whole part are `kill`, `pause`, `resume` and `restart`.

use std::str::FromStr;
use std::time::Duration;

use crate::clickhouse::USER;
use crate::error::{IoContext as _, StackError};
use crate::http_probe;
use crate::part::Part;
use crate::registry::CONFLUENT_PATH;
use crate::registry_proxy::{RegistryFault, RegistryProxy};
use crate::stack::Stack;
use clickhouse_front::FAULT_PATH;

const PAUSE: Duration = Duration::from_millis(50);

/// A fault of ClickHouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClickHouseFault {
    /// The answer to an insert is lost after it was applied: its connection is closed.
    LoseAnswers,
    /// A request's connection is closed before the request is read.
    Refuse,
    /// A request waits before it is read.
    Delay(Duration),
}

/// A text that names no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown fault; the faults are lose-answers, refuse and delay=MILLISECONDS")]
pub struct InvalidFault;

impl FromStr for ClickHouseFault {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        match text.split_once('=') {
            None if text == "lose-answers" => Ok(Self::LoseAnswers),
            None if text == "refuse" => Ok(Self::Refuse),
            Some(("delay", ms)) => ms
                .parse()
                .map(|ms| Self::Delay(Duration::from_millis(ms)))
                .map_err(|_| InvalidFault),
            _ => Err(InvalidFault),
        }
    }
}

impl ClickHouseFault {
    fn query(self, count: u32) -> String {
        match self {
            Self::LoseAnswers => format!("lose={count}"),
            Self::Refuse => format!("refuse={count}"),
            Self::Delay(time) => format!("ms={}&delay={count}", time.as_millis()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::LoseAnswers => "lose-answers",
            Self::Refuse => "refuse",
            Self::Delay(_) => "delay",
        }
    }
}

impl Stack {
    /// Injects a fault into the next `count` requests to ClickHouse, and waits until that is done.
    ///
    /// # Errors
    /// [`StackError::NoEffect`] when fewer came within `wait`; the rest is then reset.
    /// [`StackError::NotRunning`] when ClickHouse does not answer.
    pub fn fault(
        &self,
        fault: ClickHouseFault,
        count: u32,
        wait: Duration,
    ) -> Result<(), StackError> {
        let set =
            |query: &str| self.set_faults(query).ok_or(StackError::NotRunning(Part::ClickHouse));
        let before = set("")?;
        set(&fault.query(count))?;
        let mut left = wait;
        loop {
            let injected = set("")?.saturating_sub(before);
            if injected >= count {
                return Ok(());
            }
            if left.is_zero() {
                set(&fault.query(0))?;
                return Err(StackError::NoEffect {
                    fault: fault.name(),
                    injected,
                    count,
                    waited: wait,
                });
            }
            self.check_interrupt().inspect_err(|_| {
                set(&fault.query(0)).ok();
            })?;
            std::thread::sleep(PAUSE);
            left = left.saturating_sub(PAUSE);
        }
    }

    /// Starts a fault proxy for the registry, passes its URL to `started`, and runs it until an
    /// interrupt. Returns the number of requests that the fault was injected into.
    ///
    /// # Errors
    /// [`StackError::Io`] without a port.
    pub fn registry_fault(
        &self,
        fault: RegistryFault,
        started: impl FnOnce(&str),
    ) -> Result<u32, StackError> {
        let url = format!("http://{}{CONFLUENT_PATH}", self.ports()?.address(Part::Registry));
        let proxy =
            RegistryProxy::start(&url).io_context(|| "starting a fault proxy".to_owned())?;
        proxy.set(fault);
        started(&proxy.url);
        while self.check_interrupt().is_ok() {
            std::thread::sleep(PAUSE);
        }
        Ok(proxy.injected())
    }

    /// Sets faults, and returns the number of requests with an injected fault so far.
    fn set_faults(&self, query: &str) -> Option<u32> {
        let address = self.ports().ok()?.address(Part::ClickHouse);
        let path = format!("{FAULT_PATH}?{query}&user={}&password={}", USER.0, USER.1);
        http_probe::http_text(address, &path)?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_names() {
        assert_eq!("lose-answers".parse(), Ok(ClickHouseFault::LoseAnswers));
        assert_eq!("delay=250".parse(), Ok(ClickHouseFault::Delay(Duration::from_millis(250))));
        for text in ["", "delay", "delay=x", "explode"] {
            assert_eq!(text.parse::<ClickHouseFault>(), Err(InvalidFault), "{text}");
        }
    }
}
