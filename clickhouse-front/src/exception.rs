//! ClickHouse's exceptions as the HTTP protocol shows them: code, text, status.
//! Pure. The text of the engine is kept unchanged.

use hyper::StatusCode;

/// An exception of ClickHouse, or of the front in ClickHouse's form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Exception {
    /// ClickHouse's number for it.
    pub(crate) code: u16,
    /// The whole message: `Code: N. DB::Exception: … (NAME)`.
    pub(crate) text: String,
}

impl Exception {
    /// An exception of the front itself.
    pub(crate) fn new(code: u16, message: &str, name: &str) -> Self {
        Self { code, text: format!("Code: {code}. DB::Exception: {message}. ({name})") }
    }

    /// Reads what the engine reported; a text without a code counts as 1001 (`STD_EXCEPTION`).
    pub(crate) fn from_engine(text: &str) -> Self {
        let text = unwrap_outer(text.trim());
        match code_of(text) {
            Some(code) => Self { code, text: text.to_owned() },
            None => Self::new(1001, text, "STD_EXCEPTION"),
        }
    }

    /// The status ClickHouse answers with for this code.
    pub(crate) fn status(&self) -> StatusCode {
        status_of(self.code)
    }

    /// The text as an answer's body, with the version ClickHouse ends it with.
    pub(crate) fn body(&self, version: &str) -> String {
        if self.text.contains("(version ") {
            return format!("{}\n", self.text);
        }
        format!("{} (version {version} (official build))\n", self.text)
    }
}

fn code_of(text: &str) -> Option<u16> {
    let rest = text.strip_prefix("Code: ")?;
    rest.split('.').next()?.parse().ok()
}

/// The in-process engine wraps some exceptions in a copy of themselves; ClickHouse's server does not.
fn unwrap_outer(text: &str) -> &str {
    let Some((outer, rest)) = text.split_once(" DB::Exception: ") else { return text };
    if !rest.starts_with(outer) {
        return text;
    }
    match rest.rfind("). (") {
        Some(end) => unwrap_outer(&rest[..=end]),
        None => text,
    }
}

/// ClickHouse's `exceptionCodeToHTTPStatus`.
fn status_of(code: u16) -> StatusCode {
    match code {
        194 => StatusCode::UNAUTHORIZED,
        192 | 193 | 497 | 512 | 516 => StatusCode::FORBIDDEN,
        6 | 8 | 15 | 25 | 26 | 27 | 36 | 37 | 38 | 41 | 44 | 53 | 62 | 72 | 117 | 123 | 167
        | 168 | 223 | 321 | 376 | 427 | 441 | 675 | 676 => StatusCode::BAD_REQUEST,
        46 | 47 | 50 | 56 | 60 | 63 | 73 | 78 | 81 | 115 | 152 | 336 | 511 => StatusCode::NOT_FOUND,
        _ => status_of_rare(code),
    }
}

fn status_of_rare(code: u16) -> StatusCode {
    match code {
        48 => StatusCode::NOT_IMPLEMENTED,
        76 | 209 | 439 => StatusCode::SERVICE_UNAVAILABLE,
        159 => StatusCode::REQUEST_TIMEOUT,
        229 => StatusCode::PAYLOAD_TOO_LARGE,
        381 => StatusCode::LENGTH_REQUIRED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_clickhouses_statuses() {
        let check = |code: u16, status: u16| {
            assert_eq!(Exception::new(code, "x", "X").status().as_u16(), status, "{code}");
        };
        check(60, 404);
        check(81, 404);
        check(115, 404);
        check(62, 400);
        check(27, 400);
        check(516, 403);
        check(194, 401);
        check(164, 500);
        check(40, 500);
        check(395, 500);
        check(159, 408);
        check(48, 501);
    }

    #[test]
    fn an_exception_in_a_copy_of_itself_is_unwrapped() {
        let text = "Code: 164. DB::Exception: Code: 164. DB::Exception: Cannot modify. (READONLY) (version 26.7.2.1). (READONLY)";
        let exception = Exception::from_engine(text);
        assert_eq!(
            exception.text,
            "Code: 164. DB::Exception: Cannot modify. (READONLY) (version 26.7.2.1)"
        );
        assert_eq!(exception.code, 164);
    }

    #[test]
    fn the_body_names_the_version_once() {
        let exception = Exception::new(60, "no table", "UNKNOWN_TABLE");
        assert_eq!(
            exception.body("26.7.2.1"),
            "Code: 60. DB::Exception: no table. (UNKNOWN_TABLE) (version 26.7.2.1 (official build))\n"
        );
        assert_eq!(Exception::from_engine("boom").code, 1001);
    }
}
