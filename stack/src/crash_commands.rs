//! The commands that kill, pause and resume parts.

use std::time::Duration;

use rustix::process::Signal;

use crate::error::StackError;
use crate::part::Part;
use crate::stack::Stack;

impl Stack {
    /// Ends a part's process at once, as a crash would, and waits until it has ended.
    ///
    /// # Errors
    /// [`StackError::NotRunning`], [`StackError::NotInStack`], [`StackError::Unkillable`].
    pub fn kill(&self, part: Part) -> Result<(), StackError> {
        self.running_process(part)?.stop(Duration::ZERO)?;
        self.report(&format!("{part}: killed"));
        Ok(())
    }

    /// Ends the process of ClickHouse's engine behind the front, which starts it again.
    ///
    /// # Errors
    /// As [`Stack::kill`].
    pub fn crash_engine(&self) -> Result<(), StackError> {
        self.process(Part::ClickHouse).crash_worker()?;
        self.report("clickhouse: its engine has ended");
        Ok(())
    }

    /// Pauses a part with its connections open, as a machine that hangs does. Waits until it is
    /// paused.
    ///
    /// # Errors
    /// [`StackError::NotRunning`], [`StackError::NotInStack`], [`StackError::NotPaused`].
    pub fn pause(&self, part: Part) -> Result<(), StackError> {
        let process = self.running_process(part)?;
        process.signal(Signal::STOP)?;
        if !process.is_stopped() {
            return Err(StackError::NotPaused(part));
        }
        self.report(&format!("{part}: paused"));
        Ok(())
    }

    /// Resumes a paused part.
    ///
    /// # Errors
    /// [`StackError::NotRunning`], [`StackError::NotInStack`].
    pub fn resume(&self, part: Part) -> Result<(), StackError> {
        self.running_process(part)?.signal(Signal::CONT)?;
        self.report(&format!("{part}: resumed"));
        Ok(())
    }
}
