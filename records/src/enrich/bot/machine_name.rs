//! The name of a machine that is in no list, from its user agent.

use crate::enrich::bot::agent_text::AgentText;

/// Characters of a name that are kept.
const NAME_MAX: usize = 32;

/// Words that name a browser, an engine, a system or a device and not a machine, in lower case.
const OTHERS: &[&str] = &[
    "mozilla",
    "opera",
    "compatible",
    "applewebkit",
    "khtml",
    "like",
    "gecko",
    "x11",
    "linux",
    "windows",
    "nt",
    "win64",
    "wow64",
    "x64",
    "x86_64",
    "i686",
    "macintosh",
    "intel",
    "mac",
    "os",
    "iphone",
    "ipad",
    "ipod",
    "cpu",
    "android",
    "mobile",
    "chrome",
    "safari",
    "version",
    "firefox",
    "msie",
    "trident",
    "ubuntu",
    "wv",
    "rv",
    "http",
    "https",
    "www",
];

/// The name after `compatible;`, without its version.
pub(super) fn of_part(part: &str) -> String {
    let end = |text: &str| text.find(['/', '+', ',', ':', '[']).unwrap_or(text.len());
    let name = part[..end(part)].trim();
    let mut words = name.split(' ').filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default();
    let rest = words.take_while(|word| word.starts_with(|first: char| first.is_alphabetic()));
    let version = |word: &&str| {
        !(word.starts_with(['v', 'V']) && word.ends_with(|last: char| last.is_ascii_digit()))
    };
    let name = rest.take_while(version).fold(first.to_owned(), |name, word| name + " " + word);
    shortened(&name)
}

/// The first word that names no browser, system, device or language.
pub(super) fn of_agent(agent: &AgentText<'_>) -> String {
    let end = |c: char| !(c.is_ascii_alphanumeric() || "-_.!".contains(c));
    let parts = agent.parts_of_name();
    let words = parts.iter().flat_map(|part| part.split([' ', ';', '(', ')', ',', '+']));
    let mut words = words.filter_map(|part| {
        let word = part.split(end).next()?;
        let letters = word.bytes().any(|byte| byte.is_ascii_alphabetic());
        (letters && word.len() > 1).then_some(word)
    });
    let first = words.find(|word| !is_anothers(word) && !is_language(word));
    shortened(first.unwrap_or_default())
}

/// Whether a text has words, and each names a browser, an engine, a system or a device.
pub(super) fn names_others_only(text: &str) -> bool {
    let words = text.split(|next: char| !next.is_ascii_alphanumeric());
    let mut words =
        words.filter(|word| word.bytes().any(|byte| byte.is_ascii_alphabetic())).peekable();
    words.peek().is_some() && words.all(is_anothers)
}

/// Whether a word has the form of a language and its country, such as `en-gb`.
fn is_language(word: &str) -> bool {
    word.len() == 5 && matches!(word.as_bytes()[2], b'-' | b'_')
}

/// Whether a word is the name of a browser, an engine, a system or a device.
pub(super) fn is_anothers(word: &str) -> bool {
    OTHERS.iter().any(|other| other.eq_ignore_ascii_case(word))
}

fn shortened(name: &str) -> String {
    name.chars().take(NAME_MAX).collect()
}
