//! The slots of the collector's requests bound how many are open, and how many bytes they hold.
//!
//! A slot moves with the memory that it bounds: with the body, into the thread that reads the records, and
//! with the answer until the sender has received it or the connection has ended.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use service::number::gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::collector::collector_limits::{CollectorLimits, OPEN_MAX};
use crate::collector::refusal::Refusal;
use crate::metrics::Metrics;

/// Longest wait of a request for others whose records are being read.
pub(super) const WORK_WAIT: Duration = Duration::from_secs(10);
/// The unit of the semaphore of bytes.
const KIB: usize = 1024;

/// Admits requests, up to the bounds of [`OPEN_MAX`] and of memory.
#[derive(Debug)]
pub(super) struct RequestSlots {
    limits: CollectorLimits,
    open: Arc<Semaphore>,
    held: Arc<Semaphore>,
    working: Arc<Semaphore>,
    open_gauge: Gauge,
    held_gauge: Gauge,
}

/// The slot of one open request.
#[derive(Debug)]
pub struct RequestSlot {
    held_bytes: i64,
    open_gauge: Gauge,
    held_gauge: Gauge,
    _open: OwnedSemaphorePermit,
    _held: OwnedSemaphorePermit,
}

impl RequestSlots {
    pub(super) fn new(limits: CollectorLimits, metrics: &Metrics) -> Self {
        metrics.collector_open_bound.set(gauge(OPEN_MAX));
        metrics.collector_bytes_bound.set(gauge(limits.held_bytes_max()));
        Self {
            limits,
            open: Arc::new(Semaphore::new(OPEN_MAX)),
            held: Arc::new(Semaphore::new(limits.held_bytes_max().div_ceil(KIB))),
            working: Arc::new(Semaphore::new(limits.working_max())),
            open_gauge: metrics.collector_open.clone(),
            held_gauge: metrics.collector_bytes.clone(),
        }
    }

    /// A slot for a request whose body has this declared length.
    ///
    /// # Errors
    /// [`Refusal::Busy`].
    #[expect(clippy::expect_used, reason = "limits have 32 bits: a request holds at most 77 MB")]
    pub(super) fn take(
        &self,
        declared: Option<usize>,
        compressed: bool,
    ) -> Result<RequestSlot, Refusal> {
        let open = Arc::clone(&self.open).try_acquire_owned().map_err(|_| Refusal::Busy)?;
        let kib = self.limits.held_bytes(declared, compressed).div_ceil(KIB);
        let permits = u32::try_from(kib).expect("a request holds less than 4 TiB");
        let held = Arc::clone(&self.held).try_acquire_many_owned(permits);
        let held = held.map_err(|_| Refusal::Busy)?;
        let held_bytes = gauge(kib * KIB);
        self.open_gauge.inc();
        self.held_gauge.inc_by(held_bytes);
        Ok(RequestSlot {
            held_bytes,
            open_gauge: self.open_gauge.clone(),
            held_gauge: self.held_gauge.clone(),
            _open: open,
            _held: held,
        })
    }

    /// The permit to read the records of a request. Waits for others, at most [`WORK_WAIT`].
    ///
    /// # Errors
    /// [`Refusal::Busy`].
    pub(super) async fn work(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let permit = Arc::clone(&self.working).acquire_owned();
        match tokio::time::timeout(WORK_WAIT, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Refusal::Busy),
        }
    }
}

impl Drop for RequestSlot {
    fn drop(&mut self) {
        self.open_gauge.dec();
        self.held_gauge.dec_by(self.held_bytes);
    }
}
