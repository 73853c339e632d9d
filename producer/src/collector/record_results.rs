//! The result of each record of a request, which the body of the answer lists.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::StatusCode;
use schemas::EventId;
use serde::Serialize;

use crate::click::cut;
use crate::collector::record_fault::RecordFault;
use crate::metrics::Metrics;
use crate::metrics::labels::ResultLabel;

/// Most bytes of the text of a fault, which may quote the record.
const WHY_BYTES_MAX: usize = 320;

/// The result of one record.
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

/// The results of the records of a request.
#[derive(Debug, Default, Serialize)]
pub(super) struct RecordResults {
    accepted: usize,
    withheld: usize,
    rejected: usize,
    records: Vec<RecordResult>,
}

/// The answer with the results, and how many records had which result.
#[derive(Debug)]
pub(super) struct RecordsAnswer {
    /// The status of the answer.
    pub(super) status: StatusCode,
    /// Its body.
    pub(super) json: Bytes,
    counts: BTreeMap<&'static str, u64>,
}

impl RecordResults {
    /// Adds the result of the next record: the id of its click, or `None` if a privacy policy withholds it.
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
                let why = Some(printable(&fault.to_string()));
                RecordResult { code: Some(fault.code()), why, ..result("rejected") }
            }
        });
        debug_assert_eq!(self.records.len(), self.accepted + self.withheld + self.rejected);
    }

    /// The answer. Its status is 200 if every record was accepted or withheld, and 400 if none was.
    #[expect(clippy::expect_used, reason = "texts, numbers and lists of them are JSON")]
    pub(super) fn finish(self) -> RecordsAnswer {
        let status = if self.rejected == 0 {
            StatusCode::OK
        } else if self.accepted + self.withheld == 0 {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::MULTI_STATUS
        };
        let mut counts = BTreeMap::new();
        for record in &self.records {
            *counts.entry(record.code.unwrap_or(record.status)).or_default() += 1;
        }
        let mut json = serde_json::to_vec(&self).expect("an answer is JSON");
        // It stays in memory until the sender has received it.
        json.shrink_to_fit();
        RecordsAnswer { status, json: json.into(), counts }
    }
}

impl RecordsAnswer {
    /// Counts each record by its result.
    pub(super) fn count(&self, metrics: &Metrics) {
        for (&result, &records) in &self.counts {
            metrics.collector_records.get_or_create(&ResultLabel { result }).inc_by(records);
        }
    }
}

/// The start of a text, without control characters, which take six bytes each in JSON.
fn printable(text: &str) -> String {
    let kept = cut(text, WHY_BYTES_MAX);
    let mut printable: String =
        kept.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if kept.len() < text.len() {
        printable.push('…');
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::collector_limits::ANSWER_RECORD_BYTES;

    #[test]
    fn h8_no_record_takes_more_of_the_answer_than_its_bound_whatever_its_fault_quotes() {
        for letter in ["\"", "\\", "\u{1}", "\u{7f}", "\u{9f}", "ß", "\u{10ffff}", "x"] {
            let mut results = RecordResults::default();
            for _ in 0..100 {
                results.add(Err(RecordFault::Malformed(letter.repeat(60_000))));
                results.add(Err(RecordFault::OutOfBounds(i64::MIN)));
                results.add(Ok(Some(EventId::from_u128(u128::MAX))));
            }
            let answer = results.finish();
            assert!(answer.json.len() < 300 * ANSWER_RECORD_BYTES, "{letter:?}");
            let body: serde_json::Value = serde_json::from_slice(&answer.json).unwrap();
            assert_eq!((answer.status.as_u16(), body["rejected"].as_u64()), (207, Some(200)));
            let longest = serde_json::to_vec(&body["records"][297]).unwrap().len();
            assert!(longest + 5 < ANSWER_RECORD_BYTES, "{letter:?}: {longest}");
        }
    }
}
