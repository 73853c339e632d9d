//! Links of the documents: each leads to a file, and to a heading where it names one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use harness::root;

use super::source::{files, none};

/// The text without fenced code, in which neither a bracket is a link nor a `#` a heading.
fn prose(text: &str) -> String {
    text.split("\n```").step_by(2).collect()
}

/// The anchors of the headings of a page, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let text = prose(text);
    let (mut counts, mut anchors) = (BTreeMap::new(), BTreeSet::new());
    for heading in text.lines().filter(|line| line.starts_with('#')) {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let is_kept = |letter: &char| letter.is_alphanumeric() || "-_ ".contains(*letter);
        let anchor = words.chars().filter(is_kept).collect::<String>().replace(' ', "-");
        let count = counts.entry(anchor.clone()).or_insert(0);
        anchors.insert(if *count == 0 { anchor } else { format!("{anchor}-{count}") });
        *count += 1;
    }
    anchors
}

/// What is wrong with a link of a document.
fn fault(document: &Path, target: &str) -> Option<String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = match file {
        "" => root().join(document),
        file => root().join(document.parent()?).join(file),
    };
    let page = std::fs::read_to_string(&file).unwrap_or_default();
    let fault = match (file.exists(), anchor) {
        (false, _) => "no such file",
        (true, "") => return None,
        (true, anchor) if anchors(&page).contains(anchor) => return None,
        (true, _) => "no such heading",
    };
    Some(format!("{}: {target}: {fault}", document.display()))
}

#[test]
fn every_link_of_a_document_leads_to_a_file_and_a_heading() {
    let (mut wrong, mut found) = (Vec::new(), 0);
    for (path, text) in files().iter().filter(|(path, _)| path.ends_with(".md")) {
        let text = prose(text);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            found += 1;
            wrong.extend(fault(Path::new(path), target));
        }
    }
    assert!(found > 100, "only {found} links are found");
    none("links of documents", wrong);
}

#[test]
fn headings_have_the_anchors_that_links_use() {
    let text =
        "# A `b_c` page\n```\n# no heading\n```\n## What 200 promises\n### Limits\n### Limits\n";
    let expected = ["a-b_c-page", "what-200-promises", "limits", "limits-1"];
    assert_eq!(anchors(text), BTreeSet::from(expected.map(str::to_owned)));
    let broken = fault(Path::new("README.md"), "docs/producer.md#no-such-heading");
    assert_eq!(broken.unwrap(), "README.md: docs/producer.md#no-such-heading: no such heading");
}
