//! Programs that are not browsers: libraries, office programs, and those that have only a name.

use crate::enrich::bot::agent_text::{AgentForm, AgentText};
use crate::enrich::bot::bot_class::BotClass;
use crate::enrich::bot::keywords::{class_of_name, contains_any, declared_class};

/// Prefixes of the names of libraries. A browser's agent starts with `Mozilla/` or `Opera/`.
const LIBRARIES: &[&str] = &[
    "aiohttp",
    "apache-httpclient",
    "axios",
    "curl",
    "dart/",
    "docker/",
    "fasthttp",
    "git/",
    "go-http-client",
    "google-",
    "gradle/",
    "guzzlehttp",
    "java/",
    "kubectl/",
    "lua-resty",
    "libcurl",
    "libwww",
    "lwp",
    "node",
    "npm/",
    "okhttp",
    "perl",
    "php",
    "pip/",
    "pnpm/",
    "postmanruntime",
    "python",
    "reqwest",
    "ruby",
    "undici",
    "wget",
    "yarn/",
];

/// Office programs, which fetch a link before they open a browser with it: at the beginning.
const OFFICE_STARTS: &[&str] = &[
    "microsoft office",
    "microsoft outlook",
    "microsoft word",
    "microsoft excel",
    "microsoft powerpoint",
    "microsoft onenote",
    "ms-office",
    "msoffice",
    "outlook-express/",
    "outlook-ios",
    "outlook-android",
    "macoutlook/",
    "libreoffice",
    "openoffice",
];
/// Office programs after the system, such as `Word/16.0` on a Mac.
const OFFICE_NAMES: &[&str] = &[" word/", " excel/", " powerpoint/", " outlook/", " onenote/"];
/// Office programs in the brackets of the browser that they embed.
const OFFICE_PARTS: &[&str] = &[
    "; msoffice ",
    "; microsoft outlook ",
    "; microsoft word ",
    "; microsoft excel ",
    "; microsoft powerpoint ",
];

/// Parts of the agents of browsers and phones: a text that has one is more than the name of a program.
const PEOPLE: &[&str] = &[
    "android",
    "iphone",
    "ipad",
    "browser/",
    "browser ",
    "internetbrowser",
    "chrome/",
    "safari/",
    "firefox/",
    "opera",
    "midp",
    "wap",
    "gecko",
    "webkit",
    "up.link",
    "maui",
    "ucbrowser",
    "windows nt",
    "mac os",
    "explorer",
    "smarttv",
    "smart-tv",
    "tizen",
    "roku",
    "netfront",
    "docomo",
    "symbian",
    "nokia",
    "blackberry",
    "mre/",
    "kddi",
    "sleipnir",
    "dillo",
    "iceweasel",
    "w3m",
    "lynx",
    "links/",
    "nsplayer",
    "quicktime",
    "foxmail",
    "amiga",
    "icab",
    "hotjava",
    "vizio",
    "spotify",
    "galaxy",
    "hbbtv",
    "palm",
    "teleca",
    "hybridcast",
    "libvlc",
    "dlnadoc",
    "hulu/",
    "kreatv",
    "tpapi",
];

/// Programs through which a browser sends the requests of a person, in lower case.
const BROWSERS_OWN: &[&str] = &["mozacfetch/"];

/// Whether it is an office program.
pub(super) fn is_office(agent: &AgentText<'_>) -> bool {
    let small = agent.small();
    let starts = |word: &&str| small.starts_with(*word);
    OFFICE_STARTS.iter().any(starts)
        || contains_any(small, OFFICE_PARTS)
        || matches!(agent.form(), AgentForm::Program | AgentForm::Browser)
            && agent.starts_as_browser()
            && contains_any(small, OFFICE_NAMES)
}

/// The class of an agent that is not a complete browser's and is in no list.
pub(super) fn program_class(agent: &AgentText<'_>) -> Option<BotClass> {
    let small = agent.small();
    let is_library = LIBRARIES.iter().any(|word| small.starts_with(word));
    if is_library || agent.form() == AgentForm::App && small.contains("http client") {
        return Some(BotClass::HttpLibrary);
    }
    match agent.form() {
        AgentForm::Browser | AgentForm::WebView => None,
        AgentForm::App => {
            let name = small.split(['/', ' ', '(', ';']).next().unwrap_or_default();
            let is_machine = ["bot", "crawler", "spider"].iter().any(|word| name.ends_with(word));
            is_machine.then(|| class_of_name(name))
        }
        AgentForm::Program => {
            let rest = agent.small_without_device();
            let has_address = contains_mail_address(&rest).then_some(BotClass::DeclaredCrawler);
            declared_class(&rest).or(has_address)
        }
    }
}

/// Whether it is a program through which a browser sends the requests of a person.
pub(super) fn is_browsers_own(agent: &AgentText<'_>) -> bool {
    BROWSERS_OWN.iter().any(|start| agent.small().starts_with(start))
}

/// Whether it is a browser whose agent does not have the usual form.
pub(super) fn is_unusual_browser(agent: &AgentText<'_>) -> bool {
    let small = agent.small();
    let name = small.split(['/', '(']).next().unwrap_or_default();
    let name =
        name.trim_end_matches(|last: char| last == ' ' || last == '.' || last.is_ascii_digit());
    name.ends_with("browser") && agent.form() == AgentForm::Program
}

/// Whether it is a program that names neither a browser nor a device.
pub(super) fn is_bare_program(agent: &AgentText<'_>) -> bool {
    let small = agent.small();
    if agent.form() != AgentForm::Program {
        return false;
    }
    match small.strip_prefix("mozilla/5.0 ") {
        // Only the beginning of a browser's agent, and a name.
        Some(rest) => {
            let name = rest.strip_prefix('(').unwrap_or(rest);
            name.starts_with(|first: char| first.is_ascii_alphabetic())
                && !name.contains(';')
                && !contains_any(name, PEOPLE)
        }
        None => {
            !agent.starts_as_browser()
                && (small.contains('/')
                    || small.bytes().filter(u8::is_ascii_alphabetic).count() > 3)
                && !contains_any(small, PEOPLE)
        }
    }
}

/// A contact address, as crawlers name one. (`android@150.0` is a version.)
fn contains_mail_address(text: &str) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphabetic();
    text.as_bytes()
        .windows(3)
        .any(|part| part[1] == b'@' && part[0].is_ascii_alphanumeric() && letter(&part[2]))
}
