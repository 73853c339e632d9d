//! The results of the lines of access logs, from the bytes of a file to ids and facts.

mod combined_lines;
mod golden_ids;
mod json_lines;

use std::path::Path;

use crate::client::proxies::{Networks, Proxies, ProxyHeader};
use crate::import::access_log_file::{AccessLogFile, LineRead};
use crate::import::access_log_line::{AccessLogLine, MalformedLine};

const NOW: i64 = 1_764_000_000_000_000;

type Parse = for<'a> fn(&'a str, i64, &Proxies) -> Result<AccessLogLine<'a>, MalformedLine>;

/// Calls `visit` with the bytes of each line of a file and what is read of them.
fn lines(
    file: &Path,
    parse: Parse,
    mut visit: impl FnMut(&[u8], Result<AccessLogLine<'_>, MalformedLine>),
) {
    let mut log = AccessLogFile::open(file).unwrap();
    loop {
        match log.read_line().unwrap() {
            LineRead::End => return,
            LineRead::TooLong => {}
            LineRead::Line(line) => {
                let text = String::from_utf8_lossy(line);
                visit(line, parse(&text, NOW, &Proxies::default()));
            }
        }
    }
}

/// Proxies of a network that write `X-Forwarded-For`.
fn trusted(network: &str) -> Proxies {
    let trusted: Networks = network.parse().unwrap();
    Proxies { trusted, header: ProxyHeader::XForwardedFor }
}
