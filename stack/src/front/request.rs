//! One HTTP request as ClickHouse understands it: which parameters are the
//! protocol's, which belong to the query, and that all others are settings. Pure.

use percent_encoding::percent_decode;

use super::auth::Credentials;
use super::errors::Exception;

/// Parameters of ClickHouse's HTTP protocol that mean nothing to this front.
const IGNORED: [&str; 9] = [
    "quota_key",
    "stacktrace",
    "buffer_size",
    "session_id",
    "session_timeout",
    "session_check",
    "client_protocol_version",
    "close_session",
    "role",
];

/// What a request asks for, apart from its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// The `query` parameter.
    pub(super) query: String,
    /// Database to run in.
    pub(super) database: Option<String>,
    /// Output format if the query names none.
    pub(super) format: Option<String>,
    /// The client's name for the query.
    pub(super) query_id: Option<String>,
    /// Hold the answer until the query is done, so that an error has its status.
    pub(super) wait_end: bool,
    /// The answer is to be packed in ClickHouse's blocks.
    pub(super) compress: bool,
    /// The body is packed in ClickHouse's blocks.
    pub(super) decompress: bool,
    /// The answer may be one LZ4 frame after another (`Accept-Encoding: lz4`).
    pub(super) lz4_frames: bool,
    /// Values for `{name:Type}`, in ClickHouse's escaped form.
    pub(super) params: Vec<(String, String)>,
    /// Settings, in the order given.
    pub(super) settings: Vec<(String, String)>,
    /// Sender.
    pub(super) credentials: Credentials,
    /// Only reading is allowed, because of the method.
    pub(super) read_only: bool,
}

impl Request {
    /// Reads the URL's parameters; headers come after, by [`Request::header`].
    pub(super) fn from_url_query(text: &str) -> Self {
        let mut request = Self::default();
        for (name, value) in pairs(text) {
            request.parameter(name, value);
        }
        request
    }

    /// Takes one parameter, of the URL or of a form.
    pub(super) fn parameter(&mut self, name: String, value: String) {
        let yes = matches!(value.as_str(), "1" | "true");
        match name.as_str() {
            "" => {}
            "query" => self.query.push_str(&value),
            "database" if !value.is_empty() => self.database = Some(value),
            "default_format" if !value.is_empty() => self.format = Some(value),
            "query_id" if !value.is_empty() => self.query_id = Some(value),
            "database" | "default_format" | "query_id" => {}
            "wait_end_of_query" => self.wait_end = yes,
            "compress" => self.compress = yes,
            "decompress" => self.decompress = yes,
            "user" => self.credentials.url.get_or_insert_default().0 = value,
            "password" => self.credentials.url.get_or_insert_default().1 = value,
            other if IGNORED.contains(&other) => {}
            other => match other.strip_prefix("param_") {
                Some(param) => self.params.push((param.to_owned(), value)),
                None => self.settings.push((name, value)),
            },
        }
    }

    /// Takes one header, named in lower case; a header's database and format win over the URL's.
    pub(super) fn header(&mut self, name: &str, value: &str) {
        let value = value.to_owned();
        match name {
            "x-clickhouse-database" if !value.is_empty() => self.database = Some(value),
            "x-clickhouse-format" if !value.is_empty() => self.format = Some(value),
            "x-clickhouse-query-id" if self.query_id.is_none() => self.query_id = Some(value),
            "x-clickhouse-user" => self.credentials.headers.get_or_insert_default().0 = value,
            "x-clickhouse-key" => self.credentials.headers.get_or_insert_default().1 = value,
            "authorization" => self.credentials.authorization = Some(value),
            "accept-encoding" => {
                let mut encodings =
                    value.split(',').map(|one| one.split(';').next().unwrap_or("").trim());
                self.lz4_frames = encodings.any(|one| one.eq_ignore_ascii_case("lz4"));
            }
            _ => {}
        }
    }

    /// The statement that sets every setting, read-only first so that nothing undoes it.
    ///
    /// # Errors
    /// `UNKNOWN_SETTING` (115) for a name that cannot be a setting's.
    pub(super) fn set_statements(&self, read_only: bool) -> Result<Vec<String>, Exception> {
        let mut statements = Vec::new();
        if read_only {
            statements.push("SET readonly = 2".to_owned());
        }
        for (name, value) in &self.settings {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
            if !name.bytes().all(plain) {
                let text = format!(
                    "Setting {name} is neither a builtin setting nor started with the prefix 'SQL_' registered for user-defined settings"
                );
                return Err(Exception::new(115, &text, "UNKNOWN_SETTING"));
            }
            statements.push(format!("SET {name} = {}", quote(value, '\'')));
        }
        Ok(statements)
    }

    /// The statement that enters the database, if one is named.
    pub(super) fn use_statement(&self) -> Option<String> {
        self.database.as_ref().map(|name| format!("USE {}", quote(name, '`')))
    }
}

/// Puts `text` in ClickHouse's quotes.
fn quote(text: &str, mark: char) -> String {
    let mut out = String::from(mark);
    for letter in text.chars() {
        if letter == mark || letter == '\\' {
            out.push('\\');
        }
        out.push(letter);
    }
    out.push(mark);
    out
}

fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode(spaced.as_bytes()).decode_utf8_lossy().into_owned()
}

/// The boundary of a `multipart/form-data` content type.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = rest.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?;
    Some(value.trim_matches('"').to_owned())
}

/// Reads the fields of a form, in which the official clients send query parameters.
///
/// # Errors
/// `BAD_REQUEST_PARAMETER` (408) for a broken form, `NOT_IMPLEMENTED` (48) for a file
/// (an external table).
pub(super) fn form(body: &[u8], boundary: &str) -> Result<Vec<(String, String)>, Exception> {
    let broken = || {
        Exception::new(408, "The multipart form of the request is broken", "BAD_REQUEST_PARAMETER")
    };
    let text = std::str::from_utf8(body).map_err(|_| broken())?;
    let delimiter = format!("--{boundary}");
    let mut fields = Vec::new();
    let mut parts = text.split(delimiter.as_str());
    parts.next();
    for part in parts {
        if part.starts_with("--") {
            return Ok(fields);
        }
        let (head, value) = part.split_once("\r\n\r\n").ok_or_else(broken)?;
        let value = value.strip_suffix("\r\n").ok_or_else(broken)?;
        if head.contains("filename=") {
            return Err(Exception::new(
                48,
                "External tables are not supported by the stack's front",
                "NOT_IMPLEMENTED",
            ));
        }
        let name = head.split_once("name=\"").and_then(|(_, rest)| rest.split_once('"'));
        fields.push((name.ok_or_else(broken)?.0.to_owned(), value.to_owned()));
    }
    Err(broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_the_protocol_are_told_from_settings() {
        let request = Request::from_url_query(
            "query=SELECT+%7Bx%3AString%7D&database=d&default_format=CSV&wait_end_of_query=1&compress=0&decompress=1\
             &query_id=q&param_x=a%5Cnb&max_threads=2&session_id=s&&user=u&password=p%26",
        );
        assert_eq!(request.query, "SELECT {x:String}");
        assert_eq!(request.database.as_deref(), Some("d"));
        assert_eq!(request.format.as_deref(), Some("CSV"));
        assert!(request.wait_end && request.decompress && !request.compress);
        assert_eq!(request.params, [("x".to_owned(), "a\\nb".to_owned())]);
        assert_eq!(request.settings, [("max_threads".to_owned(), "2".to_owned())]);
        assert_eq!(request.credentials.url, Some(("u".to_owned(), "p&".to_owned())));
    }

    #[test]
    fn a_setting_cannot_break_out_of_its_statement() {
        let request =
            Request::from_url_query("max_threads=1'%2C+readonly%3D'0&database=a%60%3B+DROP");
        let sets = request.set_statements(true).unwrap();
        assert_eq!(sets, ["SET readonly = 2", "SET max_threads = '1\\', readonly=\\'0'"]);
        assert_eq!(request.use_statement().unwrap(), "USE `a\\`; DROP`");
        let odd = Request::from_url_query("a%3D1%2Cb=2");
        assert_eq!(odd.set_statements(false).unwrap_err().code, 115);
    }

    #[test]
    fn headers_win_over_the_url() {
        let mut request = Request::from_url_query("database=a");
        request.header("x-clickhouse-database", "b");
        request.header("accept-encoding", "gzip, LZ4;q=1");
        assert_eq!(request.database.as_deref(), Some("b"));
        assert!(request.lz4_frames);
    }

    #[test]
    fn a_form_gives_its_fields() {
        let marker = boundary("multipart/form-data; boundary=xyz").unwrap();
        let body = b"--xyz\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT\r\n1\r\n--xyz\r\nContent-Disposition: form-data; name=\"param_a\"\r\n\r\n1\r\n--xyz--\r\n";
        let fields = form(body, &marker).unwrap();
        assert_eq!(fields[0], ("query".to_owned(), "SELECT\r\n1".to_owned()));
        assert_eq!(fields[1], ("param_a".to_owned(), "1".to_owned()));
        assert_eq!(form(b"--xyz\r\nbroken", "xyz").unwrap_err().code, 408);
        assert_eq!(boundary("text/plain"), None);
    }
}
