//! Lines of the combined format and its kin as servers write them.

use proptest::prelude::*;
use schemas::Method;

use super::{NOW, lines, trusted};
use crate::client::proxies::Proxies;
use crate::import::access_log_line::{AccessLogLine, MalformedLine};
use crate::import::combined_format;

fn parse(line: &str) -> Result<AccessLogLine<'_>, MalformedLine> {
    combined_format::parse(line, NOW, &Proxies::default())
}

/// A line with this text before its time and this request.
fn line(before: &str, request: &str) -> String {
    format!(
        r#"{before} [17/May/2015:10:05:03 +0000] "{request}" 200 1 "http://r/" "M" "8.8.8.8" 0.1"#
    )
}

fn client(line: &str, proxies: &Proxies) -> Option<String> {
    let read = combined_format::parse(line, NOW, proxies).unwrap();
    read.client_ip.map(|address| address.to_string())
}

#[test]
fn i1_i2_i3_the_client_is_read_with_any_text_around_it() {
    for (before, address, host) in [
        ("8.8.8.8:55220 - -", "8.8.8.8", None),
        ("[2001:db8::8]:443 - -", "2001:db8::8", None),
        ("8.8.8.8, 10.0.0.1 - -", "8.8.8.8", None),
        ("[2001:db8::8]:443, 10.0.0.1 - me", "2001:db8::8", None),
        ("WWW.Example.org:443 8.8.8.8 - -", "8.8.8.8", Some("www.example.org")),
        ("[2001:db8::1]:443 8.8.8.8 - -", "8.8.8.8", Some("[2001:db8::1]")),
        ("- 8.8.8.8 - -", "8.8.8.8", None),
    ] {
        let text = line(before, "GET /a HTTP/1.1");
        let read = parse(&text).unwrap();
        assert_eq!(read.client_ip, Some(address.parse().unwrap()), "{before}");
        assert_eq!(read.domain.as_deref(), host, "{before}");
    }
}

#[test]
fn i4_the_header_after_the_agent_counts_if_its_proxy_is_trusted() {
    let text = line("10.0.0.9 - -", "GET /a HTTP/1.1");
    assert_eq!(client(&text, &Proxies::default()).as_deref(), Some("10.0.0.9"));
    assert_eq!(client(&text, &trusted("10.0.0.0/8")).as_deref(), Some("8.8.8.8"));
    assert_eq!(client(&text, &trusted("192.0.2.0/24")).as_deref(), Some("10.0.0.9"));
    let unknown = text.replace("8.8.8.8", "-");
    assert_eq!(client(&unknown, &trusted("10.0.0.0/8")).as_deref(), Some("10.0.0.9"));
    let plain = unknown.replace(r#" "-" 0.1"#, "");
    assert_eq!(client(&plain, &trusted("10.0.0.0/8")).as_deref(), Some("10.0.0.9"));
}

#[test]
fn i6_a_file_with_a_byte_order_mark_is_read_as_one_without() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    let text = line("8.8.8.8 - -", "GET /a HTTP/1.1");
    std::fs::write(&file, format!("\u{feff}{text}\n{text}\n")).unwrap();
    let mut clients = Vec::new();
    lines(&file, combined_format::parse, |_, read| clients.push(read.unwrap().client_ip));
    assert_eq!(clients, [Some([8, 8, 8, 8].into()); 2]);
}

#[test]
fn i10_user_names_of_any_form_are_skipped() {
    for user in [
        "\"\"",
        "user@REALM",
        "two words",
        "\"two words\"",
        "CN=Some One,O=Org",
        "team [ops]",
        "[x] [y]",
        "[17/May/2015",
        "a\\\"b",
    ] {
        let text = line(&format!("8.8.8.8 - {user}"), "GET /a HTTP/1.1");
        let read = parse(&text).unwrap();
        assert_eq!((read.client_ip.is_some(), &*read.slug), (true, "a"), "{user}");
    }
}

#[test]
fn i11_i12_requests_that_are_none_and_versions_of_any_kind_are_read() {
    for (request, method, slug, version) in [
        (r"\x16\x03\x01", Method::Other, "", None),
        ("-", Method::Other, "", None),
        ("GET /a b HTTP/1.1", Method::Get, "a b", Some("HTTP/1.1")),
        ("GET /a HTTP/2", Method::Get, "a", Some("HTTP/2")),
        ("GET /a HTTP/3.0", Method::Get, "a", Some("HTTP/3.0")),
        ("GET /a", Method::Get, "a", None),
        ("head /a HTTP/1.1", Method::Head, "a", Some("HTTP/1.1")),
    ] {
        let text = line("8.8.8.8 - -", request);
        let read = parse(&text).unwrap();
        let found = (read.method, &*read.slug, read.http_version.as_deref());
        assert_eq!(found, (method, slug, version), "{request}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    let text = line("8.8.8.8 - -", "GET /a HTTP/1.1").replace(" 200 ", " 408 ");
    std::fs::write(&file, format!("{text}\r\n")).unwrap();
    lines(&file, combined_format::parse, |_, read| assert_eq!(read.unwrap().status, 408));
}

#[test]
fn i13_times_around_a_change_of_the_clock_are_moved_to_utc() {
    let at = |time: &str| {
        let text = line("8.8.8.8 - -", "GET /a HTTP/1.1");
        let text = text.replace("17/May/2015:10:05:03 +0000", time);
        let at = parse(&text).unwrap().occurred_at;
        jiff::Timestamp::from_microsecond(at).unwrap().to_string()
    };
    for (time, utc) in [
        ("25/Oct/2015:02:30:00 +0200", "2015-10-25T00:30:00Z"),
        ("25/Oct/2015:02:30:00 +0100", "2015-10-25T01:30:00Z"),
        ("29/Mar/2015:02:30:00 +0100", "2015-03-29T01:30:00Z"),
        ("01/Jan/2015:01:00:00 +1400", "2014-12-31T11:00:00Z"),
        ("31/Dec/2016:23:59:60 +0000", "2016-12-31T23:59:59Z"),
    ] {
        assert_eq!(at(time), utc);
    }
}

#[test]
fn i14_escapes_of_nginx_and_of_apache_are_decoded() {
    for (logged, agent) in [
        (r"\x22M\x22", "\"M\""),
        (r#"A\"B\""#, "A\"B\""),
        (r"\tTab\n\r\b\v\\t", "\tTab\n\r\u{8}\u{b}\\t"),
        (r"\q\f\x4", r"\q\f\x4"),
    ] {
        let text =
            line("8.8.8.8 - -", "GET /a HTTP/1.1").replace("\"M\"", &format!("\"{logged}\""));
        assert_eq!(parse(&text).unwrap().user_agent.as_deref(), Some(agent), "{logged}");
    }
}

#[test]
fn i15_a_target_in_absolute_form_has_its_host_and_query_and_no_target_a_fragment() {
    for (target, host, slug, query) in [
        ("http://go.example?u=a/b", Some("go.example"), "", Some("u=a/b")),
        ("http://GO.example:80/i16a", Some("go.example"), "i16a", None),
        ("/x#frag", Some("www.example.org"), "x", None),
        ("/x?q#frag", Some("www.example.org"), "x", Some("q")),
    ] {
        let text = line("www.example.org:80 8.8.8.8 - -", &format!("GET {target} HTTP/1.1"));
        let read = parse(&text).unwrap();
        let found = (read.domain.as_deref(), &*read.slug, read.query.as_deref());
        assert_eq!(found, (host, slug, query), "{target}");
    }
}

#[test]
fn i17_times_of_another_form_are_malformed() {
    let text = line("8.8.8.8 - -", "GET /a HTTP/1.1");
    let two_spaces = text.replace("] \"", "]  \"");
    assert_eq!(parse(&two_spaces), Err(MalformedLine::Request));
    assert_eq!(parse(&text.replace(":03 ", ":03.123 ")), Err(MalformedLine::Time));
    assert_eq!(parse(&text.replace("8.8.8.8 - - ", "")), Err(MalformedLine::Time));
}

proptest! {
    #[test]
    fn f8_client_and_host_are_read_with_any_user_name(
        address: std::net::IpAddr,
        port in proptest::option::of(0..=65_535u16),
        host in proptest::option::of("[a-z]{1,9}\\.[a-z]{2,9}(:[0-9]{1,4})?"),
        user in "[A-Za-z@._=-]{1,9}( [A-Za-z\\[\\]]{1,9})?",
    ) {
        let client = match port {
            // A virtual host is followed by a client without one.
            Some(port) if host.is_none() => std::net::SocketAddr::new(address, port).to_string(),
            _ => address.to_string(),
        };
        let before = host.iter().chain([&client]).map(String::as_str).collect::<Vec<_>>().join(" ");
        let text = line(&format!("{before} - {user}"), "GET /a HTTP/1.1");
        let read = parse(&text).unwrap();
        prop_assert_eq!(read.client_ip, Some(address.to_canonical()), "{}", text);
        let domain = host.as_deref().map(|it| it.split_once(':').map_or(it, |(host, _)| host));
        prop_assert_eq!(read.domain.as_deref(), domain, "{}", text);
    }

    #[test]
    fn f16_a_mark_before_any_line_of_a_file_changes_nothing_of_it(
        agents in proptest::collection::vec("[a-z \u{80}-\u{2fff}]{0,20}", 1..5), marks in 1..4usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let read = |mark: &str| {
            let file = folder.path().join("a");
            let text = |agent: &String| {
                let text = line("8.8.8.8 - -", "GET /a HTTP/1.1");
                format!("{mark}{}\n", text.replace("\"M\"", &format!("\"{agent}\"")))
            };
            std::fs::write(&file, agents.iter().map(text).collect::<String>()).unwrap();
            let mut found = Vec::new();
            lines(&file, combined_format::parse, |bytes, read| {
                let read = read.unwrap();
                found.push((bytes.to_vec(), read.client_ip, read.user_agent.map(String::from)));
            });
            found
        };
        prop_assert_eq!(read(&"\u{feff}".repeat(marks)), read(""));
    }

    #[test]
    fn f20_escapes_of_apache_are_decoded(agent in "[ -~\t\n\r\u{8}\u{b}]{1,40}") {
        let escaped: String = agent
            .chars()
            .map(|letter| match letter {
                '"' | '\\' => format!("\\{letter}"),
                '\t' => r"\t".to_owned(),
                '\n' => r"\n".to_owned(),
                '\r' => r"\r".to_owned(),
                '\u{8}' => r"\b".to_owned(),
                '\u{b}' => r"\v".to_owned(),
                _ => letter.to_string(),
            })
            .collect();
        let text = line("8.8.8.8 - -", "GET /a HTTP/1.1").replace("\"M\"", &format!("\"{escaped}\""));
        let read = parse(&text).unwrap();
        prop_assert_eq!(read.user_agent.as_deref(), Some(&*agent).filter(|it| *it != "-"));
    }
}
