//! Keywords by which machines declare themselves. They count where a machine puts its name.

use crate::enrich::bot::bot_class::BotClass;

/// In order: the first keyword that is found decides.
pub(super) const DECLARATIONS: &[(&str, BotClass)] = &[
    ("gptbot", BotClass::AiCrawler),
    ("chatgpt", BotClass::AiAgent),
    ("oai-searchbot", BotClass::AiCrawler),
    ("claudebot", BotClass::AiCrawler),
    ("claude-user", BotClass::AiAgent),
    ("claude-", BotClass::AiCrawler),
    ("perplexity-user", BotClass::AiAgent),
    ("perplexity", BotClass::AiCrawler),
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
];

/// Parts of the names, in lower case, of programs that fetch a page when a person asks a language model. The list of
/// crawlers gives them the same tag as those that read for a model's training or index.
const AI_AGENTS: &[&str] = &[
    "-user",
    "perplexityuser",
    "deep-research",
    "devin",
    "duckassist",
    "kagi-fetcher",
    "linkreader",
    "notebooklm",
    "tavily",
];

/// The class of a program of a language model, by its name.
pub(super) fn class_of_ai(name: &str) -> BotClass {
    match contains_any(&name.to_lowercase(), AI_AGENTS) {
        true => BotClass::AiAgent,
        false => BotClass::AiCrawler,
    }
}

/// Whether `text` contains one of `words`. Both are in lower case.
pub(super) fn contains_any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

/// Whether `text` contains `word`, which is in lower case; ignores the case of `text`. For short texts:
/// the time is proportional to the product of both lengths.
pub(super) fn contains_ignore_case(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

/// The class that a text in lower case declares.
pub(super) fn declared_class(text: &str) -> Option<BotClass> {
    let word = DECLARATIONS.iter().find(|(word, _)| text.contains(word));
    let robot = text.ends_with("bot").then_some(BotClass::DeclaredCrawler);
    word.map(|(_, class)| *class).or(robot)
}

/// Whether a name in lower case is a keyword and nothing else.
pub(super) fn is_keyword(name: &str) -> bool {
    let name = name.trim_matches(|end: char| !end.is_ascii_alphanumeric());
    DECLARATIONS.iter().any(|(word, _)| *word == name)
}

/// The class of a machine whose name, in lower case, is in no list.
pub(super) fn class_of_name(name: &str) -> BotClass {
    declared_class(name).unwrap_or(BotClass::DeclaredCrawler)
}
