//! The interrupt of a command of the stack.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::StackError;

/// Makes a command that runs stop and clean up.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Requests the stop; safe to call from anywhere, any number of times.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// [`StackError::Interrupted`] once it was raised.
    pub(crate) fn check(&self) -> Result<(), StackError> {
        if self.0.load(Ordering::Relaxed) { Err(StackError::Interrupted) } else { Ok(()) }
    }
}
