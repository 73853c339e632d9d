//! The collector under what senders send otherwise than redirects are recorded.

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use schemas::{Method as ClickMethod, Outcome};

use super::*;

/// What is recorded of host, method and scheme of these objects, in their order.
async fn recorded(objects: &[String]) -> Vec<(Option<String>, ClickMethod, Option<String>)> {
    let fixture = Fixture::new(LIMITS);
    let answer = fixture.json(&format!("[{}]", objects.join(","))).await;
    assert_eq!((answer.status, &answer.body["rejected"]), (200, &0.into()), "{answer:?}");
    let (mut found, owned) = (Vec::new(), |text: Option<&str>| text.map(str::to_owned));
    fixture.clicks(|it, _| found.push((owned(it.domain), it.method, owned(it.scheme))));
    found
}

#[tokio::test]
async fn c2_a_byte_that_is_no_utf8_costs_its_own_record_alone() {
    let fixture = Fixture::standard();
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    let body = b"[{\"slug\":\"a\"},{\"slug\":\"b\",\"query\":\"caf\xe9\"},{\"slug\":\"c\",\"query\":\"\\ud83d\"},{\"slug\":\"d\"}]";
    let answer = fixture.send(&headers, body.to_vec()).await;
    assert_eq!(answer.status, 207, "{answer:?}");
    let results = answer.body["records"].as_array().unwrap();
    let codes: Vec<_> = results.iter().map(|it| it["code"].as_str()).collect();
    assert_eq!(codes, [None, Some("record_malformed"), Some("record_malformed"), None]);
    let mut slugs = Vec::new();
    fixture.clicks(|click, _| slugs.push(click.slug.to_owned()));
    assert_eq!(slugs, ["a", "d"]);
}

#[tokio::test]
async fn c3_r8_host_method_and_scheme_have_the_form_of_redirects() {
    for (object, domain, method, scheme) in [
        (r#""method":"head""#, None, ClickMethod::Head, None),
        (r#""method":"Head""#, None, ClickMethod::Head, None),
        (r#""method":"get","scheme":"HTTPS""#, None, ClickMethod::Get, Some("https")),
        (r#""method":"patch""#, None, ClickMethod::Other, None),
        (r#""domain":"go.example:8443""#, Some("go.example"), ClickMethod::Other, None),
        (r#""domain":"GO.example.""#, Some("go.example"), ClickMethod::Other, None),
        (r#""domain":"[2001:DB8::1]:80""#, Some("[2001:db8::1]"), ClickMethod::Other, None),
        (r#""domain":"a b""#, None, ClickMethod::Other, None),
        (r#""domain":"-""#, None, ClickMethod::Other, None),
    ] {
        let found = recorded(&[format!(r#"{{"slug":"a",{object}}}"#)]).await;
        let expected = (domain.map(str::to_owned), method, scheme.map(str::to_owned));
        assert_eq!(found, [expected], "{object}");
    }
}

#[tokio::test]
async fn f11_every_spelling_of_host_and_method_is_recorded_as_one() {
    let mut runner = TestRunner::deterministic();
    let spellings = ("[Gg][Oo]\\.[Ee]xample\\.?(:[0-9]{1,5})?", "[Hh][Ee][Aa][Dd]");
    let objects: Vec<_> = (0..200)
        .map(|_| {
            let (host, method) = spellings.new_tree(&mut runner).unwrap().current();
            format!(r#"{{"slug":"a","domain":"{host}","method":"{method}"}}"#)
        })
        .collect();
    let found = recorded(&objects).await;
    let one = (Some("go.example".to_owned()), ClickMethod::Head, None);
    assert_eq!(found, vec![one; 200]);
}

#[tokio::test]
async fn c4_times_of_another_unit_are_rejected_and_offsets_are_read() {
    let fixture = Fixture::new(CollectorLimits { days: 36_500, ..LIMITS });
    let answer = fixture
        .json(
            r#"[{"slug":"a","occurred_at":1700000000000},{"slug":"a","occurred_at":1700000000},
            {"slug":"a","occurred_at":"2023-11-14T23:13:20+01:00"},
            {"slug":"a","occurred_at":"2016-12-31T23:59:60Z"},
            {"slug":"a","occurred_at":"2023-11-14T22:13:20"}]"#,
        )
        .await;
    let codes: Vec<_> = answer.body["records"].as_array().unwrap().iter().collect();
    let codes: Vec<_> = codes.iter().map(|it| it["code"].as_str()).collect();
    let (bounds, format) = (Some("occurred_at_out_of_bounds"), Some("occurred_at_malformed"));
    assert_eq!(codes, [bounds, bounds, None, None, format], "{answer:?}");
    let mut times = Vec::new();
    fixture.clicks(|click, _| times.push(click.occurred_at));
    assert_eq!(times, [1_700_000_000_000_000, 1_483_228_799_000_000]);
}

#[tokio::test]
async fn c5_an_address_with_a_port_has_its_reason_and_null_is_no_value() {
    let fixture = Fixture::standard();
    let answer = fixture
        .json(
            r#"[{"slug":"a","client_ip":"203.0.113.7:80"},{"slug":"a","client_ip":"203.0.113.7, 10.0.0.1"},
            {"slug":"a","client_ip":""},
            {"slug":"b","client_ip":null,"dnt":null,"gpc":null,"opt_out":null,"status":null}]"#,
        )
        .await;
    assert_eq!((answer.status, answer.body["rejected"].as_u64()), (207, Some(3)), "{answer:?}");
    for record in 0..3 {
        let why = answer.body["records"][record]["why"].as_str().unwrap();
        assert!(why.contains("client_ip to be one address without port"), "{why}");
    }
    assert_eq!(fixture.clicks(|click, _| assert_eq!((click.slug, click.dnt), ("b", false))), 1);
}

#[tokio::test]
async fn c6_odd_values_that_are_texts_and_numbers_are_accepted() {
    let fixture = Fixture::standard();
    let object = r#"{"slug":"\u0000\ud83d\ude00","user_agent":"","status":999}"#;
    assert_eq!(fixture.json(&format!("[{object}]")).await.status, 200);
    assert_eq!(fixture.json("[]").await.status, 200);
    let clicks = fixture.clicks(|click, _| {
        assert_eq!((click.slug, click.user_agent), ("\0😀", Some("")));
        assert_eq!((click.status, click.outcome), (999, Outcome::from_status(999)));
    });
    assert_eq!(clicks, 1);
}
