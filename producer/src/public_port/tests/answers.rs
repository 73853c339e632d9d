//! Inputs of other people's bug reports, by the ids of their rows: what visitors get, and what is
//! recorded of them.

use schemas::{AgentKind, RawClick};

use super::*;
use crate::client::privacy::{PrivacyPolicies, PrivacyPolicy};
use crate::metrics::labels::CauseLabel;

/// Sends one request; passes the answer and the click, where there is one, to `check`.
async fn visit(policy: ClientPolicy, bytes: &[u8], check: impl FnOnce(&str, Option<RawClick<'_>>)) {
    let (answer, sink, _) =
        with(Script::default(), policy, limits(), async |address| exchange(address, bytes).await)
            .await;
    let records = sink.records.lock().unwrap();
    let decoder = Decoder::new(NEWEST).unwrap();
    check(&answer, records.first().map(|(datum, _, _)| decoder.decode(datum).unwrap()));
}

fn strips() -> ClientPolicy {
    let privacy = PrivacyPolicies { signals: PrivacyPolicy::Strip, ..PrivacyPolicies::default() };
    ClientPolicy { privacy, ..ClientPolicy::default() }
}

#[tokio::test]
async fn u15_a_machine_that_asks_for_privacy_is_recorded_as_one() {
    for (agent, signal, kind) in [
        ("HTTPie/0.9.9", "DNT: 1", AgentKind::DeclaredMachine),
        ("Mozilla/5.0 (compatible; Googlebot/2.1)", "Sec-GPC: 1", AgentKind::DeclaredMachine),
        ("Mozilla/5.0 (X11; Linux x86_64) Firefox/120.0", "DNT: 1", AgentKind::Browser),
        ("", "DNT: 1", AgentKind::None),
        ("HTTPie/0.9.9", "DNT: 0", AgentKind::Unknown),
    ] {
        let bytes = request("GET /a", &format!("User-Agent: {agent}\r\n{signal}\r\n"));
        visit(strips(), &bytes, |answer, click| {
            let click = click.unwrap();
            assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
            assert_eq!(click.agent_kind, kind, "{agent}");
            assert_eq!(click.identifiers_stripped, kind != AgentKind::Unknown);
            assert_eq!(click.user_agent.is_none(), click.identifiers_stripped);
        })
        .await;
    }
}

#[tokio::test]
async fn f5_a_stripped_click_keeps_the_campaign_and_the_redirect_all_parameters() {
    let bytes = request("GET /pass?utm_source=news&gclid=Cj0K&page=2", "Sec-GPC: 1\r\n");
    visit(strips(), &bytes, |answer, click| {
        let click = click.unwrap();
        assert!(answer.contains("?utm_source=news&gclid=Cj0K&page=2\r\n"), "{answer}");
        assert_eq!(click.query, Some("utm_source=news&page=2"));
        assert_eq!(click.target_url, Some("https://example.com/?utm_source=news&page=2"));
    })
    .await;
}

#[tokio::test]
async fn x1_x2_x3_x4_equivalent_spellings_find_the_link_and_are_recorded_as_requested() {
    for (path, outcome) in [
        ("a%7Eb", Outcome::Redirected),
        ("a%7eb", Outcome::Redirected),
        ("%61~b", Outcome::Redirected),
        ("a~b/", Outcome::Redirected),
        ("/a~b", Outcome::Redirected),
        ("A~B", Outcome::NotFound),
        ("a~b.", Outcome::NotFound),
        ("a~b)", Outcome::NotFound),
        ("a~b%20", Outcome::NotFound),
        ("a%257Eb", Outcome::NotFound),
        ("%72obots.txt", Outcome::Reserved),
    ] {
        let (_, found, slug) = recorded(&format!("GET /{path}"), "").await;
        assert_eq!((found, slug.as_str()), (outcome, path));
    }
}

#[tokio::test]
async fn x5_links_that_lead_to_each_other_on_the_requested_host_are_blocked() {
    for (path, outcome) in [
        ("loop", Outcome::Blocked),
        ("%6Coop/", Outcome::Blocked),
        ("ring1", Outcome::Blocked),
        ("ring2", Outcome::Blocked),
        ("port", Outcome::Redirected),
        ("inner", Outcome::Redirected),
    ] {
        assert_eq!(recorded(&format!("GET /{path}"), "").await.1, outcome, "{path}");
    }
    let other = b"GET /loop HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n";
    visit(ClientPolicy::default(), other, |answer, _| {
        assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
    })
    .await;
    let own = b"GET /port HTTP/1.1\r\nHost: go.example:8080\r\nConnection: close\r\n\r\n";
    visit(ClientPolicy::default(), own, |answer, _| {
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn f14_x6_each_request_that_the_parser_refuses_is_counted_by_its_cause() {
    let end = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut refused: Vec<(Vec<u8>, &str, &str)> = Vec::new();
    let odd = [b'"', b'<', b'>'];
    for byte in odd.into_iter().chain((0x80..=0xff).step_by(3)) {
        let query = [b"GET /a?q=x", &[byte][..], b"y", &end[..]].concat();
        refused.push((query, "400", "uri"));
    }
    let long = "x".repeat(20_000);
    for (bytes, status, cause) in [
        ("GET /a b HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "400", "version"),
        ("G(T /a HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "400", "method"),
        ("\u{16}\u{3}\u{1} /a HTTP/1.1\r\n\r\n".to_owned(), "400", "method"),
        ("GET /a HTTP/3.7\r\nHost: x\r\n\r\n".to_owned(), "400", "version"),
        ("GET /a HTTP/1.1\r\nHo st: x\r\n\r\n".to_owned(), "400", "header"),
        ("GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: y\r\n\r\n".to_owned(), "400", "header"),
        (format!("GET /a HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"), "431", "too_long"),
    ] {
        refused.push((bytes.into_bytes(), status, cause));
    }
    for (bytes, status, cause) in &refused {
        let (answer, sink, metrics) = send(Script::default(), bytes).await;
        let text = String::from_utf8_lossy(bytes);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{text}: {answer}");
        let counted = |cause| metrics.refused.get_or_create(&CauseLabel { cause }).get();
        let all: u64 =
            ["method", "uri", "version", "header", "too_long", "other"].map(counted).iter().sum();
        assert_eq!((counted(cause), all), (1, 1), "{text} {cause}");
        assert!(sink.records.lock().unwrap().is_empty());
    }
    assert!(refused.len() >= 50, "{}", refused.len());
    for head in ["GET /a?q=\u{fc}\u{4e2d}", "GET /a?q={}|\\^`", "GET /\u{fc}?q"] {
        let (answer, _, metrics) = send(Script::default(), &request(head, "")).await;
        assert!(!answer.starts_with("HTTP/1.1 400 "), "{head}: {answer}");
        assert_eq!(metrics.refused.get_or_create(&CauseLabel { cause: "uri" }).get(), 0);
    }
}

#[tokio::test]
async fn x7_a_trusted_proxy_may_write_the_address_in_any_form() {
    for (sent, expected) in [
        ("8.8.8.8:4711", "8.8.8.8"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
        ("6.6.6.6, 8.8.8.8", "8.8.8.8"),
    ] {
        let header = ProxyHeader::XForwardedFor;
        let proxies = Proxies { trusted: "127.0.0.0/8".parse().unwrap(), header };
        let policy = ClientPolicy { proxies, ..ClientPolicy::default() };
        let bytes = request("GET /a", &format!("X-Forwarded-For: {sent}\r\n"));
        let expected = crate::click::ClientIp::new(expected.parse().unwrap());
        visit(policy, &bytes, |_, click| {
            assert_eq!(click.unwrap().client_ip, Some(expected.as_bytes()), "{sent}");
        })
        .await;
    }
}

#[tokio::test]
async fn x11_a_host_is_recorded_in_one_form() {
    for (bytes, domain) in [
        (
            &b"GET /a HTTP/1.1\r\nHost: GO.Example.:8080\r\nConnection: close\r\n\r\n"[..],
            Some("go.example"),
        ),
        (b"GET /a HTTP/1.0\r\n\r\n", None),
    ] {
        visit(ClientPolicy::default(), bytes, |answer, click| {
            assert!(answer.contains(" 302 "), "{answer}");
            assert_eq!(click.unwrap().domain, domain);
        })
        .await;
    }
}

#[tokio::test]
async fn x12_texts_are_cut_at_a_character_and_other_bytes_are_replaced() {
    let long = "\u{fc}".repeat(2_000);
    let agent = |text: &str| format!("User-Agent: {text}\r\n");
    for (head, more, slug, expected) in [
        ("GET /a", agent(&long), "a", Some("\u{fc}".repeat(512))),
        ("GET /a", agent("-"), "a", Some("-".to_owned())),
        ("GET /a", String::new(), "a", None),
        ("GET /a#part", agent("M"), "a", Some("M".to_owned())),
        ("GET http://go.example/a", agent("M"), "a", Some("M".to_owned())),
    ] {
        visit(ClientPolicy::default(), &request(head, &more), |answer, click| {
            let click = click.unwrap();
            assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
            assert_eq!((click.slug, click.user_agent), (slug, expected.as_deref()), "{head}");
        })
        .await;
    }
    let mut bytes = request("GET /a", "User-Agent: M");
    bytes.truncate(bytes.len() - 2);
    bytes.extend(b"\xff\r\n\r\n");
    visit(ClientPolicy::default(), &bytes, |_, click| {
        assert_eq!(click.unwrap().user_agent, Some("M\u{fffd}"));
    })
    .await;
}

#[tokio::test]
async fn x13_a_campaign_at_the_end_of_a_long_query_is_recorded() {
    for filler in [3_000, 5_000, 8_100] {
        let query = format!("x={}&utm_source=newsletter", "y".repeat(filler));
        visit(ClientPolicy::default(), &request(&format!("GET /a?{query}"), ""), |_, click| {
            assert_eq!(click.unwrap().query, Some(&*query));
        })
        .await;
    }
}

#[tokio::test]
async fn x14_the_request_of_an_image_is_recorded_with_its_destination() {
    let bytes = request("GET /a", "Sec-Fetch-Dest: image\r\n");
    visit(ClientPolicy::default(), &bytes, |_, click| {
        assert_eq!(click.unwrap().sec_fetch_dest, Some("image"));
    })
    .await;
}
