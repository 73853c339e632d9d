//! The parts of a user agent: where a machine puts its name, and where an app, a phone or a browser puts
//! its own.

use std::ops::Range;

use crate::enrich::bot::keywords::{contains_any, declared_class, is_keyword};

/// The kind of program that the form of a user agent shows, whatever names are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AgentForm {
    /// A complete browser: system, engine and browser.
    Browser,
    /// A browser inside an app: a complete browser whose own names are those of the app.
    WebView,
    /// An app of a phone: it names the phone's system and is not a complete browser.
    App,
    /// Any other program.
    Program,
}

/// A user agent, split once.
#[derive(Debug)]
pub(super) struct AgentText<'a> {
    text: &'a str,
    /// In lower case, of the same length.
    small: String,
    /// The content of a browser's first brackets, which name its system.
    system: Range<usize>,
    form: AgentForm,
    compatible_name: Option<&'a str>,
}

/// Parts of a browser's first brackets that name a system.
const SYSTEMS: &[&str] = &[
    "windows",
    "win98",
    "win95",
    "macintosh",
    "mac os",
    "mac_powerpc",
    "x11",
    "linux",
    "android",
    "andr0id",
    "iphone",
    "ipad",
    "ipod",
    "cros ",
    "bsd",
    "sunos",
    "blackberry",
    "bb10",
    "playbook",
    "symbian",
    "series",
    "tizen",
    "bada",
    "webos",
    "web0s",
    "hpwos",
    "playstation",
    "nintendo",
    "kaios",
    "meego",
    "maemo",
    "harmony",
    "j2me",
    "midp",
    "smart-tv",
    "smarttv",
    "netcast",
    "mobile;",
    "tablet;",
];
const ENGINES: &[&str] = &["applewebkit/", "gecko", "khtml", "trident/", "presto/", "msie "];
const BROWSERS: &[&str] = &[
    "chrome/",
    "crios/",
    "safari/",
    "firefox/",
    "fxios/",
    "version/",
    "mobile/",
    "opr/",
    "msie ",
    "trident/",
    "opera",
    "minefield/",
    "iceweasel/",
];
/// Systems of phones, as apps name them, and the HTTP libraries of apps.
const PHONES: &[&str] = &[
    "android",
    "iphone",
    "ipad",
    "ipod",
    " ios",
    "(ios",
    ";ios",
    "/ios",
    "cfnetwork/",
    "dalvik/",
    "harmonyos",
    "midp-",
];

/// Characters between the words of an agent.
const WORD_ENDS: [char; 5] = [' ', '(', ')', ';', ','];

impl<'a> AgentText<'a> {
    /// Splits a user agent without spaces around it.
    pub(super) fn new(text: &'a str) -> Self {
        let small = text.to_ascii_lowercase();
        let system = match small.trim_start_matches(['"', '\'']) {
            start if start.starts_with("mozilla") || start.starts_with("opera") => brackets(&small),
            _ => 0..0,
        };
        let form = form(&small, &small[system.clone()]);
        let mut agent = Self { text, small, system, form, compatible_name: None };
        agent.compatible_name = agent.find_compatible_name();
        agent
    }

    /// The user agent as sent.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// The parts that can hold a program's own name: what follows the system, then the system without a
    /// phone's model.
    pub(super) fn parts_of_name(&self) -> [&'a str; 3] {
        let device = self.device();
        let (system, text) = (&self.system, self.text);
        if system.is_empty() {
            return [&text[..device.start], &text[device.end..], ""];
        }
        let split = device.start.max(system.start)..device.end.max(system.start);
        [&text[system.end..], &text[system.start..split.start], &text[split.end..system.end]]
    }

    /// The user agent in lower case.
    pub(super) fn small(&self) -> &str {
        &self.small
    }

    pub(super) fn form(&self) -> AgentForm {
        self.form
    }

    /// Whether it starts as a browser's agent does.
    pub(super) fn starts_as_browser(&self) -> bool {
        const STARTS: [&str; 4] = ["mozilla", "opera/", "dalvik/", "ucweb"];
        let small = self.small.trim_start_matches(['"', '\'']);
        STARTS.iter().any(|start| small.starts_with(start))
    }

    /// Whether a name of the list counts at `place`.
    pub(super) fn is_a_machines_place(&self, place: Range<usize>) -> bool {
        let bytes = self.text.as_bytes();
        let first = bytes.get(place.start).copied().unwrap_or_default();
        let last = place.end.checked_sub(1).and_then(|end| bytes.get(end)).copied();
        let before = place.start.checked_sub(1).and_then(|end| bytes.get(end)).copied();
        let joins = |one: Option<u8>, other: Option<u8>| {
            [one, other].iter().all(|byte| byte.is_some_and(|byte| byte.is_ascii_alphanumeric()))
        };
        let next = bytes.get(place.end).copied().filter(u8::is_ascii_alphabetic);
        let is_word = !joins(before, Some(first)) && !joins(last, next);
        // It is part of a longer name or an address, or a word that may also be the name of an app.
        let is_part = before.is_some_and(|before| b"-_/.@".contains(&before));
        let is_common = self.small.get(place.clone()).is_some_and(is_keyword);
        let declares = || self.compatible_name.is_some() || self.has_contact_address();
        match self.form {
            AgentForm::Browser => {
                is_word && !self.is_device(&place) && (!is_part && !is_common || declares())
            }
            AgentForm::WebView => is_word && declares(),
            AgentForm::App => is_word && !self.is_device(&place),
            AgentForm::Program => is_word || !first.is_ascii_digit(),
        }
    }

    /// Whether it is that of a complete browser, inside an app or not.
    pub(super) fn is_browsers(&self) -> bool {
        matches!(self.form, AgentForm::Browser | AgentForm::WebView)
    }

    /// The word that contains `place`, without its version, if it is longer than `place` and not in the
    /// model of a phone.
    pub(super) fn longer_word(&self, place: &Range<usize>) -> Option<&'a str> {
        if self.is_device(place) {
            return None;
        }
        let text = self.text;
        let start = text[..place.start].rfind(WORD_ENDS).map_or(0, |end| end + 1);
        let end = text[place.end..].find(WORD_ENDS).map_or(text.len(), |end| place.end + end);
        let mut slashes = text[start..end].match_indices('/').map(|(slash, _)| start + slash);
        let end = slashes.find(|slash| is_version(&text[*slash..])).unwrap_or(end);
        (end >= place.end && end - start > place.len()).then(|| &text[start..end])
    }

    /// Whether it is that of a browser and has `word`, with or without a version, not in the model of a
    /// phone.
    pub(super) fn has_word(&self, word: &str) -> bool {
        self.is_browsers()
            && self.text.match_indices(word).any(|(start, _)| {
                let end = start + word.len();
                let rest = &self.text[end..];
                self.text[..start].ends_with(WORD_ENDS)
                    && (rest.is_empty() || rest.starts_with(WORD_ENDS) || is_version(rest))
                    && !self.is_device(&(start..end))
            })
    }

    /// Whether a place is in the model of a phone.
    fn is_device(&self, place: &Range<usize>) -> bool {
        let device = self.device();
        device.start < place.end && place.start < device.end
    }

    /// The model of a phone: the part after those of the system and the locale.
    fn device(&self) -> Range<usize> {
        let system =
            if self.system.is_empty() { brackets(&self.small) } else { self.system.clone() };
        let Some(phone) = self.small[system.clone()].find("andr") else { return 0..0 };
        let mut start = system.start + phone;
        let mut parts = self.small[start..system.end].split_inclusive(';');
        start += parts.next().map_or(0, str::len);
        for part in parts {
            let name = part.trim_matches([' ', ';']);
            let is_locale =
                name.len() < 6 && !name.contains(|c: char| c.is_ascii_digit() || c == ' ');
            if !is_locale || !part.ends_with(';') {
                return start..start + part.len();
            }
            start += part.len();
        }
        0..0
    }

    /// The name after `compatible;`, unless it is that of a browser or a system: only machines put a
    /// name there.
    pub(super) fn compatible_name(&self) -> Option<&'a str> {
        self.compatible_name
    }

    fn find_compatible_name(&self) -> Option<&'a str> {
        const WORD: &str = "compatible";
        self.small.match_indices(WORD).find_map(|(start, _)| {
            let before = self.small[..start].trim_end().chars().next_back();
            if !before.is_some_and(|before| "(;,".contains(before)) {
                return None;
            }
            let end = start + WORD.len();
            let (small, text) = (&self.small[end..], &self.text[end..]);
            let rest = small.trim_start();
            if !rest.starts_with([';', ',']) {
                return None;
            }
            let mut offset = small.len() - rest.len() + 1;
            loop {
                let part = &text[offset..];
                let length = part.find([';', ')', '(']).unwrap_or(part.len());
                let name = part[..length].trim_matches([' ', '+']);
                if name.len() > 1 {
                    // A complete browser may begin with a mark of its owner, which has no version.
                    let at = self.text.len() - text.len() + offset;
                    let is_mark = self.form == AgentForm::Browser
                        && self.system.contains(&at)
                        && !name.contains('/')
                        && declared_class(&name.to_ascii_lowercase()).is_none();
                    let is_browser = is_browser_or_system(&name.to_ascii_lowercase());
                    return (!is_mark && !is_browser).then_some(name);
                }
                // `U`, `I` and `N` denote the encryption of an old browser.
                offset += length + 1;
                if !name.is_empty() || !part[length..].starts_with(';') {
                    return None;
                }
            }
        })
    }

    /// Whether it has an address in the form that only machines use.
    pub(super) fn has_contact_address(&self) -> bool {
        self.small.contains("+http") || self.small.contains("+ http")
    }

    /// The user agent in lower case, without a phone's model.
    pub(super) fn small_without_device(&self) -> String {
        let device = self.device();
        [&self.small[..device.start], " ", &self.small[device.end..]].concat()
    }

    /// The text after `like Gecko` in the same brackets, where browsers write nothing.
    pub(super) fn name_after_engine(&self) -> Option<&'a str> {
        let start = self.small.find("khtml, like gecko")? + "khtml, like gecko".len();
        let rest = self.text[start..].split(')').next()?;
        let name = rest.trim_start_matches([';', ',', ' ']).trim_end();
        // Old browsers put their name after a comma.
        let is_machines = rest.starts_with(';')
            || name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("google"));
        (is_machines && name.len() > 1 && !is_browser_or_system(&name.to_ascii_lowercase()))
            .then_some(name)
    }
}

/// Whether a text starts with a slash and a version.
fn is_version(text: &str) -> bool {
    text.strip_prefix('/').is_some_and(|rest| rest.starts_with(|next: char| next.is_ascii_digit()))
}

/// The content of the first brackets, with all brackets inside.
fn brackets(text: &str) -> Range<usize> {
    let Some(start) = text.find('(') else { return 0..0 };
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate().skip(start) {
        match byte {
            b'(' => depth += 1,
            b')' if depth == 1 => return start + 1..at,
            b')' => depth -= 1,
            _ => {}
        }
    }
    start + 1..text.len()
}

fn form(small: &str, system: &str) -> AgentForm {
    let has_browser = contains_any(small, BROWSERS);
    // An app on a Mac, or on a tablet that claims to be one, has no name after the engine.
    let is_mac = system.starts_with("macintosh") && small.contains("applewebkit/");
    let is_complete = contains_any(system, SYSTEMS) && contains_any(small, ENGINES);
    if is_complete && (has_browser || is_mac) {
        let is_apple =
            (system.starts_with("ip") || is_mac && !has_browser) && !small.contains(" safari/");
        let is_android = system.ends_with("; wv") || system.contains("; wv;");
        if is_apple || is_android || small.contains(" electron/") {
            AgentForm::WebView
        } else {
            AgentForm::Browser
        }
    } else if contains_any(small, PHONES) {
        AgentForm::App
    } else {
        AgentForm::Program
    }
}

/// Whether a part of brackets, in lower case, is one that browsers write.
fn is_browser_or_system(part: &str) -> bool {
    const STARTS: &[&str] = &[
        "msie",
        "mspie",
        "ms web",
        "konqueror",
        "opera",
        "netscape",
        "aol",
        "omniweb",
        "icab",
        "netfront",
        "safari",
        "chrome",
        "firefox",
        "mozilla",
        "ibrowse",
        "offbyone",
        "wap",
        "galeon",
        "midp",
        "palm",
        "avantgo",
        "pocket",
        "nokia",
        "blackberry",
        "teleca",
        "webtv",
        "ubuntu",
        "trident",
        "intel mac",
        "netpositive",
        "blazer",
    ];
    let begins = |word: &&str| {
        part.strip_prefix(*word)
            .is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphabetic()))
    };
    let is_locale = part.len() == 5 && part.as_bytes()[2] == b'-';
    let is_browser =
        STARTS.iter().chain(SYSTEMS).any(|word| begins(&word.trim_end_matches([' ', ';'])));
    is_locale || is_browser && !part.starts_with("msie or")
}
