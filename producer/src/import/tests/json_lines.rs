//! Lines of nginx' JSON as servers write them.

use proptest::prelude::*;
use schemas::Method;

use super::{NOW, lines, trusted};
use crate::client::proxies::Proxies;
use crate::import::access_log_line::{AccessLogLine, MalformedLine};
use crate::import::nginx_json_format;

fn parse(line: &str) -> Result<AccessLogLine<'_>, MalformedLine> {
    nginx_json_format::parse(line, NOW, &Proxies::default())
}

fn line(fields: &str) -> String {
    format!(r#"{{"msec":"1431857103.004","status":"302",{fields}}}"#)
}

#[test]
fn i1_i2_i4_the_client_is_read_with_port_in_lists_and_behind_proxies() {
    for (fields, trust, expected) in [
        (r#""remote_addr":"8.8.8.8:55220""#, "", Some("8.8.8.8")),
        (r#""remote_addr":"[2001:db8::8]:443""#, "", Some("2001:db8::8")),
        (r#""remote_addr":"8.8.8.8, 10.0.0.1""#, "", Some("8.8.8.8")),
        (r#""remote_addr":"unix:""#, "", None),
        (r#""remote_addr":"10.0.0.9","http_x_forwarded_for":"8.8.8.8""#, "", Some("10.0.0.9")),
        (
            r#""remote_addr":"10.0.0.9","http_x_forwarded_for":"6.6.6.6, 8.8.8.8:1""#,
            "10.0.0.0/8",
            Some("8.8.8.8"),
        ),
        (r#""remote_addr":"10.0.0.9","http_x_forwarded_for":"""#, "10.0.0.0/8", Some("10.0.0.9")),
    ] {
        let text = line(fields);
        let read = nginx_json_format::parse(&text, NOW, &trusted(trust)).unwrap();
        let address = read.client_ip.map(|address| address.to_string());
        assert_eq!(address.as_deref(), expected, "{fields}");
    }
}

#[test]
fn any_content_of_a_proxy_header_field_is_accepted() {
    for name in ["http_x_forwarded_for", "http_forwarded"] {
        for value in ["[\"8.8.8.8\"]", "{\"a\":[1]}", "true", "null", "7", "\"\"", "[]"] {
            for fields in [
                format!(r#""{name}":{value},"remote_addr":"10.0.0.9""#),
                format!(r#""{name}":"9.9.9.9","remote_addr":"10.0.0.9","{name}":{value}"#),
            ] {
                let text = line(&fields);
                for trust in ["", "10.0.0.0/8"] {
                    let read = nginx_json_format::parse(&text, NOW, &trusted(trust)).unwrap();
                    assert_eq!(read.client_ip, Some("10.0.0.9".parse().unwrap()), "{fields}");
                }
            }
        }
    }
    let twice =
        r#""remote_addr":"10.0.0.9","http_x_forwarded_for":[],"http_x_forwarded_for":"8.8.8.8""#;
    let text = line(twice);
    let read = nginx_json_format::parse(&text, NOW, &trusted("10.0.0.0/8")).unwrap();
    assert_eq!(read.client_ip, Some("8.8.8.8".parse().unwrap()));
    // Fields that are read otherwise are given once.
    assert_eq!(parse(&line(r#""host":"a","host":"b""#)), Err(MalformedLine::Json));
}

#[test]
fn i6_a_file_with_a_byte_order_mark_is_read_as_one_without() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    let text = line(r#""request_uri":"/a""#);
    std::fs::write(&file, format!("\u{feff}{text}\n{text}\n")).unwrap();
    let mut slugs = Vec::new();
    lines(&file, nginx_json_format::parse, |_, read| {
        slugs.push(read.unwrap().slug.into_owned());
    });
    assert_eq!(slugs, ["a", "a"]);
}

#[test]
fn i9_an_escape_that_json_has_not_is_malformed_and_a_raw_byte_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    for (agent, expected) in [(&b"M\\xFA"[..], Err(MalformedLine::Json)), (b"M\xfa", Ok(()))] {
        let text = line(r#""http_user_agent":"AGENT""#).into_bytes();
        let at = text.windows(5).position(|it| it == b"AGENT").unwrap();
        std::fs::write(&file, [&text[..at], agent, &text[at + 5..]].concat()).unwrap();
        lines(&file, nginx_json_format::parse, |_, read| assert_eq!(read.map(drop), expected));
    }
}

#[test]
fn i15_i18_hosts_methods_and_targets_have_the_form_of_redirects() {
    for (fields, domain, method, slug, query) in [
        (r#""host":"WWW.Example.org:8443""#, Some("www.example.org"), Method::Other, "", None),
        (r#""host":"www.example.org.""#, Some("www.example.org"), Method::Other, "", None),
        (r#""host":"_""#, None, Method::Other, "", None),
        (r#""host":"my_shop.local""#, Some("my_shop.local"), Method::Other, "", None),
        (r#""host":"BÜCHER.example:80""#, Some("xn--bcher-kva.example"), Method::Other, "", None),
        (
            r#""host":"a.example","request_uri":"http://:80/a""#,
            Some("a.example"),
            Method::Other,
            "a",
            None,
        ),
        (r#""request_method":"head","request_uri":"/x#f""#, None, Method::Head, "x", None),
        (
            r#""host":"a.example","request_uri":"http://GO.example:80?u=a\u002fb""#,
            Some("go.example"),
            Method::Other,
            "",
            Some("u=a/b"),
        ),
    ] {
        let text = line(fields);
        let read = parse(&text).unwrap();
        let found = (read.domain.as_deref(), read.method, &*read.slug, read.query.as_deref());
        assert_eq!(found, (domain, method, slug, query), "{fields}");
    }
}

proptest! {
    #[test]
    fn f11_every_spelling_of_host_and_method_is_read_as_one(
        host in "[Gg][Oo]\\.[Ee][Xx]ample\\.?(:[0-9]{1,5})?", method in "[Hh][Ee][Aa][Dd]",
    ) {
        let text = line(&format!(r#""host":"{host}","request_method":"{method}""#));
        let read = parse(&text).unwrap();
        prop_assert_eq!((read.domain.as_deref(), read.method), (Some("go.example"), Method::Head));
    }
}
