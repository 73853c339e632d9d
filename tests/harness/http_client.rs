//! One HTTP request at a time, redirects not followed.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::blocking::{Client, Response};
use reqwest::{Method, Url};

/// A complete response.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header names in lower case, and their values.
    pub headers: Vec<(String, String)>,
    /// The body, as text.
    pub body: String,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// The client of all tests. One instance, since each has a thread.
fn client() -> &'static Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(30))
            // A test may kill the server of a kept connection.
            .pool_max_idle_per_host(0)
            .build()
            .expect("a client can be made")
    })
}

/// Sends a request.
///
/// # Errors
/// The client's error without a response.
pub fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Result<Answer, String> {
    let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
    let url = Url::parse(url).map_err(|error| format!("{url}: {error}"))?;
    let mut request = client().request(method, url).body(body.into());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().and_then(read).map_err(|error| format!("{error:?}"))
}

fn read(response: Response) -> reqwest::Result<Answer> {
    let status = response.status().as_u16();
    let text = |value: &reqwest::header::HeaderValue| {
        String::from_utf8_lossy(value.as_bytes()).into_owned()
    };
    let headers =
        response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let body = String::from_utf8_lossy(&response.bytes()?).into_owned();
    Ok(Answer { status, headers, body })
}

/// Sends GET without additional headers.
///
/// # Errors
/// Like [`request`].
pub fn get(url: &str) -> Result<Answer, String> {
    request("GET", url, &[], "")
}

/// The value of a metric from an admin port.
pub fn metric(admin: &str, name: &str) -> Option<f64> {
    let text = get(&format!("{admin}/metrics")).ok()?.body;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
