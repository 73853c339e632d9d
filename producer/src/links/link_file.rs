//! A file of links: JSON lines, of which either all are used or none.
//!
//! Links are read one at a time, so that memory never holds a second copy of a large file. A line that is
//! not a link is an error that names file, line and cause.

use std::fs::File;
use std::hash::BuildHasher as _;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context as _;
use foldhash::quality::RandomState;
use thiserror::Error;

use crate::exit::Failure;
use crate::links::link::Link;
use crate::links::link_entry::{LinkEntry, LinkError};
use crate::links::link_table::LinkTable;
use crate::links::slug_case::SlugCase;

/// Why a file of links cannot be used. Then none of its links is used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}:{line}: {cause}")]
pub struct LinkFileError {
    /// Name of the file, as the operator gave it.
    pub file: String,
    /// Number of the line, counted from 1.
    pub line: u32,
    /// The fault of the line.
    pub cause: LinkError,
}

/// Opens a file of links and reads it with `parse`, which gets its text and its name.
///
/// # Errors
/// A configuration failure that names the file, and the line if one is at fault.
pub fn read<T>(
    file: &Path,
    parse: impl FnOnce(BufReader<File>, &str) -> Result<T, LinkFileError>,
) -> Result<T, Failure> {
    parse(open(file)?, &file.display().to_string()).map_err(Failure::configuration)
}

/// Opens a file of links.
///
/// # Errors
/// A configuration failure that names the file.
pub fn open(file: &Path) -> Result<BufReader<File>, Failure> {
    let opened = File::open(file).with_context(|| format!("links {}", file.display()));
    opened.map(BufReader::new).map_err(Failure::configuration)
}

/// Reads one JSON object per line; skips blank lines and lines that begin with `#`.
///
/// # Errors
/// The first line that is not a link, or otherwise the first line whose slug an earlier line has.
pub fn entries(text: impl BufRead, file: &str) -> Result<Vec<LinkEntry>, LinkFileError> {
    let mut entries = Vec::new();
    each(text, file, SlugCase::Sensitive, |entry| entries.push(entry))?;
    Ok(entries)
}

impl LinkTable {
    /// A table of exactly the links of a file.
    ///
    /// # Errors
    /// As [`entries`].
    pub fn parse(text: impl BufRead, file: &str) -> Result<Self, LinkFileError> {
        Self::parse_with(SlugCase::default(), text, file)
    }

    /// As [`LinkTable::parse`], with case-sensitive or case-insensitive slugs.
    ///
    /// # Errors
    /// As [`entries`].
    pub fn parse_with(
        slug_case: SlugCase,
        text: impl BufRead,
        file: &str,
    ) -> Result<Self, LinkFileError> {
        let links = Self::new(slug_case);
        each(text, file, slug_case, |entry| {
            if let Some(link) = Link::of(&entry) {
                links.apply(link);
            }
        })?;
        links.set_loaded();
        Ok(links)
    }

    /// Replaces the links of the table by those of a file, in any versions. Besides the table, memory only
    /// holds the differences. After an error nothing has changed.
    ///
    /// # Errors
    /// As [`entries`].
    pub fn reread(&self, text: impl BufRead, file: &str) -> Result<(), LinkFileError> {
        let mut changed = Vec::new();
        let names = each(text, file, self.slug_case(), |entry| {
            changed.extend(Link::of(&entry).filter(|link| !self.holds(link)));
        })?;
        changed.into_iter().for_each(|link| self.put(link));
        self.retain(|link| names.hold(link.domain(), link.slug()));
        Ok(())
    }
}

/// Passes each link of a file to `take`; returns the names of all links.
fn each(
    mut text: impl BufRead,
    file: &str,
    slug_case: SlugCase,
    mut take: impl FnMut(LinkEntry),
) -> Result<Names, LinkFileError> {
    let error = |line, cause| LinkFileError { file: file.to_owned(), line, cause };
    let (mut names, mut piece) = (Names { slug_case, ..Names::default() }, String::new());
    for line in 1.. {
        piece.clear();
        let read = text.read_line(&mut piece);
        if read.map_err(|cause| error(line, LinkError::Unreadable(cause.to_string())))? == 0 {
            break;
        }
        let text = piece.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let entry = LinkEntry::parse(text).map_err(|cause| error(line, cause))?;
        names.add(&entry.domain, &entry.slug, line);
        take(entry);
    }
    if let Some((first, line)) = names.twice() {
        return Err(error(line, LinkError::Twice { line: first }));
    }
    match names.twice_but_for_case() {
        Some((first, line)) => Err(error(line, LinkError::TwiceButForCase { line: first })),
        None => Ok(names),
    }
}

/// The names of the links of a file, 16 bytes each: the hash of a name, and its line.
#[derive(Default)]
struct Names {
    hasher: RandomState,
    lines: Vec<(u64, u32)>,
    slug_case: SlugCase,
    /// The same for names in small letters, if slugs are case-insensitive.
    folded: Vec<(u64, u32)>,
}

impl Names {
    fn add(&mut self, domain: &str, slug: &str, line: u32) {
        self.lines.push((self.hasher.hash_one((domain, slug)), line));
        if self.slug_case == SlugCase::Insensitive {
            let folded = slug.to_ascii_lowercase();
            self.folded.push((self.hasher.hash_one((domain, &folded)), line));
        }
    }

    /// Two lines with the same name: the earlier one, and the first later one.
    fn twice(&mut self) -> Option<(u32, u32)> {
        first_same(&mut self.lines)
    }

    /// Two lines whose names differ only in case, if slugs are case-insensitive.
    fn twice_but_for_case(&mut self) -> Option<(u32, u32)> {
        first_same(&mut self.folded)
    }

    /// Whether the file has a link. Call it after the names are sorted.
    fn hold(&self, domain: &str, slug: &str) -> bool {
        let hash = self.hasher.hash_one((domain, slug));
        self.lines.binary_search_by_key(&hash, |(known, _)| *known).is_ok()
    }
}

/// Two lines with the same hash: the earlier one, and the first later one. Sorts the hashes.
fn first_same(lines: &mut [(u64, u32)]) -> Option<(u32, u32)> {
    lines.sort_unstable();
    let same = lines.windows(2).filter(|two| two[0].0 == two[1].0);
    same.map(|two| (two[0].1, two[1].1)).min_by_key(|(_, line)| *line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::link_table::Resolution;

    const FILE: &str = r#"
# a comment
{"slug":"a","url":"https://example.com/x y?q=ü"}
{"slug":"a","url":"https://go.example/","domain":"go.example","id":"go-a","version":7}
{"slug":"off","url":"http://x/","disabled":true}
{"slug":"old/one","url":"http://x/","expires":"2020-01-01T00:00:00Z"}
"#;

    #[test]
    fn a_slug_means_its_link_on_its_domain() {
        let links = LinkTable::parse(FILE.as_bytes(), "f").unwrap();
        assert_eq!(links.count(), 4);
        let id = |domain, slug| match links.resolve(domain, slug, 1_600_000_000_000_000) {
            Resolution::Redirect(link) => format!("{} {}", link.id(), link.version()),
            Resolution::Disabled(link) => format!("disabled {}", link.id()),
            Resolution::Expired(link) => format!("expired {}", link.id()),
            Resolution::Unknown => "unknown".to_owned(),
            Resolution::NotYet => "not yet".to_owned(),
        };
        for (domain, slug, meaning) in [
            (None, "a", "a 1"),
            (Some("other.example"), "a", "a 1"),
            (Some("go.example"), "a", "go-a 7"),
            (Some("go.example"), "off", "disabled off"),
            (None, "old/one", "expired old/one"),
            (None, "A", "unknown"),
            (None, "", "unknown"),
        ] {
            assert_eq!(id(domain, slug), meaning, "{domain:?} {slug}");
        }
        let Resolution::Redirect(link) = links.resolve(None, "old/one", 0) else { panic!() };
        assert_eq!(link.expires_at(), Some(1_577_836_800_000_000));
        let target = "https://example.com/x%20y?q=%C3%BC";
        assert_eq!(links.named(None, "a").unwrap().target(), target);
    }

    #[test]
    fn a_line_that_is_no_link_is_named_with_its_cause() {
        let with = |url: &str| format!(r#"{{"slug":"a","url":"{url}"}}"#);
        for (line, part) in [
            ("{".to_owned(), "not a JSON object of a link"),
            (r#"{"slug":"a"}"#.to_owned(), "missing field `url`"),
            (r#"{"slug":"a","url":"http://x/","extra":1}"#.to_owned(), "unknown field `extra`"),
            (r#"{"slug":"a b","url":"http://x/"}"#.to_owned(), "slug \"a b\""),
            (r#"{"slug":"/a","url":"http://x/"}"#.to_owned(), "no slash"),
            (r#"{"slug":"robots.txt","url":"http://x/"}"#.to_owned(), "is reserved"),
            (r#"{"slug":"a","url":"http://x/","domain":"A:80"}"#.to_owned(), "domain \"A:80\""),
            (r#"{"slug":"a","url":"http://x/","id":""}"#.to_owned(), "id is empty"),
            (r#"{"slug":"a","url":"http://x/","expires":"soon"}"#.to_owned(), "expires \"soon\""),
            (with("javascript:alert(1)"), "only http and https"),
            (with("//x/"), "not an absolute URL"),
            (with("https://bank.example@evil.example/"), "user name"),
            (with("https://x/\\r\\nSet-Cookie: a"), "control character"),
            (with(&format!("https://x/{}", "a".repeat(2048))), "2048"),
            (with(&format!("https://x/{}", "ü".repeat(400))), "2048"),
        ] {
            let error =
                LinkTable::parse(format!("\n{line}\n").as_bytes(), "links.jsonl").unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("links.jsonl:2: ") && text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_repeated_slug_is_reported_with_both_lines() {
        let text = "{\"slug\":\"a\",\"url\":\"http://x/\"}\n".repeat(3);
        let text = format!("{{\"slug\":\"b\",\"url\":\"http://x/\"}}\n{text}");
        let error = LinkTable::parse(text.as_bytes(), "f").unwrap_err();
        assert_eq!(error.to_string(), "f:3: line 2 has the same slug");
    }

    #[test]
    fn f12_x3_slugs_of_a_file_that_collide_are_reported_with_both_lines() {
        let text = r#"{"slug":"b","url":"http://x/"}
{"slug":"Spring","url":"http://x/"}
{"slug":"spring","url":"http://x/","domain":"go.example"}
{"slug":"SPRING","url":"http://x/"}"#;
        assert_eq!(LinkTable::parse(text.as_bytes(), "f").unwrap().count(), 4);
        let links = |text: &str| LinkTable::parse_with(SlugCase::Insensitive, text.as_bytes(), "f");
        let error = links(text).unwrap_err().to_string();
        assert!(error.starts_with("f:4: line 2 has a slug that differs only in case"), "{error}");
        let (good, _) = text.rsplit_once('\n').unwrap();
        let table = links(good).unwrap();
        table.reread(text.as_bytes(), "f").unwrap_err();
        // A slug that is written otherwise now replaces the one before.
        table.reread(good.replace("Spring", "sPring").as_bytes(), "f").unwrap();
        assert_eq!((table.count(), table.named(None, "SPRING").unwrap().slug()), (3, "sPring"));
    }

    #[test]
    fn a_file_that_cannot_be_read_on_is_named_with_the_line() {
        let text = b"{\"slug\":\"a\",\"url\":\"http://x/\"}\n\xff\n";
        let error = LinkTable::parse(&text[..], "f").unwrap_err().to_string();
        assert!(error.starts_with("f:2: cannot be read: "), "{error}");
    }

    #[test]
    fn rereading_a_link_file_replaces_all_links_and_an_error_changes_nothing() {
        let links = LinkTable::parse(FILE.as_bytes(), "f").unwrap();
        let target = |slug| links.named(None, slug).map(|link| link.target().to_owned());
        let wrong = "{\"slug\":\"a\",\"url\":\"http://y/\"}\n{";
        links.reread(wrong.as_bytes(), "f").unwrap_err();
        assert_eq!((links.count(), target("off").as_deref()), (4, Some("http://x/")));
        let changes = links.changes();
        links.reread(FILE.as_bytes(), "f").unwrap();
        assert_eq!(links.changes(), changes, "nothing differs");
        // An older version, too: the file decides.
        let other = r#"{"slug":"a","url":"http://y/","version":1}
{"slug":"a","url":"https://go.example/","domain":"go.example","id":"go-a","version":6}
{"slug":"new","url":"http://z/"}"#;
        links.reread(other.as_bytes(), "f").unwrap();
        assert_eq!(links.count(), 3);
        assert_eq!(target("a").as_deref(), Some("http://y/"));
        assert_eq!(links.named(Some("go.example"), "a").unwrap().version(), 6);
        assert_eq!(target("new").as_deref(), Some("http://z/"));
        assert_eq!((target("off"), target("old/one")), (None, None));
    }
}
