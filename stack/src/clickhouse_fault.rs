//! Faults of ClickHouse on command: sets one, waits until requests have met it, and takes it
//! back if they do not. Faults of a whole part are `kill`, `pause`, `resume` and `restart`.

use std::str::FromStr;
use std::time::Duration;

use crate::clickhouse::USER;
use crate::error::{StackError, Trying as _};
use crate::http_probe;
use crate::part::Part;
use crate::registry::CONFLUENT_PATH;
use crate::registry_proxy::{RegistryFault, RegistryProxy};
use crate::stack::Stack;
use clickhouse_front::FAULT_PATH;

const PAUSE: Duration = Duration::from_millis(50);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The answer to an insert is lost after it was applied: its connection is cut.
    LoseAnswers,
    /// A request's connection is cut before it is looked at.
    Refuse,
    /// A request waits before it is looked at.
    Delay(Duration),
}

/// A name that is no fault's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such fault; there are lose-answers, refuse and delay=MILLISECONDS")]
pub struct NoSuchFault;

impl FromStr for Fault {
    type Err = NoSuchFault;

    fn from_str(text: &str) -> Result<Self, NoSuchFault> {
        match text.split_once('=') {
            None if text == "lose-answers" => Ok(Self::LoseAnswers),
            None if text == "refuse" => Ok(Self::Refuse),
            Some(("delay", ms)) => {
                ms.parse().map(|ms| Self::Delay(Duration::from_millis(ms))).map_err(|_| NoSuchFault)
            }
            _ => Err(NoSuchFault),
        }
    }
}

impl Fault {
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
    /// Lets the next `count` requests to ClickHouse meet a fault, and waits until they have.
    ///
    /// # Errors
    /// [`StackError::NoEffect`] when fewer did within `wait`; the rest is then taken back.
    /// [`StackError::NotRunning`] when ClickHouse does not answer.
    pub fn fault(&self, fault: Fault, count: u32, wait: Duration) -> Result<(), StackError> {
        let told = |query: &str| self.tell(query).ok_or(StackError::NotRunning(Part::ClickHouse));
        let before = told("")?;
        told(&fault.query(count))?;
        let mut left = wait;
        loop {
            let met = told("")?.saturating_sub(before);
            if met >= count {
                return Ok(());
            }
            if left.is_zero() {
                told(&fault.query(0))?;
                return Err(StackError::NoEffect { fault: fault.name(), met, count, waited: wait });
            }
            self.interrupt_check().inspect_err(|_| {
                told(&fault.query(0)).ok();
            })?;
            std::thread::sleep(PAUSE);
            left = left.saturating_sub(PAUSE);
        }
    }

    /// Opens a door before the registry that has this fault, says where, and keeps it open until
    /// it is interrupted. Returns how many requests met the fault.
    ///
    /// # Errors
    /// [`StackError::Io`] without a port.
    pub fn door(&self, fault: RegistryFault, say: impl FnOnce(&str)) -> Result<u32, StackError> {
        let url = format!("http://{}{CONFLUENT_PATH}", self.ports()?.address(Part::Registry));
        let door = RegistryProxy::before(&url).trying(|| "opening a door".to_owned())?;
        door.set(fault);
        say(&door.url);
        while self.interrupt_check().is_ok() {
            std::thread::sleep(PAUSE);
        }
        Ok(door.met())
    }

    /// Sets faults, and says how many requests have met one so far.
    fn tell(&self, query: &str) -> Option<u32> {
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
        assert_eq!("lose-answers".parse(), Ok(Fault::LoseAnswers));
        assert_eq!("delay=250".parse(), Ok(Fault::Delay(Duration::from_millis(250))));
        for text in ["", "delay", "delay=x", "explode"] {
            assert_eq!(text.parse::<Fault>(), Err(NoSuchFault), "{text}");
        }
    }
}
