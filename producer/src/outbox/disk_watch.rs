//! The thread that reads how many bytes are free on the outbox's file system.
//!
//! If the file system hangs, only this thread waits.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use service::number::gauge;

use crate::outbox::outbox_state::OutboxState;

/// How often it reads.
const EVERY: Duration = Duration::from_secs(10);

/// Reads now, and starts the thread, which ends after `shared` is dropped.
///
/// # Errors
/// The system cannot start a thread.
pub(super) fn start(shared: &Arc<OutboxState>) -> io::Result<()> {
    read(&shared.folder, &shared.metrics.outbox_disk_free_bytes);
    let shared = Arc::downgrade(shared);
    let thread = std::thread::Builder::new().name("outbox-disk".to_owned());
    thread.spawn(move || run(&shared)).map(drop)
}

fn run(shared: &Weak<OutboxState>) {
    let state = || shared.upgrade().map(|it| (it.folder.clone(), it.metrics.clone()));
    let mut watched: Option<(PathBuf, _)> = state();
    while let Some((folder, metrics)) = watched {
        std::thread::sleep(EVERY);
        read(&folder, &metrics.outbox_disk_free_bytes);
        watched = state();
    }
}

/// Sets the gauge to the bytes that a process without privileges can still write.
fn read(folder: &Path, free: &Gauge) {
    match rustix::fs::statvfs(folder) {
        Ok(found) => {
            free.set(gauge(found.f_bavail.saturating_mul(found.f_frsize)));
        }
        Err(error) => tracing::debug!(%error, "the free bytes of the outbox's disk cannot be read"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_free_bytes_are_those_of_the_folders_file_system() {
        let free = Gauge::default();
        read(Path::new("/nowhere"), &free);
        assert_eq!(free.get(), 0);
        read(&std::env::temp_dir(), &free);
        assert!(free.get() > 0);
    }
}
