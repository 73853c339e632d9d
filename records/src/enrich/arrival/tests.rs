//! Whole clicks, enriched by all rules and the built-in table: reported inputs, each with its number.

mod kinds;

use schemas::RawClick;
use uuid::Uuid;

use crate::enrich::Enricher;

/// What the rules find for a click.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    source: String,
    medium: &'static str,
    channel: &'static str,
    language: String,
    utm: [String; 5],
    click_id: String,
}

fn enriched(click: &RawClick<'_>) -> Answer {
    let mut enricher = Enricher::default();
    let row = enricher.enrich(click);
    let (came, campaign) = (row.arrival, row.campaign);
    Answer {
        source: came.source.to_owned(),
        medium: came.medium.as_str(),
        channel: came.channel.as_str(),
        language: row.language.to_owned(),
        utm: [campaign.source, campaign.medium, campaign.campaign, campaign.term, campaign.content]
            .map(str::to_owned),
        click_id: came.click_id_param.to_owned(),
    }
}

fn click() -> RawClick<'static> {
    RawClick::new(Uuid::nil(), 0, "a")
}

fn from(referer: &str) -> Answer {
    enriched(&RawClick { referer: Some(referer), ..click() })
}

fn from_host(host: &str) -> Answer {
    from(&format!("https://{host}/"))
}

fn by(query: &str) -> Answer {
    enriched(&RawClick { query: Some(query), ..click() })
}

fn hosts_are(medium: &str, source: &str, hosts: &[&str]) {
    for host in hosts {
        let answer = from_host(host);
        assert_eq!(answer.medium, medium, "{host}: {answer:?}");
        assert!(source.is_empty() || answer.source == source, "{host}: {answer:?}");
    }
}

#[test]
fn r1_services_of_google_are_not_search() {
    let hosts =
        ["calendar.google.com", "accounts.google.com", "meet.google.com", "groups.google.com"];
    hosts_are("referral", "", &hosts);
    hosts_are("referral", "Google Docs", &["docs.google.com"]);
    hosts.iter().for_each(|host| assert_eq!(from_host(host).channel, "referral", "{host}"));
}

#[test]
fn r2_assistants_of_google_are_assistants() {
    hosts_are("ai_assistant", "", &["notebooklm.google.com", "aistudio.google.com"]);
    assert_eq!(from_host("notebooklm.google.com").channel, "ai_assistant");
}

#[test]
fn r3_the_social_network_of_mail_ru_is_not_mail() {
    hosts_are("social", "", &["my.mail.ru"]);
    assert_eq!(from_host("my.mail.ru").channel, "organic_social");
    hosts_are("email", "Mail.ru", &["e.mail.ru"]);
}

#[test]
fn r4_the_search_of_web_de_is_not_mail() {
    hosts_are("search", "", &["suche.web.de"]);
    assert_eq!(from_host("suche.web.de").channel, "organic_search");
}

#[test]
fn r5_mail_and_blog_of_naver_are_not_search() {
    hosts_are("email", "", &["mail.naver.com"]);
    hosts_are("referral", "", &["blog.naver.com", "m.blog.naver.com"]);
}

#[test]
fn r6_a_cloud_of_amazon_is_not_a_shop() {
    hosts_are("referral", "", &["aws.amazon.com", "eu-central-1.console.aws.amazon.com"]);
    hosts_are("shopping", "Amazon", &["amazon.com", "www.amazon.co.jp"]);
}

#[test]
fn r7_new_assistants_and_engines_are_known() {
    hosts_are("ai_assistant", "", &["duck.ai", "m365.cloud.microsoft"]);
    hosts_are("search", "", &["suche.t-online.de", "sm.cn", "yz.m.sm.cn", "google.cat"]);
    hosts_are("email", "", &["mail.daum.net"]);
    // Browsers send no path to another host, so that this is Bing's search.
    assert_eq!(from("https://www.bing.com/chat").medium, "search");
}

#[test]
fn r8_a_page_of_the_same_host_is_internal_whatever_the_case_and_the_port() {
    for (domain, referer) in [
        ("go.example", "https://GO.example/page"),
        ("go.example:8443", "https://GO.example:8443/page"),
        ("WWW.go.example", "https://go.example/"),
        ("[2001:db8::1]:80", "http://[2001:db8::1]/"),
        ("[2001:db8::1]", "http://[2001:db8::1]/"),
    ] {
        let click = RawClick { domain: Some(domain), referer: Some(referer), ..click() };
        assert_eq!(enriched(&click).medium, "internal", "{domain} {referer}");
    }
    let other = RawClick {
        domain: Some("go.example:8443"),
        referer: Some("https://no.example/"),
        ..click()
    };
    assert_eq!(enriched(&other).medium, "referral");
}

#[test]
fn r9_an_organic_click_of_a_social_network_is_not_search() {
    let answer = by("utm_source=facebook&utm_medium=organic");
    assert_eq!((&*answer.source, answer.channel), ("Facebook", "organic_social"));
}

#[test]
fn r10_ampersands_of_a_pages_source_separate_parameters() {
    let answer = by("utm_campaign=spring&amp;utm_medium=email&amp;utm_source=newsletter");
    assert_eq!(answer.utm[..3], ["newsletter", "email", "spring"]);
    assert_eq!(answer.channel, "email");
}

#[test]
fn r11_a_second_question_mark_separates_parameters() {
    let answer = by("page=2?utm_source=linkedin&utm_medium=social");
    assert_eq!(answer.utm[..2], ["linkedin", "social"]);
    assert_eq!((&*answer.source, answer.channel), ("LinkedIn", "organic_social"));
}

#[test]
fn r12_names_of_parameters_count_in_any_case() {
    let answer = by("UTM_SOURCE=linkedin&UTM_MEDIUM=social");
    assert_eq!(answer.utm[..2], ["linkedin", "social"]);
    assert_eq!(answer, by("utm_source=linkedin&utm_medium=social"));
}

#[test]
fn r13_the_preferred_language_is_taken() {
    for (accept, expected) in [("en;q=0.5,de;q=0.9", "de"), ("en_US", "en-us")] {
        let click = RawClick { accept_language: Some(accept), ..click() };
        assert_eq!(enriched(&click).language, expected, "{accept}");
    }
}

#[test]
fn r14_values_are_decoded_once_and_a_source_has_one_name() {
    assert_eq!(by("utm_term=no%2520code%2520founders").utm[3], "no%20code%20founders");
    assert_eq!(by("utm_source=LinkedIn").source, by("utm_source=linkedin").source);
}

#[test]
fn r15_a_click_id_of_facebook_is_named() {
    let click = RawClick {
        query: Some("fbclid=IwAR0"),
        referer: Some("https://l.facebook.com/"),
        ..click()
    };
    let answer = enriched(&click);
    assert_eq!((answer.channel, &*answer.click_id), ("organic_social", "fbclid"));
}

#[test]
fn r16_hosts_below_a_search_and_a_network_are_known() {
    for (referer, source) in [
        ("android-app://com.google.android.googlequicksearchbox/", "Google"),
        ("android-app://com.google.android.googlequicksearchbox/https/www.google.com", "Google"),
        ("https://search.google.com/", "Google"),
        ("https://www.google.com.hk/", "Google"),
        ("https://www-example-org.cdn.ampproject.org/", "Google"),
        ("https://lm.facebook.com/", "Facebook"),
        ("https://out.reddit.com/", "Reddit"),
        ("https://search.brave.com/", "Brave Search"),
    ] {
        assert_eq!(from(referer).source, source, "{referer}");
    }
}

#[test]
fn r17_odd_values_are_kept_and_unknown_names_ignored() {
    assert_eq!(by("utm_term=a%00b").utm[3], "a\0b");
    assert_eq!(by("utm_term=caf%E9").utm[3], "caf\u{fffd}");
    assert_eq!(by("utm_term=%F0%9F%8C%B1").utm[3], "\u{1f331}");
    assert_eq!(by("utm_source=one&utm_source=two").utm[0], "one");
    assert_eq!(by("utm_source[]=one").utm[0], "");
}
