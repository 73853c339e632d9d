//! Keywords by which programs declare themselves, where no list knows them. A browser sends none.

use crate::enrich::bot::bot_class::BotClass;

/// Beginnings of libraries' names. A browser's agent starts with `Mozilla/` or `Opera/`.
const LIBRARIES: &[&str] = &[
    "aiohttp",
    "apache-httpclient",
    "axios",
    "curl",
    "dart/",
    "go-http-client",
    "guzzlehttp",
    "java/",
    "lua-resty",
    "libcurl",
    "libwww",
    "lwp",
    "node",
    "okhttp",
    "perl",
    "php",
    "postmanruntime",
    "python",
    "reqwest",
    "ruby",
    "undici",
    "wget",
];

/// In their order: the first that is found decides.
const DECLARATIONS: &[(&str, BotClass)] = &[
    ("gptbot", BotClass::AiAgent),
    ("chatgpt", BotClass::AiAgent),
    ("oai-searchbot", BotClass::AiAgent),
    ("claudebot", BotClass::AiAgent),
    ("claude-", BotClass::AiAgent),
    ("perplexity", BotClass::AiAgent),
    ("linkexpanding", BotClass::LinkPreview),
    ("externalhit", BotClass::LinkPreview),
    ("unfurl", BotClass::LinkPreview),
    ("link preview", BotClass::LinkPreview),
    ("linkpreview", BotClass::LinkPreview),
    ("urlpreview", BotClass::LinkPreview),
    ("previewbot", BotClass::LinkPreview),
    ("monitor", BotClass::Monitor),
    ("uptime", BotClass::Monitor),
    ("pingdom", BotClass::Monitor),
    ("healthcheck", BotClass::Monitor),
    ("http://", BotClass::DeclaredCrawler),
    ("https://", BotClass::DeclaredCrawler),
    ("www.", BotClass::DeclaredCrawler),
    ("bot/", BotClass::DeclaredCrawler),
    ("bot;", BotClass::DeclaredCrawler),
    ("bot)", BotClass::DeclaredCrawler),
    ("bot-", BotClass::DeclaredCrawler),
    ("bot,", BotClass::DeclaredCrawler),
    ("bot ", BotClass::DeclaredCrawler),
    ("bots", BotClass::DeclaredCrawler),
    ("robot", BotClass::DeclaredCrawler),
    ("crawl", BotClass::DeclaredCrawler),
    ("spider", BotClass::DeclaredCrawler),
    ("slurp", BotClass::DeclaredCrawler),
    ("scrap", BotClass::DeclaredCrawler),
    ("scan", BotClass::DeclaredCrawler),
    ("feed", BotClass::DeclaredCrawler),
    ("fetch", BotClass::DeclaredCrawler),
    ("check", BotClass::DeclaredCrawler),
    ("archiv", BotClass::DeclaredCrawler),
    ("validator", BotClass::DeclaredCrawler),
    ("headless", BotClass::DeclaredCrawler),
    ("webthumb", BotClass::DeclaredCrawler),
    ("like gecko; google ", BotClass::DeclaredCrawler),
    ("like gecko; google-", BotClass::DeclaredCrawler),
    ("like gecko, google-", BotClass::DeclaredCrawler),
];

/// Whether `text` contains `word`, which is in small letters, however `text` is written. For short
/// texts: takes as many steps as both have bytes, multiplied.
pub(super) fn contains_ignore_case(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

/// The class that a user agent declares which no list knows. `is_unidentified`: nothing else is
/// known of it.
pub(super) fn declared_class(user_agent: &str, is_unidentified: bool) -> Option<BotClass> {
    let text = user_agent.trim();
    let starts =
        |word: &str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if LIBRARIES.iter().any(|word| starts(word)) {
        return Some(BotClass::HttpLibrary);
    }
    let rest = without_model(text);
    // Once, so that each word is searched by the linear search of the standard library.
    let small = rest.to_ascii_lowercase();
    let declared = DECLARATIONS.iter().find(|(word, _)| small.contains(word));
    if let Some((_, class)) = declared {
        return Some(*class);
    }
    if ends_with(rest, "bot") || contains_mail_address(rest) {
        return Some(BotClass::DeclaredCrawler);
    }
    // A program: no browser, and it names neither a system nor a device.
    let browser = ["mozilla/", "opera/", "dalvik/", "\"mozilla/", "ucweb"];
    (is_unidentified && !browser.iter().any(|word| starts(word))).then_some(BotClass::HttpLibrary)
}

/// The part after a phone's model, which may be called anything: `M bot 60 Build/NRD90M`.
fn without_model(text: &str) -> &str {
    match text.find(" Build/") {
        Some(end) if text.contains("Android") => &text[end..],
        Some(_) | None => text,
    }
}

/// A contact address, as crawlers name one. (`android@150.0` is a version.)
fn contains_mail_address(text: &str) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphabetic();
    text.as_bytes()
        .windows(3)
        .any(|part| part[1] == b'@' && part[0].is_ascii_alphanumeric() && letter(&part[2]))
}

fn ends_with(text: &str, word: &str) -> bool {
    let start = text.len().checked_sub(word.len());
    start.and_then(|start| text.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(word))
}

/// Characters of a name that are kept.
const NAME_MAX: usize = 32;

/// The name of a program that no list knows: its first word that is no browser's.
pub(super) fn name(user_agent: &str) -> String {
    const BROWSERS: [&str; 8] =
        ["mozilla", "opera", "compatible", "applewebkit", "khtml", "like", "gecko", "x11"];
    let end = |c: char| !(c.is_ascii_alphanumeric() || "-_.!".contains(c));
    let mut words = user_agent.split([' ', ';', '(', ')', ',', '+']).filter_map(|part| {
        let word = part.split(end).next()?;
        let letters = word.bytes().any(|byte| byte.is_ascii_alphabetic());
        (letters && word.len() > 1).then_some(word)
    });
    let first = words.find(|word| !BROWSERS.iter().any(|own| own.eq_ignore_ascii_case(word)));
    first.unwrap_or_default().chars().take(NAME_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phones_with_odd_names_are_people() {
        for text in [
            "Mozilla/5.0 (Linux; Android 7.0; M bot 60 Build/NRD90M; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/67.0.3396.87 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Mobile Safari/537.36 (Ecosia android@150.0.0.0)",
            "Mozilla/5.0 (Linux; Android 9; CUBOT_NOTE_S) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/96.0.4664.104 Mobile Safari/537.36",
        ] {
            assert_eq!(declared_class(text, false), None, "{text}");
        }
    }

    #[test]
    fn an_unlisted_program_gets_its_first_word_for_a_name() {
        for (text, expected) in [
            ("Mozilla/5.0 (compatible; NewThing/1.0; +https://new.example)", "NewThing"),
            ("curl/8.5.0", "curl"),
            ("my-checker (v2)", "my-checker"),
            ("ÄÖ", ""),
        ] {
            assert_eq!(name(text), expected, "{text}");
        }
    }
}
