//! One line of an access log that nginx writes as JSON.
//!
//! Pure. nginx needs this format; further fields are ignored:
//!
//! ```text
//! log_format clicktrail escape=json '{"msec":"$msec","remote_addr":"$remote_addr",'
//!   '"host":"$host","scheme":"$scheme","request_method":"$request_method",'
//!   '"request_uri":"$request_uri","server_protocol":"$server_protocol","status":"$status",'
//!   '"http_referer":"$http_referer","http_user_agent":"$http_user_agent",'
//!   '"http_accept_language":"$http_accept_language","http_dnt":"$http_dnt",'
//!   '"http_sec_gpc":"$http_sec_gpc"}';
//! ```
//!
//! `time_iso8601`, which has no milliseconds, may replace `msec`. Behind a trusted proxy, add
//! `"http_x_forwarded_for":"$http_x_forwarded_for"` (or `http_forwarded`), which names the client.

use std::borrow::Cow;
use std::collections::HashMap;

use jiff::Timestamp;
use schemas::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::client::proxies::{Networks, Proxies, ProxyHeader};
use crate::host_name;
use crate::import::access_log_line::{self, AccessLogLine, MalformedLine};
use crate::import::client_fields::ClientFields;
use crate::import::request_target::RequestTarget;

/// The variables of nginx, by their own names. Numbers may be without quotes.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    msec: Text<'a>,
    #[serde(borrow, default)]
    time_iso8601: Text<'a>,
    #[serde(borrow, default)]
    remote_addr: Text<'a>,
    #[serde(borrow, default)]
    host: Text<'a>,
    #[serde(borrow, default)]
    scheme: Text<'a>,
    #[serde(borrow, default)]
    request_method: Text<'a>,
    #[serde(borrow, default)]
    request_uri: Text<'a>,
    #[serde(borrow, default)]
    server_protocol: Text<'a>,
    #[serde(borrow, default)]
    status: Text<'a>,
    #[serde(borrow, default)]
    http_referer: Text<'a>,
    #[serde(borrow, default)]
    http_user_agent: Text<'a>,
    #[serde(borrow, default)]
    http_accept_language: Text<'a>,
    #[serde(borrow, default)]
    http_dnt: Text<'a>,
    #[serde(borrow, default)]
    http_sec_gpc: Text<'a>,
}

/// The value of a variable.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Text<'a> {
    #[serde(borrow)]
    String(Cow<'a, str>),
    Number(serde_json::Number),
    #[default]
    Nothing,
}

impl<'a> Text<'a> {
    /// `None` if nginx had no value.
    fn value(self) -> Option<Cow<'a, str>> {
        let text = match self {
            Self::String(text) => text,
            Self::Number(number) => number.to_string().into(),
            Self::Nothing => return None,
        };
        (!matches!(&*text, "" | "-")).then_some(text)
    }

    /// Whether nginx logged the header value `1`.
    fn flag(self) -> bool {
        self.value().as_deref() == Some("1")
    }
}

/// The same line, read for the header of proxies only: no content of that field makes the line malformed.
#[derive(Deserialize)]
struct LenientFields<'a>(#[serde(borrow)] HashMap<Cow<'a, str>, LenientText<'a>>);

/// A text, or anything else.
#[derive(Deserialize)]
#[serde(untagged)]
enum LenientText<'a> {
    #[serde(borrow)]
    Text(Text<'a>),
    Other(IgnoredAny),
}

/// The header in which these proxies name their clients; of several fields the last one.
fn forwarded<'a>(line: &'a str, proxies: &Proxies) -> Option<Cow<'a, str>> {
    if proxies.trusted == Networks::default() {
        return None;
    }
    let name = match proxies.header {
        ProxyHeader::XForwardedFor => "http_x_forwarded_for",
        ProxyHeader::Forwarded => "http_forwarded",
    };
    let LenientFields(mut fields) = serde_json::from_str(line).ok()?;
    match fields.remove(name)? {
        LenientText::Text(text) => text.value(),
        LenientText::Other(_) => None,
    }
}

/// Reads one line, without its end. `proxies` may name its client; `now` is microseconds since 1970.
///
/// # Errors
/// The first malformed field.
pub fn parse<'a>(
    line: &'a str,
    now: i64,
    proxies: &Proxies,
) -> Result<AccessLogLine<'a>, MalformedLine> {
    match line.trim_ascii_start().as_bytes() {
        [] => return Err(MalformedLine::Empty),
        // serde would read an array as the fields in their order.
        [first, ..] if *first != b'{' => return Err(MalformedLine::Json),
        _ => {}
    }
    let fields: Fields<'_> = serde_json::from_str(line).map_err(|_| MalformedLine::Json)?;
    let occurred_at = match (fields.msec.value(), fields.time_iso8601.value()) {
        (Some(msec), _) => micros(&msec),
        (None, Some(time)) => time.parse::<Timestamp>().ok().map(Timestamp::as_microsecond),
        (None, None) => None,
    };
    let occurred_at = occurred_at.ok_or(MalformedLine::Time)?;
    let status = match fields.status.value() {
        // The server sent no answer.
        None => 0,
        Some(text) => text.parse().ok().filter(|_| text.len() == 3).ok_or(MalformedLine::Status)?,
    };
    access_log_line::check_time(occurred_at, now)?;
    let target = fields.request_uri.value().and_then(Target::read).unwrap_or_default();
    let method = fields.request_method.value();
    let peer = fields.remote_addr.value();
    let forwarded = forwarded(line, proxies);
    let host = fields.host.value();
    let client =
        ClientFields { peer: peer.as_deref().unwrap_or_default(), forwarded: forwarded.as_deref() };
    Ok(AccessLogLine {
        occurred_at,
        client_ip: client.client(proxies),
        method: method.as_deref().map(Method::from_name).unwrap_or_default(),
        slug: target.slug,
        query: target.query,
        http_version: fields.server_protocol.value(),
        status,
        referer: fields.http_referer.value(),
        user_agent: fields.http_user_agent.value(),
        domain: target
            .host
            .and_then(host_name::domain)
            .or_else(|| host.and_then(host_name::domain)),
        scheme: fields.scheme.value(),
        accept_language: fields.http_accept_language.value(),
        dnt: fields.http_dnt.flag(),
        gpc: fields.http_sec_gpc.flag(),
    })
}

/// The parts of a target, which may be escaped in JSON.
#[derive(Default)]
struct Target<'a> {
    host: Option<Cow<'a, str>>,
    slug: Cow<'a, str>,
    query: Option<Cow<'a, str>>,
}

impl<'a> Target<'a> {
    /// `None` for a request that is not HTTP.
    fn read(target: Cow<'a, str>) -> Option<Self> {
        match target {
            Cow::Borrowed(target) => {
                let RequestTarget { host, slug, query } = RequestTarget::read(target)?;
                let (host, query) = (host.map(Cow::from), query.map(Cow::from));
                Some(Self { host, slug: slug.into(), query })
            }
            Cow::Owned(target) => {
                let RequestTarget { host, slug, query } = RequestTarget::read(&target)?;
                let owned = |text: &str| Cow::from(text.to_owned());
                Some(Self { host: host.map(owned), slug: owned(slug), query: query.map(owned) })
            }
        }
    }
}

/// `1431857103.004` as microseconds.
fn micros(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.len() > 6 || seconds.is_empty() || !digits(seconds) || !digits(fraction) {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
    seconds.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str, now: i64) -> Result<AccessLogLine<'_>, MalformedLine> {
        super::parse(line, now, &Proxies::default())
    }

    const NOW: i64 = 1_764_000_000_000_000;
    const AT: i64 = 1_431_857_103_004_000;

    #[test]
    fn a_line_of_the_documented_format_is_read_whole() {
        let text = concat!(
            r#"{"msec":"1431857103.004","remote_addr":"203.0.113.7","host":"Go.Example","#,
            r#""scheme":"https","request_method":"GET","request_uri":"/a/b?x=1&y","#,
            r#""server_protocol":"HTTP/2.0","status":"302","http_referer":"http://r/","#,
            r#""http_user_agent":"M \"x\" \u000a","http_accept_language":"de","http_dnt":"1","#,
            r#""http_sec_gpc":"","request_time":"0.001"}"#
        );
        let expected = AccessLogLine {
            occurred_at: AT,
            client_ip: Some("203.0.113.7".parse().unwrap()),
            method: Method::Get,
            slug: "a/b".into(),
            query: Some("x=1&y".into()),
            http_version: Some("HTTP/2.0".into()),
            status: 302,
            referer: Some("http://r/".into()),
            user_agent: Some("M \"x\" \n".into()),
            domain: Some("go.example".into()),
            scheme: Some("https".into()),
            accept_language: Some("de".into()),
            dnt: true,
            gpc: false,
        };
        assert_eq!(parse(text, NOW), Ok(expected));
    }

    #[test]
    fn times_are_read_from_either_variable_and_numbers_without_quotes() {
        for (fields, micros) in [
            (r#""msec":1431857103.004"#, Some(AT)),
            (r#""msec":"1431857103""#, Some(AT - 4_000)),
            (r#""time_iso8601":"2015-05-17T12:05:03+02:00""#, Some(AT - 4_000)),
            (r#""msec":"1431857103.004","time_iso8601":"nonsense""#, Some(AT)),
            (r#""msec":"-1.5""#, None),
            (r#""msec":"1.5e9""#, None),
            (r#""msec":"""#, None),
            (r#""time_iso8601":"17/May/2015:10:05:03 +0000""#, None),
        ] {
            let line = format!(r#"{{{fields},"status":302,"request_uri":"/a"}}"#);
            let read = parse(&line, NOW).map(|line| line.occurred_at);
            assert_eq!(read, micros.ok_or(MalformedLine::Time), "{fields}");
        }
    }

    #[test]
    fn a_malformed_line_has_its_cause_and_a_line_without_http_is_a_click() {
        let with = |more: &str| format!(r#"{{"msec":"1431857103.004"{more}}}"#);
        for (line, expected) in [
            (" ".to_owned(), MalformedLine::Empty),
            ("{".to_owned(), MalformedLine::Json),
            ("[]".to_owned(), MalformedLine::Json),
            (with(r#","status":[]"#), MalformedLine::Json),
            (with(r#","status":"2000""#), MalformedLine::Status),
            (with(r#","status":"abc""#), MalformedLine::Status),
            (r#"{"msec":"1.5"}"#.to_owned(), MalformedLine::BeforeClicks),
            (r#"{"msec":"1764086400.001"}"#.to_owned(), MalformedLine::Ahead),
        ] {
            assert_eq!(parse(&line, NOW), Err(expected), "{line}");
        }
        let nothing = with(r#","status":"400","request_uri":"","request_method":"""#);
        let read = parse(&nothing, NOW).unwrap();
        assert_eq!((read.method, &*read.slug, read.status), (Method::Other, "", 400));
    }

    proptest! {
        #[test]
        fn any_line_is_parsed_without_a_panic(line: String) {
            drop(parse(&line, NOW));
        }
    }
}
