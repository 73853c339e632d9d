//! One HTTP request as ClickHouse understands it: which parameters are the
//! protocol's, which belong to the query, and that all others are settings. Pure.

use percent_encoding::percent_decode;

use crate::auth::Credentials;
use crate::exception::Exception;
use crate::http::content_coding::ContentCoding;
use crate::http::multipart_form::FormField;
use crate::session::SessionRequest;

/// Parameters of ClickHouse's HTTP protocol that this front ignores.
const IGNORED: [&str; 3] = ["quota_key", "stacktrace", "role"];
/// Largest `buffer_size` that is taken; a larger result needs `wait_end_of_query`.
const BUFFER_BYTES_MAX: usize = 64 << 20;
/// ClickHouse's `http_zlib_compression_level`.
const LEVEL: u8 = 3;

/// What a request asks for, apart from its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct QueryRequest {
    /// The `query` parameter.
    pub(crate) query: String,
    /// Database to run in.
    pub(crate) database: Option<String>,
    /// Output format if the query names none.
    pub(crate) format: Option<String>,
    /// The client's name for the query.
    pub(crate) query_id: Option<String>,
    /// `wait_end_of_query`, if it is given.
    pub(crate) wait_end: Option<bool>,
    /// The answer is to be compressed in ClickHouse's blocks.
    pub(crate) compress: bool,
    /// The body is compressed in ClickHouse's blocks.
    pub(crate) decompress: bool,
    /// The best content coding that the client accepts and the front knows (`Accept-Encoding`).
    pub(crate) accepts: Option<ContentCoding>,
    /// `buffer_size`, if it is given.
    pub(crate) buffer: Option<usize>,
    /// The revision of the client's protocol, which shapes `Native`; 0 if it names none.
    pub(crate) revision: u32,
    /// The session it belongs to.
    pub(crate) session: Option<SessionRequest>,
    /// Tables that come with the request.
    pub(crate) external_tables: Vec<ExternalTable>,
    /// Values for `{name:Type}`, in ClickHouse's escaped form.
    pub(crate) params: Vec<(String, String)>,
    /// Settings, in the order given.
    pub(crate) settings: Vec<(String, String)>,
    /// The sender.
    pub(crate) credentials: Credentials,
    /// Only reading is allowed, because of the method.
    pub(crate) read_only: bool,
}

/// A table that comes with a request, for its query alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExternalTable {
    /// Its name.
    pub(crate) name: String,
    /// Its columns, as in `CREATE TABLE`.
    pub(crate) structure: String,
    /// Format of its data.
    pub(crate) format: String,
    /// Its data.
    pub(crate) data: Vec<u8>,
}

impl ExternalTable {
    /// The statement that makes its table.
    pub(crate) fn create_statement(&self) -> String {
        format!("CREATE TEMPORARY TABLE {} ({})", quote(&self.name, '`'), self.structure)
    }

    /// The statement that fills it.
    pub(crate) fn insert_statement(&self) -> String {
        format!("INSERT INTO {}", quote(&self.name, '`'))
    }

    /// The statement that drops it.
    pub(crate) fn drop_statement(&self) -> String {
        format!("DROP TEMPORARY TABLE IF EXISTS {}", quote(&self.name, '`'))
    }
}

impl QueryRequest {
    /// Reads the URL's parameters; headers come after, by [`QueryRequest::header`].
    pub(crate) fn from_url_query(text: &str) -> Self {
        let mut request = Self::default();
        for (name, value) in pairs(text) {
            request.parameter(name, value);
        }
        request
    }

    /// Reads one parameter, of the URL or of a form.
    pub(crate) fn parameter(&mut self, name: String, value: String) {
        let yes = matches!(value.as_str(), "1" | "true");
        match name.as_str() {
            "" => {}
            "query" => self.query.push_str(&value),
            "database" if !value.is_empty() => self.database = Some(value),
            "default_format" if !value.is_empty() => self.format = Some(value),
            "query_id" if !value.is_empty() => self.query_id = Some(value),
            "database" | "default_format" | "query_id" => {}
            "wait_end_of_query" => self.wait_end = Some(yes),
            "buffer_size" => self.buffer = Some(value.parse().unwrap_or(0)),
            "client_protocol_version" => self.revision = value.parse().unwrap_or(0),
            "session_id" if value.is_empty() => {}
            "session_id" => self.session.get_or_insert_default().id = value,
            "session_timeout" => self.session.get_or_insert_default().timeout = Some(value),
            "session_check" => self.session.get_or_insert_default().check = yes,
            "close_session" => self.session.get_or_insert_default().close = yes,
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

    /// Reads one header, named in lower case; a header's database and format override the URL's.
    pub(crate) fn header(&mut self, name: &str, value: &str) {
        let value = value.to_owned();
        match name {
            "x-clickhouse-database" if !value.is_empty() => self.database = Some(value),
            "x-clickhouse-format" if !value.is_empty() => self.format = Some(value),
            "x-clickhouse-query-id" if self.query_id.is_none() => self.query_id = Some(value),
            "x-clickhouse-user" => self.credentials.headers.get_or_insert_default().0 = value,
            "x-clickhouse-key" => self.credentials.headers.get_or_insert_default().1 = value,
            "authorization" => self.credentials.authorization = Some(value),
            "accept-encoding" => self.accepts = ContentCoding::accepted(&value),
            _ => {}
        }
    }

    /// The value of a setting in the request; the last one if it is given more than once.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Whether a setting is given and is on.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        matches!(self.setting(name), Some("1" | "true"))
    }

    /// Whether the answer is held until the query has ended, so that an error has its status. The
    /// parameter `wait_end_of_query` precedes the setting.
    pub(crate) fn waits_for_end(&self) -> bool {
        self.wait_end.unwrap_or_else(|| self.is_on("http_wait_end_of_query"))
    }

    /// Bytes of an answer that are held until more of them come or the query ends. The parameter
    /// `buffer_size` precedes the setting.
    pub(crate) fn buffer_bytes(&self) -> usize {
        let setting = || self.setting("http_response_buffer_size")?.parse().ok();
        self.buffer.or_else(setting).unwrap_or(0).min(BUFFER_BYTES_MAX)
    }

    /// The content coding of the answer and its level, unless a setting forbids one.
    pub(crate) fn coding(&self) -> Option<(ContentCoding, u8)> {
        let forbidden = matches!(self.setting("enable_http_compression"), Some("0" | "false"));
        let level = self.setting("http_zlib_compression_level").and_then(|text| text.parse().ok());
        self.accepts.filter(|_| !forbidden).map(|coding| (coding, level.unwrap_or(LEVEL)))
    }

    /// The session, if one is named; its other parameters alone name none.
    pub(crate) fn session(&self) -> Option<&SessionRequest> {
        self.session.as_ref().filter(|session| !session.id.is_empty())
    }

    /// Reads the fields of a form: parameters, and the data of external tables, whose structure
    /// and format are parameters named after the table.
    ///
    /// # Errors
    /// `BAD_ARGUMENTS` (36) for a table without structure, `BAD_REQUEST_PARAMETER` (408) for a
    /// parameter that is not text.
    pub(crate) fn add_form(&mut self, fields: Vec<FormField>) -> Result<(), Exception> {
        let (files, plain): (Vec<_>, Vec<_>) = fields.into_iter().partition(|field| field.file);
        for field in plain {
            let value = String::from_utf8(field.value).map_err(|_| {
                let text = format!("The field {} of the form is not UTF-8", field.name);
                Exception::new(408, &text, "BAD_REQUEST_PARAMETER")
            })?;
            self.parameter(field.name, value);
        }
        for FormField { name, value: data, .. } in files {
            let structure = match (self.take(&name, "structure"), self.take(&name, "types")) {
                (Some(structure), _) => structure,
                (None, Some(types)) => numbered(&types),
                (None, None) => {
                    let text = format!(
                        "Neither structure nor types are given for the external table {name}: use the parameter {name}_structure or {name}_types"
                    );
                    return Err(Exception::new(36, &text, "BAD_ARGUMENTS"));
                }
            };
            let format = self.take(&name, "format").unwrap_or_else(|| "TabSeparated".to_owned());
            self.external_tables.push(ExternalTable { name, structure, format, data });
        }
        Ok(())
    }

    fn take(&mut self, table: &str, what: &str) -> Option<String> {
        let name = format!("{table}_{what}");
        let at = self.settings.iter().position(|(own, _)| *own == name)?;
        Some(self.settings.remove(at).1)
    }

    /// The statements that set every setting, in the order given.
    ///
    /// # Errors
    /// `UNKNOWN_SETTING` (115) for a name that cannot be a setting's.
    pub(crate) fn set_statements(&self) -> Result<Vec<String>, Exception> {
        let mut statements = Vec::new();
        for (name, value) in &self.settings {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
            if !name.bytes().all(plain) {
                let text = format!(
                    "Setting {name} is neither a builtin setting nor started with the prefix 'SQL_' registered for user-defined settings"
                );
                return Err(Exception::new(115, &text, "UNKNOWN_SETTING"));
            }
            statements.push(set(name, value));
        }
        Ok(statements)
    }

    /// The statement that enters the database, if one is named.
    pub(crate) fn use_statement(&self) -> Option<String> {
        self.database.as_ref().map(|name| format!("USE {}", quote(name, '`')))
    }
}

/// The statement that sets `name`, which must be a setting's.
pub(crate) fn set(name: &str, value: &str) -> String {
    format!("SET {name} = {}", quote(value, '\''))
}

/// Puts `text` in ClickHouse's quotes.
pub(crate) fn quote(text: &str, mark: char) -> String {
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

/// Columns `_1`, `_2`, … of these types; a comma in parentheses is a type's own.
fn numbered(types: &str) -> String {
    let (mut columns, mut depth) = (vec![String::new()], 0_usize);
    for letter in types.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                columns.push(String::new());
                continue;
            }
            _ => {}
        }
        columns.last_mut().into_iter().for_each(|column| column.push(letter));
    }
    let columns = (1..).zip(columns).map(|(number, kind)| format!("_{number} {}", kind.trim()));
    columns.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_the_protocol_are_not_settings() {
        let request = QueryRequest::from_url_query(
            "query=SELECT+%7Bx%3AString%7D&database=d&default_format=CSV&wait_end_of_query=1&compress=0&decompress=1\
             &query_id=q&param_x=a%5Cnb&max_threads=2&session_id=s&&user=u&password=p%26",
        );
        assert_eq!(request.query, "SELECT {x:String}");
        assert_eq!(request.database.as_deref(), Some("d"));
        assert_eq!(request.format.as_deref(), Some("CSV"));
        assert!(request.waits_for_end() && request.decompress && !request.compress);
        assert_eq!(request.params, [("x".to_owned(), "a\\nb".to_owned())]);
        assert_eq!(request.settings, [("max_threads".to_owned(), "2".to_owned())]);
        assert_eq!(request.session().unwrap().id, "s");
        assert_eq!(QueryRequest::from_url_query("session_timeout=5").session(), None);
        assert_eq!(request.credentials.url, Some(("u".to_owned(), "p&".to_owned())));
    }

    #[test]
    fn a_setting_cannot_break_out_of_its_statement() {
        let request =
            QueryRequest::from_url_query("max_threads=1'%2C+readonly%3D'0&database=a%60%3B+DROP");
        let sets = request.set_statements().unwrap();
        assert_eq!(sets, ["SET max_threads = '1\\', readonly=\\'0'"]);
        assert_eq!(request.use_statement().unwrap(), "USE `a\\`; DROP`");
        let odd = QueryRequest::from_url_query("a%3D1%2Cb=2");
        assert_eq!(odd.set_statements().unwrap_err().code, 115);
    }

    #[test]
    fn settings_hold_an_answer_unless_parameters_say_otherwise() {
        let held = |text: &str| {
            let request = QueryRequest::from_url_query(text);
            (request.waits_for_end(), request.buffer_bytes())
        };
        assert_eq!(held(""), (false, 0));
        let settings = "http_wait_end_of_query=1&http_response_buffer_size=7";
        assert_eq!(held(settings), (true, 7));
        assert_eq!(held(&format!("wait_end_of_query=0&buffer_size=9&{settings}")), (false, 9));
        assert_eq!(held("buffer_size=1000000000000"), (false, BUFFER_BYTES_MAX));
    }

    #[test]
    fn headers_override_the_url() {
        let mut request = QueryRequest::from_url_query("database=a");
        request.header("x-clickhouse-database", "b");
        request.header("accept-encoding", "gzip, LZ4;q=1");
        assert_eq!(request.database.as_deref(), Some("b"));
        assert_eq!(request.coding(), Some((ContentCoding::Lz4, 3)));
        request.parameter("enable_http_compression".to_owned(), "0".to_owned());
        assert_eq!(request.coding(), None);
    }

    #[test]
    fn parameters_of_external_tables_are_not_settings() {
        let mut request = QueryRequest::from_url_query(
            "a_structure=n+UInt8&b_types=UInt8,Array(String)&max_threads=1",
        );
        let field = |name: &str, file, value: &[u8]| FormField {
            name: name.to_owned(),
            file,
            value: value.to_owned(),
        };
        let fields =
            vec![field("a", true, b"1"), field("b", true, b""), field("a_format", false, b"CSV")];
        request.add_form(fields).unwrap();
        assert_eq!(request.settings, [("max_threads".to_owned(), "1".to_owned())]);
        let [a, b] = request.external_tables.as_slice() else { panic!("{request:?}") };
        assert_eq!(a.create_statement(), "CREATE TEMPORARY TABLE `a` (n UInt8)");
        assert_eq!((a.format.as_str(), b.format.as_str()), ("CSV", "TabSeparated"));
        assert_eq!(b.structure, "_1 UInt8, _2 Array(String)");
        assert_eq!(request.add_form(vec![field("c", true, b"")]).unwrap_err().code, 36);
    }
}
