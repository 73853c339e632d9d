//! Generated clicks of each kind: hosts of portals, spellings of parameters, sources with media.

use super::{by, from_host, hosts_are};

#[test]
fn f6_no_host_below_a_portal_inherits_its_medium() {
    const PORTALS: [&str; 26] = [
        "google.com",
        "google.de",
        "google.co.jp",
        "amazon.com",
        "amazon.co.uk",
        "ebay.de",
        "mail.ru",
        "web.de",
        "gmx.net",
        "gmx.at",
        "naver.com",
        "daum.net",
        "seznam.cz",
        "yahoo.com",
        "yahoo.co.jp",
        "yandex.ru",
        "yandex.com.tr",
        "ya.ru",
        "baidu.com",
        "rambler.ru",
        "icloud.com",
        "bing.com",
        "kagi.com",
        "deepseek.com",
        "taboola.com",
        "qwant.com",
    ];
    const SERVICES: [&str; 12] = [
        "disk",
        "photos",
        "contacts",
        "weather",
        "sport",
        "games",
        "hotels",
        "auto",
        "myaccount",
        "passport",
        "workspace",
        "pages.host",
    ];
    let (mut tried, mut wrong) = (0, Vec::new());
    for portal in PORTALS {
        for host in [portal.to_owned(), format!("www.{portal}")] {
            let answer = from_host(&host);
            assert_ne!(answer.medium, "referral", "{host}: {answer:?}");
        }
        for host in SERVICES.map(|service| format!("{service}.{portal}")) {
            let answer = from_host(&host);
            if (answer.medium, &*answer.source) != ("referral", &*host) {
                wrong.push(format!("{host}: {answer:?}"));
            }
            tried += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried >= 50, "{tried}");
}

#[test]
fn f6_help_and_sign_in_of_a_known_site_are_referrals() {
    const SITES: [&str; 14] = [
        "facebook.com",
        "instagram.com",
        "x.com",
        "linkedin.com",
        "tiktok.com",
        "pinterest.co.uk",
        "reddit.com",
        "youtube.com",
        "discord.com",
        "slack.com",
        "etsy.com",
        "chatgpt.com",
        "perplexity.ai",
        "fastmail.com",
    ];
    for site in SITES {
        for service in ["help", "developers", "ads", "status", "de.support", "business.eu"] {
            let host = format!("{service}.{site}");
            let answer = from_host(&host);
            assert_eq!((answer.medium, &*answer.source), ("referral", &*host));
        }
        for mirror in ["m", "l", "web", "de-de"] {
            let answer = from_host(&format!("{mirror}.{site}"));
            assert_ne!(answer.medium, "referral", "{mirror}.{site}");
        }
    }
}

/// Services of portals and other sites, by medium.
const SERVICES: [(&str, &[&str]); 9] = [
    (
        "search",
        &[
            "images.google.de",
            "m.google.com",
            "scholar.google.fr",
            "lens.google.com",
            "cn.bing.com",
            "html.duckduckgo.com",
            "noai.duckduckgo.com",
            "r.duckduckgo.com",
            "de.search.yahoo.com",
            "m.search.naver.com",
            "search.seznam.cz",
            "m.baidu.com",
            "image.baidu.com",
            "search.daum.net",
            "go.mail.ru",
            "suche.gmx.net",
            "search.gmx.com",
            "nova.rambler.ru",
            "szukaj.onet.pl",
            "so.m.sm.cn",
            "suche.freenet.de",
            "search.aol.co.uk",
            "ya.ru",
            "lite.qwant.com",
            "eu.startpage.com",
        ],
    ),
    (
        "email",
        &[
            "mail.google.com",
            "mail.yahoo.co.uk",
            "de.mail.yahoo.com",
            "mail.yandex.kz",
            "touch.mail.ru",
            "navigator.web.de",
            "3c.gmx.net",
            "deref-gmx.net",
            "email.seznam.cz",
            "mail.qq.com",
            "exmail.qq.com",
            "mail.163.com",
            "email.t-online.de",
            "webmail.freenet.de",
            "mail.rambler.ru",
            "poczta.onet.pl",
            "outlook.live.com",
            "us5.list-manage.com",
            "mail.zoho.eu",
        ],
    ),
    (
        "ai_assistant",
        &[
            "gemini.google.com",
            "bard.google.com",
            "chat.deepseek.com",
            "chat.qwen.ai",
            "lumo.proton.me",
            "alice.yandex.ru",
            "yiyan.baidu.com",
            "copilot.cloud.microsoft",
            "edgeservices.bing.com",
            "www.perplexity.ai",
            "chat.mistral.ai",
        ],
    ),
    ("social", &["tieba.baidu.com", "qzone.qq.com", "user.qzone.qq.com", "cafe.naver.com"]),
    ("video", &["m.youtube.com", "v.qq.com", "tv.naver.com"]),
    ("shopping", &["shopping.google.com", "shopping.yahoo.co.jp", "market.yandex.ru", "m.ebay.de"]),
    ("messaging", &["chat.google.com", "web.whatsapp.com", "mp.weixin.qq.com", "app.slack.com"]),
    ("display", &["tpc.googlesyndication.com", "ad.doubleclick.net", "yabs.yandex.ru"]),
    (
        "referral",
        &[
            "drive.google.com",
            "console.cloud.google.com",
            "support.google.com",
            "myaccount.google.com",
            "classroom.google.com",
            "maps.google.de",
            "translate.google.com",
            "console.aws.amazon.com",
            "sellercentral.amazon.de",
            "developer.amazon.com",
            "cloud.mail.ru",
            "news.mail.ru",
            "disk.yandex.ru",
            "passport.yandex.com",
            "console.yandex.cloud",
            "news.naver.com",
            "nid.naver.com",
            "pan.baidu.com",
            "baike.baidu.com",
            "docs.qq.com",
            "login.yahoo.com",
            "finance.yahoo.com",
            "groups.yahoo.com",
            "mapy.cz",
            "www.t-online.de",
            "signin.ebay.com",
            "blog.ecosia.org",
            "help.kagi.com",
            "platform.deepseek.com",
            "developer.x.com",
            "business.facebook.com",
            "studio.youtube.com",
            "support.discord.com",
            "web.de.example",
        ],
    ),
];

#[test]
fn f6_services_of_portals_have_their_own_medium() {
    assert!(SERVICES.iter().map(|(_, hosts)| hosts.len()).sum::<usize>() >= 50);
    for (medium, hosts) in SERVICES {
        hosts_are(medium, "", hosts);
    }
}

#[test]
fn f17_every_spelling_of_parameters_is_the_same() {
    const PLAIN: &str = "utm_source=newsletter&utm_medium=email&utm_campaign=May+sale&fbclid=q1";
    let expected = by(PLAIN);
    assert_eq!(expected.utm[..3], ["newsletter", "email", "May sale"]);
    let names: [fn(&str) -> String; 5] = [
        str::to_owned,
        str::to_uppercase,
        |name| name.replacen("utm", "Utm", 1).replacen("fb", "Fb", 1),
        |name| name.replace('_', "%5F"),
        |name| format!("{name}%20"),
    ];
    let separators =
        ["&", "&amp;", "&AMP;", "&amp%3B", "&#38;", "?", "%3F", ";", "%26", "%26amp;", "&&"];
    let mut tried = 0;
    for name in names {
        for separator in separators {
            for before in ["", "x=1&", "page=2?", "?", "a;"] {
                let spelled: Vec<String> = PLAIN
                    .split('&')
                    .map(|pair| pair.split_once('=').unwrap())
                    .map(|(key, value)| format!("{}={value}", name(key)))
                    .collect();
                let query = format!("{before}{}", spelled.join(separator));
                assert_eq!(by(&query), expected, "{query}");
                tried += 1;
            }
        }
    }
    assert!(tried >= 50, "{tried}");
}

#[test]
fn f17_a_separator_inside_a_value_is_part_of_the_value() {
    for (query, term) in [
        ("utm_term=who?", "who?"),
        ("utm_term=a;b", "a;b"),
        ("utm_term=fish%26chips", "fish&chips"),
        ("utm_term=x?y=z", "x?y=z"),
        ("utm_term=utm_medium", "utm_medium"),
        ("utm_term=a%3Butm", "a;utm"),
        ("utm_term=100%", "100%"),
    ] {
        assert_eq!(by(query).utm[3], term, "{query}");
    }
    // A whole address as a value keeps its own parameters.
    let nested = "u=https%3A%2F%2Fa.example%2F%3Futm_source%3Dinner&utm_source=outer";
    assert_eq!(by(nested).utm[0], "outer");
}

#[test]
fn f18_the_source_decides_before_the_medium_as_in_google_analytics() {
    let sources = |medium: &str| match medium {
        "shopping" => ["amazon.com", "ebay.de", "etsy.com", "idealo.de"],
        "social" => ["instagram", "Reddit", "tiktok.com", "lnkd.in"],
        "video" => ["youtube", "vimeo.com", "twitch", "bilibili.com"],
        "search" => ["google", "bing", "DuckDuckGo", "baidu.com"],
        "ai_assistant" => ["chatgpt.com", "perplexity", "claude.ai", "gemini"],
        "messaging" => ["whatsapp", "telegram", "t.me", "slack"],
        "email" => ["mailchimp", "gmail", "newsletter", "mail.yahoo.com"],
        _ => ["spring fair", "partner.example", "poster", "club-x"],
    };
    // The medium of the source, then the channel with `organic`, `social`, `video`, `referral`.
    let expected = [
        ("shopping", ["organic_shopping"; 4]),
        ("social", ["organic_social"; 4]),
        ("video", ["organic_video", "organic_social", "organic_video", "organic_video"]),
        ("search", ["organic_search", "organic_social", "organic_video", "organic_search"]),
        ("ai_assistant", ["ai_assistant", "organic_social", "organic_video", "ai_assistant"]),
        ("messaging", ["messaging", "organic_social", "organic_video", "messaging"]),
        ("email", ["email", "organic_social", "organic_video", "email"]),
        ("", ["organic_search", "organic_social", "organic_video", "referral"]),
    ];
    let mut tried = 0;
    for (medium, channels) in expected {
        for source in sources(medium) {
            for (utm_medium, channel) in
                ["organic", "Social", "video", "referral"].iter().zip(channels)
            {
                let answer = by(&format!("utm_source={source}&utm_medium={utm_medium}"));
                assert_eq!(answer.channel, channel, "{source} {utm_medium}: {answer:?}");
                tried += 1;
            }
            // What only the author knows is taken from the author.
            for (utm_medium, channel) in
                [("email", "email"), ("affiliate", "affiliate"), ("qr", "qr")]
            {
                let answer = by(&format!("utm_source={source}&utm_medium={utm_medium}"));
                assert_eq!(answer.channel, channel, "{source} {utm_medium}: {answer:?}");
            }
        }
    }
    assert!(tried >= 50, "{tried}");
}
