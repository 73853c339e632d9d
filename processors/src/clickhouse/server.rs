//! The ClickHouse server: where it is, its clients, and the translation of its errors.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use broker::ServerError;
use clickhouse::Client;
use clickhouse::error::Error;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use service::shown_url::without_secrets;

use crate::clickhouse::error_codes;

/// Where the tables are, and the user.
#[derive(Clone)]
pub struct Server {
    /// Base URL of the HTTP interface.
    pub url: String,
    /// User.
    pub user: String,
    /// Password.
    pub password: String,
    /// Database of the tables.
    pub database: String,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}/{}", self.user, without_secrets(&self.url), self.database)
    }
}

/// The password that a file holds; a newline at its end is ignored.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn read_password(file: &Path) -> std::io::Result<String> {
    Ok(std::fs::read_to_string(file)?.trim_end_matches(['\r', '\n']).to_owned())
}

/// What all clients with TLS share: connections, and the certificates of the system, which take tens of
/// milliseconds to read.
static TLS_TRANSPORT: LazyLock<Client> = LazyLock::new(Client::default);

/// What all clients without TLS share: connections.
static PLAIN_TRANSPORT: LazyLock<Client> = LazyLock::new(|| {
    let mut connector = HttpConnector::new();
    connector.set_keepalive(Some(TCP_KEEPALIVE));
    let mut builder = HyperClient::builder(TokioExecutor::new());
    Client::with_http_client(builder.pool_idle_timeout(POOL_IDLE_TIMEOUT).build(connector))
});

/// As the client's own transport. Servers close a connection that is idle for 3 s or longer.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the clients of a URL share.
fn transport(url: &str) -> &'static LazyLock<Client> {
    let is_plain = url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    if is_plain { &PLAIN_TRANSPORT } else { &TLS_TRANSPORT }
}

impl Server {
    /// A client that names no database.
    pub(crate) fn bare(&self) -> Client {
        let transport: &Client = transport(&self.url);
        transport
            .clone()
            .with_url(&self.url)
            .with_user(&self.user)
            .with_password(&self.password)
            .with_product_info("clicktrail-processors", env!("CARGO_PKG_VERSION"))
    }

    /// A client of the database.
    pub fn client(&self) -> Client {
        self.bare().with_database(&self.database)
    }
}

/// Translates the client's errors; no other file does.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum, translated here only")]
pub fn server_error(error: Error) -> ServerError {
    match error {
        Error::BadResponse(text) => error_codes::classify(&text),
        Error::Network(_) | Error::TimedOut => {
            ServerError::retryable("clickhouse_unreachable", causes(&error))
        }
        Error::SchemaMismatch(text) => ServerError::fatal(
            "clickhouse_schema",
            format!("the table is not as this version expects it: run `processors setup` ({text})"),
        ),
        other => ServerError::fatal("clickhouse_client", causes(&other)),
    }
}

/// The text with which the server refused a statement; `None` if it did not answer.
pub(super) fn refusal_text(error: &Error) -> Option<&str> {
    if let Error::BadResponse(text) = error { Some(text) } else { None }
}

/// The answer of a server; one that does not answer within `time` counts as one that fails.
pub(crate) async fn in_time<T>(
    time: Duration,
    answer: impl Future<Output = Result<T, ServerError>>,
) -> Result<T, ServerError> {
    tokio::time::timeout(time, answer).await.unwrap_or_else(|_| {
        let text = format!("the server did not answer within {} s", time.as_secs());
        Err(ServerError::retryable("clickhouse_timeout", text))
    })
}

/// As [`in_time`], of a statement.
pub(super) async fn within<T>(
    time: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, ServerError> {
    in_time(time, async { answer.await.map_err(server_error) }).await
}

/// An error with its causes, which `Display` of a network error does not print.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
impl Server {
    /// What a test listens to in place of a server.
    pub(crate) fn behind(listener: &std::net::TcpListener) -> Self {
        Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            user: String::new(),
            password: String::new(),
            database: String::new(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test bounds the time of many clients")]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_client_without_tls_reads_no_certificates() {
        for plain in ["http://127.0.0.1:8123", "HTTP://ch"] {
            assert!(std::ptr::eq(transport(plain), &PLAIN_TRANSPORT), "{plain}");
        }
        for other in ["https://ch:8443", "http:/", ""] {
            assert!(std::ptr::eq(transport(other), &TLS_TRANSPORT), "{other}");
        }
    }

    /// Each statement of a redrive makes a client.
    #[test]
    fn a_client_is_made_without_reading_the_certificates_again() {
        let server = Server {
            url: "https://127.0.0.1:1".to_owned(),
            user: "default".to_owned(),
            password: String::new(),
            database: "clicktrail".to_owned(),
        };
        drop(server.client());
        let began = Instant::now();
        for _ in 0..300 {
            drop(server.client());
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}
