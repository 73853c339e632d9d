//! One line of an access log in the combined format of nginx and Apache.
//!
//! Pure. It also reads Debian's `vhost_combined`, which begins with the virtual host, and the `main` format
//! of nginx' packages, which ends with `X-Forwarded-For`. A line without the fields of the format is
//! malformed. A line with these fields is a click, even if the client sent no HTTP (`"-"`, or a TLS
//! handshake): the server answered, and the click records that.

use std::borrow::Cow;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use schemas::Method;

use crate::client::proxies::Proxies;
use crate::host_name;
use crate::import::access_log_line::{self, AccessLogLine, MalformedLine};
use crate::import::client_fields::ClientFields;
use crate::import::line_prefix::LinePrefix;
use crate::import::request_target::RequestTarget;

/// Bytes of a time such as `17/May/2015:10:05:03 +0200`.
const TIME_BYTES: usize = 26;

/// Reads one line, without its end. `proxies` may name its client; `now` is microseconds since 1970.
///
/// # Errors
/// The first malformed field.
pub fn parse<'a>(
    line: &'a str,
    now: i64,
    proxies: &Proxies,
) -> Result<AccessLogLine<'a>, MalformedLine> {
    if line.trim_ascii().is_empty() {
        return Err(MalformedLine::Empty);
    }
    let TimedLine { before, occurred_at, rest } = timed(line).ok_or(MalformedLine::Time)?;
    let prefix = LinePrefix::read(before);
    let (request, rest) = quoted(rest).ok_or(MalformedLine::Request)?;
    let (status, rest) = status(rest).ok_or(MalformedLine::Status)?;
    let rest = rest.trim_start_matches(|byte: char| byte.is_ascii_digit() || byte == '-');
    let (referer, rest) = rest.strip_prefix(' ').and_then(quoted).ok_or(MalformedLine::Referer)?;
    let (agent, rest) = rest.strip_prefix(' ').and_then(quoted).ok_or(MalformedLine::UserAgent)?;
    // A server may append fields after the agent; only the first one of them is read.
    let forwarded = rest.strip_prefix(' ').and_then(quoted).map(|(text, _)| unescape(text));
    access_log_line::check_time(occurred_at, now)?;
    let request = Request::read(request);
    let target_host = request.target.host.map(unescape).and_then(host_name::domain);
    let prefix_host = || prefix.host.map(Cow::from).and_then(host_name::domain);
    let client = ClientFields { peer: prefix.client, forwarded: forwarded.as_deref() };
    Ok(AccessLogLine {
        occurred_at,
        client_ip: client.client(proxies),
        method: request.method,
        slug: unescape(request.target.slug),
        query: request.target.query.map(unescape),
        http_version: request.http_version.map(unescape),
        status,
        referer: present(referer),
        user_agent: present(agent),
        domain: target_host.or_else(prefix_host),
        ..AccessLogLine::default()
    })
}

/// A line, split at its time.
struct TimedLine<'a> {
    before: &'a str,
    occurred_at: i64,
    rest: &'a str,
}

/// Splits a line at the first time in brackets, preferably one that a quote follows: the name of a user may
/// contain brackets too.
fn timed(line: &str) -> Option<TimedLine<'_>> {
    let mut first = None;
    for (at, _) in line.match_indices('[') {
        let (before, when) = (&line[..at], line.get(at + 1..at + 1 + TIME_BYTES));
        let Some(occurred_at) = when.and_then(micros) else { continue };
        let rest = line[at + 1 + TIME_BYTES..].strip_prefix("] ");
        let Some(rest) = rest.filter(|_| before.contains(' ')) else { continue };
        let timed = TimedLine { before, occurred_at, rest };
        if rest.starts_with('"') {
            return Some(timed);
        }
        first = first.or(Some(timed));
    }
    first
}

/// The text up to the closing quote, and the text after it. A backslash escapes the next byte.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('"')?;
    let mut guarded = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if guarded => guarded = false,
            b'\\' => guarded = true,
            b'"' => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

/// The status, such as ` 200 `, or ` - ` if the server sent no answer.
fn status(text: &str) -> Option<(u16, &str)> {
    let (word, rest) = text.strip_prefix(' ')?.split_once(' ')?;
    match word {
        "-" => Some((0, rest)),
        _ if word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((word.parse().ok()?, rest))
        }
        _ => None,
    }
}

/// The parts of the request line, still escaped as in the log.
#[derive(Default)]
struct Request<'a> {
    method: Method,
    target: RequestTarget<'a>,
    http_version: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// Reads a request line; one that is not HTTP has no parts.
    fn read(line: &'a str) -> Self {
        let Some((method, rest)) = line.split_once(' ') else { return Self::default() };
        // The target may contain spaces that the client did not escape; the version is the last part.
        let (target, http_version) = match rest.rsplit_once(' ') {
            Some((target, version)) if version.starts_with("HTTP/") => (target, Some(version)),
            _ => (rest, None),
        };
        let token = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_');
        match RequestTarget::read(target) {
            Some(target) if method.bytes().all(token) => {
                Self { method: Method::from_name(method), target, http_version }
            }
            Some(_) | None => Self::default(),
        }
    }
}

fn present(field: &str) -> Option<Cow<'_, str>> {
    match field {
        "" | "-" => None,
        text => Some(unescape(text)),
    }
}

/// Decodes `\"`, `\\`, `\xHH`, and Apache's `\b`, `\n`, `\r`, `\t`, `\v`. Bytes that are not UTF-8 become
/// the replacement character.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, after) = match (first, tail) {
            (b'\\', [b'x', high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (*first, tail),
            },
            (b'\\', [guarded, after @ ..]) => match unescaped(*guarded) {
                Some(byte) => (byte, after),
                None => (*first, tail),
            },
            _ => (*first, tail),
        };
        bytes.push(byte);
        rest = after;
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// The byte that a letter after a backslash encodes.
fn unescaped(letter: u8) -> Option<u8> {
    match letter {
        b'"' | b'\\' => Some(letter),
        b'b' => Some(0x08),
        b't' => Some(b'\t'),
        b'n' => Some(b'\n'),
        b'v' => Some(0x0b),
        b'r' => Some(b'\r'),
        _ => None,
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// `17/May/2015:10:05:03 +0200` as microseconds UTC.
fn micros(text: &str) -> Option<i64> {
    let (date, zone) = text.split_once(' ')?;
    let mut parts = date.split(['/', ':']);
    let mut number = |digits: usize| {
        let part = parts.next()?;
        (part.len() == digits).then_some(())?;
        Some(part)
    };
    let (day, month, year) = (number(2)?, number(3)?, number(4)?);
    let (hour, minute, second) = (number(2)?, number(2)?, number(2)?);
    if parts.next().is_some() {
        return None;
    }
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = MONTHS.find(month).filter(|at| at % 3 == 0)? / 3 + 1;
    let small = |text: &str| text.parse::<i8>().ok().filter(|number| *number >= 0);
    // Unix time has no leap seconds.
    let second = small(second)?.min(59);
    let month = i8::try_from(month).ok()?;
    let year = year.parse().ok()?;
    let civil =
        DateTime::new(year, month, small(day)?, small(hour)?, small(minute)?, second, 0).ok()?;
    Some(offset(zone)?.to_timestamp(civil).ok()?.as_microsecond())
}

fn offset(zone: &str) -> Option<Offset> {
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = digits.split_at(2);
    let minutes = hours.parse::<i32>().ok()? * 60 + minutes.parse::<i32>().ok()?;
    Offset::from_seconds(sign * minutes * 60).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str, now: i64) -> Result<AccessLogLine<'_>, MalformedLine> {
        super::parse(line, now, &Proxies::default())
    }

    const NOW: i64 = 1_764_000_000_000_000;
    const AT: i64 = 1_431_857_103_000_000;

    fn line(request: &str, rest: &str) -> String {
        format!("83.149.9.216 - - [17/May/2015:10:05:03 +0000] \"{request}\" {rest}")
    }

    #[test]
    fn a_plain_line_is_read_whole() {
        let text = line("GET /a/b.png?x=1&y HTTP/1.1", "200 203023 \"http://r/\" \"M (x; y)\"");
        let expected = AccessLogLine {
            occurred_at: AT,
            client_ip: Some("83.149.9.216".parse().unwrap()),
            method: Method::Get,
            slug: "a/b.png".into(),
            query: Some("x=1&y".into()),
            http_version: Some("HTTP/1.1".into()),
            status: 200,
            referer: Some("http://r/".into()),
            user_agent: Some("M (x; y)".into()),
            ..AccessLogLine::default()
        };
        assert_eq!(parse(&text, NOW), Ok(expected));
    }

    #[test]
    fn a_request_line_is_split_as_far_as_it_is_valid() {
        for (request, method, slug, query, version) in [
            ("GET / HTTP/1.0", Method::Get, "", None, Some("HTTP/1.0")),
            ("HEAD /x HTTP/1.1", Method::Head, "x", None, Some("HTTP/1.1")),
            ("POST /x?q HTTP/2.0", Method::Post, "x", Some("q"), Some("HTTP/2.0")),
            ("PROPFIND /x HTTP/1.1", Method::Other, "x", None, Some("HTTP/1.1")),
            ("GET /old", Method::Get, "old", None, None),
            ("GET /a b c HTTP/1.1", Method::Get, "a b c", None, Some("HTTP/1.1")),
            ("GET http://h/p?q HTTP/1.1", Method::Get, "p", Some("q"), Some("HTTP/1.1")),
            ("GET http://h HTTP/1.1", Method::Get, "", None, Some("HTTP/1.1")),
            ("OPTIONS * HTTP/1.0", Method::Other, "", None, Some("HTTP/1.0")),
            ("CONNECT h:443 HTTP/1.1", Method::Other, "", None, Some("HTTP/1.1")),
            (r"GET /\xd0\x9f HTTP/1.1", Method::Get, "П", None, Some("HTTP/1.1")),
            ("GET /? HTTP/1.1", Method::Get, "", Some(""), Some("HTTP/1.1")),
            ("-", Method::Other, "", None, None),
            ("", Method::Other, "", None, None),
            (r"\x16\x03\x01\x02\x00\x01", Method::Other, "", None, None),
            (r"\x16\x03 \x00 HTTP/1.1", Method::Other, "", None, None),
            ("quit now", Method::Other, "", None, None),
        ] {
            let text = line(request, "400 0 \"-\" \"-\"");
            let read = parse(&text, NOW).unwrap();
            let seen = (read.method, &*read.slug, read.query.as_deref(), read.http_version);
            assert_eq!(seen, (method, slug, query, version.map(Cow::from)), "{request}");
        }
    }

    #[test]
    fn escapes_are_decoded_and_dashes_are_missing_values() {
        let text = line("GET / HTTP/1.1", r#"304 - "a\"b\\" "x\x22y\xff\q""#);
        let read = parse(&text, NOW).unwrap();
        assert_eq!(read.referer.as_deref(), Some(r#"a"b\"#));
        assert_eq!(read.user_agent.as_deref(), Some("x\"y\u{fffd}\\q"));
        let text = line("GET / HTTP/1.1", r#"- - "-" """#);
        let read = parse(&text, NOW).unwrap();
        assert_eq!((read.status, read.referer, read.user_agent), (0, None, None));
    }

    #[test]
    fn clients_are_addresses_or_nothing() {
        for (client, ip) in
            [("2001:db8::1", Some("2001:db8::1")), ("host.example", None), ("-", None)]
        {
            let text = format!(
                "{client} ident user name [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"-\" \"more\" 0.1"
            );
            let read = parse(&text, NOW).unwrap();
            assert_eq!(read.client_ip, ip.map(|ip| ip.parse().unwrap()), "{client}");
        }
    }

    #[test]
    fn times_are_moved_to_utc() {
        for (text, micros_utc) in [
            ("17/May/2015:10:05:03 +0000", Some(AT)),
            ("17/May/2015:12:05:03 +0200", Some(AT)),
            ("17/May/2015:05:35:03 -0430", Some(AT)),
            ("31/Dec/2016:23:59:60 +0000", Some(1_483_228_799_000_000)),
            ("29/Feb/2015:10:05:03 +0000", None),
            ("17/Mai/2015:10:05:03 +0000", None),
            ("17/anF/2015:10:05:03 +0000", None),
            ("17/May/2015:24:05:03 +0000", None),
            ("17/May/2015:10:05:03", None),
            ("17/May/2015:10:05:03 0000", None),
            ("7/May/2015:10:05:03 +0000", None),
            ("-1/May/2015:10:05:03 +0000", None),
            ("17/May/2015:10:05:03:00 +0000", None),
        ] {
            assert_eq!(micros(text), micros_utc, "{text}");
        }
    }

    #[test]
    fn a_line_without_the_formats_fields_is_malformed_and_says_why() {
        let good = line("GET / HTTP/1.1", "200 1 \"-\" \"-\"");
        assert!(parse(&good, NOW).is_ok());
        let year = |year: &str| good.replace("2015", year);
        for (text, why) in [
            (String::new(), MalformedLine::Empty),
            (" \t".to_owned(), MalformedLine::Empty),
            ("garbage".to_owned(), MalformedLine::Time),
            (good.replace("May", "Foo"), MalformedLine::Time),
            (good[..60].to_owned(), MalformedLine::Request),
            (good.replace("200", "2000"), MalformedLine::Status),
            (line("GET / HTTP/1.1", "200 1"), MalformedLine::Referer),
            (line("GET / HTTP/1.1", "200 1 \"-\""), MalformedLine::UserAgent),
            (good[..good.len() - 1].to_owned(), MalformedLine::UserAgent),
            (year("1999"), MalformedLine::BeforeClicks),
            (year("2999"), MalformedLine::Ahead),
        ] {
            assert_eq!(parse(&text, NOW), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text: String) {
            drop(parse(&text, NOW));
        }

        #[test]
        fn any_request_and_agent_are_read_without_a_panic(
            request in "[^\"\\\\]*", agent in "([^\"\\\\]|\\\\.)*"
        ) {
            let text = line(&request, &format!("200 1 \"-\" \"{agent}\""));
            prop_assert!(parse(&text, NOW).is_ok());
        }
    }
}
