//! What the collector did with each record of a request: the body of its answer.

use hyper::StatusCode;
use schemas::EventId;
use serde::Serialize;

use crate::collector::record_fault::RecordFault;
use crate::metrics::Metrics;
use crate::metrics::labels::ResultLabel;

/// What the collector did with one record.
#[derive(Debug, Serialize)]
struct RecordResult {
    index: usize,
    /// `accepted`, `withheld` (by a privacy policy), `rejected`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// What the collector did with the records of a request.
#[derive(Debug, Default, Serialize)]
pub(super) struct RecordResults {
    accepted: usize,
    withheld: usize,
    rejected: usize,
    records: Vec<RecordResult>,
}

impl RecordResults {
    /// Adds the next record: the id of its click, none if a privacy policy withholds it.
    pub(super) fn add(&mut self, click: Result<Option<EventId>, RecordFault>) {
        let index = self.records.len();
        let result = |status| RecordResult { index, status, event_id: None, code: None, why: None };
        self.records.push(match click {
            Ok(Some(event_id)) => {
                self.accepted += 1;
                RecordResult { event_id: Some(event_id), ..result("accepted") }
            }
            Ok(None) => {
                self.withheld += 1;
                result("withheld")
            }
            Err(fault) => {
                self.rejected += 1;
                let why = Some(fault.to_string());
                RecordResult { code: Some(fault.code()), why, ..result("rejected") }
            }
        });
        debug_assert_eq!(self.records.len(), self.accepted + self.withheld + self.rejected);
    }

    /// Whether every record was accepted or withheld.
    pub(super) fn all_taken(&self) -> bool {
        self.rejected == 0
    }

    /// The status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        if self.all_taken() {
            StatusCode::OK
        } else if self.accepted + self.withheld == 0 {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::MULTI_STATUS
        }
    }

    /// Counts each record by its result.
    pub(super) fn count(&self, metrics: &Metrics) {
        for record in &self.records {
            let result = record.code.unwrap_or(record.status);
            metrics.collector_records.get_or_create(&ResultLabel { result }).inc();
        }
    }
}
