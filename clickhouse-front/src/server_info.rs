//! What every answer reports about the server: version, time zone, host name.

use hyper::Response;
use hyper::header::HeaderValue;

/// The server as its answers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerInfo {
    /// The engine's version, for exceptions.
    pub(crate) version: String,
    /// Its time zone.
    pub(crate) timezone: String,
    /// The host's name.
    pub(crate) host: String,
}

impl ServerInfo {
    /// Adds the headers that every answer has.
    pub(crate) fn add_headers<B>(&self, response: &mut Response<B>) {
        let texts = [
            ("X-ClickHouse-Server-Display-Name", &self.host),
            ("X-ClickHouse-Timezone", &self.timezone),
        ];
        for (name, text) in texts {
            if let Ok(value) = HeaderValue::from_str(text) {
                response.headers_mut().insert(name, value);
            }
        }
    }
}
