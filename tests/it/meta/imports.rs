//! Which file imports which, and that no two import each other.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{none, rust, without_tests};

/// A module by its path within its crate; the root is empty.
type Module = Vec<String>;

/// One crate: its modules, each with its file's text.
struct Crate {
    name: String,
    modules: BTreeMap<Module, String>,
}

/// Every path of a `use` tree: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn leaves(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let segments = |path: &str| -> Vec<String> {
        let path = path.split(" as ").next().unwrap_or_default();
        path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let Some((prefix, rest)) = tree.split_once('{') else { return vec![segments(tree)] };
    let inner = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(leaves).map(|leaf| segments(prefix).into_iter().chain(leaf).collect()).collect()
}

/// The `use` trees of a text: each with whether it is public.
fn uses(text: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("use ") {
        let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = text[line..at].trim();
        let public = before.starts_with("pub");
        if (before.is_empty() || public)
            && let Some(end) = text[at..].find(';')
        {
            found.push((public, text[at + 4..at + end].to_owned()));
        }
    }
    found
}

/// Paths in expressions and types: `crate::a::b`, `super::c`.
fn inline(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in text.match_indices(start) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|letter| letter.is_alphanumeric() || "_:$".contains(letter)) {
                continue;
            }
            let path: String = text[at..]
                .chars()
                .take_while(|letter| letter.is_alphanumeric() || "_:".contains(*letter))
                .collect();
            let path = leaves(&path).remove(0);
            // `crate::{…}` is the head of a `use` tree.
            if path.len() > 1 {
                found.push(path);
            }
        }
    }
    found
}

impl Crate {
    fn read(name: &str, folder: &str, root: &str, files: &[(String, String)]) -> Self {
        let mut modules = BTreeMap::new();
        for (path, text) in files {
            let Some(inside) = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'))
            else {
                continue;
            };
            if inside == "main.rs" || inside.ends_with("tests.rs") {
                continue;
            }
            let stem = inside.strip_suffix(".rs").unwrap_or(inside);
            let module: Module = match inside == root {
                true => Vec::new(),
                false => stem.split('/').map(str::to_owned).collect(),
            };
            modules.insert(module, without_comments(&without_tests(text)));
        }
        assert!(modules.contains_key(&Vec::new()), "{name} has no {root}");
        Self { name: name.to_owned(), modules }
    }

    /// The module that defines what `path` names in `from`; none for another crate's item.
    fn resolve(&self, from: &Module, path: &[String], depth: usize) -> Option<Module> {
        let (mut at, mut rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (from.clone(), &path[1..]),
            "super" => {
                let up = path.iter().take_while(|part| *part == "super").count();
                (from[..from.len().checked_sub(up)?].to_vec(), &path[up..])
            }
            child => {
                let module: Module = from.iter().cloned().chain([child.to_owned()]).collect();
                self.modules.contains_key(&module).then_some((module, &path[1..]))?
            }
        };
        while let Some(part) = rest.first() {
            let child: Module = at.iter().cloned().chain([part.clone()]).collect();
            if self.modules.contains_key(&child) {
                (at, rest) = (child, &rest[1..]);
                continue;
            }
            // A re-exported item belongs to another file.
            let text = self.modules.get(&at)?;
            for leaf in uses(text).into_iter().filter(|(public, _)| *public && depth < 8) {
                for leaf in leaves(&leaf.1) {
                    if leaf.last() == Some(part) && leaf.len() > 1 {
                        return self.resolve(&at, &leaf, depth + 1).or(Some(at));
                    }
                }
            }
            break;
        }
        Some(at)
    }

    fn imports(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let mut all = BTreeMap::new();
        for (module, text) in &self.modules {
            let trees = uses(text);
            let paths = trees.iter().flat_map(|(_, tree)| leaves(tree)).chain(inline(text));
            let targets: BTreeSet<Module> = paths
                .filter_map(|path| self.resolve(module, &path, 0))
                .filter(|target| target != module)
                .collect();
            all.insert(module.clone(), targets);
        }
        all
    }

    /// A way from a module back to itself, if there is one.
    fn circle(&self) -> Option<String> {
        let imports = self.imports();
        for start in imports.keys() {
            let mut paths = vec![vec![start.clone()]];
            let mut seen = BTreeSet::new();
            while let Some(path) = paths.pop() {
                let last = path.last()?;
                for next in imports.get(last).into_iter().flatten() {
                    if next == start {
                        let names: Vec<_> = path.iter().map(|module| module.join("::")).collect();
                        return Some(format!("{}: {}", self.name, names.join(" -> ")));
                    }
                    if seen.insert(next.clone()) {
                        paths.push(path.iter().cloned().chain([next.clone()]).collect());
                    }
                }
            }
        }
        None
    }
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

const CRATES: [(&str, &str); 8] = [
    ("schemas", "schemas/src"),
    ("records", "records/src"),
    ("broker", "broker/src"),
    ("service", "service/src"),
    ("producer", "producer/src"),
    ("processors", "processors/src"),
    ("clickhouse-front", "clickhouse-front/src"),
    ("stack", "stack/src"),
];

#[test]
fn no_two_files_import_each_other() {
    let files = rust();
    let crates = CRATES.map(|(name, folder)| Crate::read(name, folder, "lib.rs", &files));
    let edges: usize =
        crates.iter().flat_map(|own| own.imports().into_values()).map(|to| to.len()).sum();
    assert!(edges > 400, "only {edges} imports are found");
    none("files that import each other", crates.iter().filter_map(Crate::circle).collect());
}

#[test]
fn a_circle_of_imports_is_found() {
    let file = |path: &str, text: &str| (format!("x/{path}"), text.to_owned());
    for (child, found) in [
        ("use super::Parent;", true),
        ("use crate::other::Thing;", true),
        ("use crate::{leaf, other::{self, Thing}};", true),
        ("fn f() -> crate::other::Thing {}", true),
        ("#[cfg(test)]\nmod tests {\n    use super::super::Parent;\n}", false),
        ("// crate::other\nuse crate::leaf::Leaf;\nuse std::fmt;", false),
    ] {
        let files = [
            file("lib.rs", "pub mod parent;\npub mod other;\npub mod leaf;\n"),
            file("parent.rs", "pub mod child;\npub use child::Child;\npub struct Parent;\n"),
            file("parent/child.rs", child),
            file("other.rs", "use crate::parent::Child;\n"),
            file("leaf.rs", "use std::io;\n"),
        ];
        let circle = Crate::read("x", "x", "lib.rs", &files).circle();
        assert_eq!(circle.is_some(), found, "{child}: {circle:?}");
    }
}
