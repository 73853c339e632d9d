//! Requests of operators to a running job. Pure.

/// What a running job is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobRequest {
    /// Nothing new.
    None,
    /// Stop, so that the job can be resumed.
    Cancel,
    /// Send at most so many records a second.
    Rate(u32),
}

/// Name of a request in the table.
pub const CANCEL: &str = "cancel";
/// Likewise.
pub const RATE: &str = "rate";

/// The request that holds after `requests` (names and values in the order of their times); a cancel
/// prevails over each rate. A request that this version does not know is skipped.
pub fn newest<'a>(requests: impl IntoIterator<Item = (&'a str, &'a str)>) -> JobRequest {
    let known = requests.into_iter().filter_map(|(name, value)| match name {
        CANCEL => Some(JobRequest::Cancel),
        RATE => value.parse().ok().filter(|rate| *rate > 0).map(JobRequest::Rate),
        _ => None,
    });
    known.fold(JobRequest::None, |held, next| match held {
        JobRequest::Cancel => JobRequest::Cancel,
        JobRequest::None | JobRequest::Rate(_) => next,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_rate_holds_and_a_cancel_prevails() {
        for (requests, expected) in [
            (&[][..], JobRequest::None),
            (&[("rate", "5"), ("rate", "7")], JobRequest::Rate(7)),
            (&[("rate", "5"), ("cancel", ""), ("rate", "7")], JobRequest::Cancel),
            (&[("rate", "5"), ("rate", "x"), ("rate", "0"), ("pause", "")], JobRequest::Rate(5)),
        ] {
            assert_eq!(newest(requests.iter().copied()), expected, "{requests:?}");
        }
    }
}
