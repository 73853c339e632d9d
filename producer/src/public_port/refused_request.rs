//! Why the HTTP parser refused a request, before the service received it.

/// The fault of the request. The parser answers 400, or 431 if the head is too long, and no click is
/// recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedRequest {
    /// No HTTP method, such as a TLS handshake on a port without TLS.
    Method,
    /// A path or query with bytes that no URL has: spaces, quotation marks, or bytes that are not UTF-8.
    Uri,
    /// No HTTP version, or HTTP/2.
    Version,
    /// A header with bytes that no header has, or a wrong length of the body.
    Header,
    /// A head that is longer than its limit.
    TooLong,
    /// Anything else that the parser refuses.
    Other,
}

impl RefusedRequest {
    /// The cause, if the parser refused a request; `None` if the connection ended for another reason. Most
    /// causes of hyper differ only in their texts.
    pub(super) fn of(error: &hyper::Error) -> Option<Self> {
        if !error.is_parse() {
            return None;
        }
        if error.is_parse_too_large() {
            return Some(Self::TooLong);
        }
        let text = error.to_string();
        let causes = [
            ("method", Self::Method),
            ("URI", Self::Uri),
            ("version", Self::Version),
            ("header", Self::Header),
            ("content-length", Self::Header),
            ("transfer-encoding", Self::Header),
        ];
        let cause = causes.into_iter().find(|(word, _)| text.contains(word));
        Some(cause.map_or(Self::Other, |(_, cause)| cause))
    }

    /// Stable name: metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Uri => "uri",
            Self::Version => "version",
            Self::Header => "header",
            Self::TooLong => "too_long",
            Self::Other => "other",
        }
    }
}
