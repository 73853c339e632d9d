//! The page of the preview, built from its sources by npm and kept in the cache of downloads.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::cache::Cache;
use crate::error::{IoContext as _, StackError};
use crate::interrupt::Interrupt;
use crate::package::{check, fetch, sha256};

/// The begin of the names of all entries of the cache that are of the preview.
const NAME: &str = "preview-";
/// The checksums of what was built.
const SUMS: &str = "page.sha256";
/// What has a checksum; the icons beside it are npm's files.
const BUILT: [&str; 3] = ["index.html", "page.css", "page.js"];

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../dashboards/preview/", $name)))),*]
    };
}

/// The files that the page is built from.
const SOURCES: [(&str, &str); 31] = sources![
    ".npmrc",
    "build.mjs",
    "package-lock.json",
    "package.json",
    "page.html",
    "src/activity.ts",
    "src/address.ts",
    "src/api.ts",
    "src/csv.ts",
    "src/dashboard.ts",
    "src/field_options.ts",
    "src/frame.ts",
    "src/grid.tsx",
    "src/interpolation.ts",
    "src/main.tsx",
    "src/marks.tsx",
    "src/navigation.tsx",
    "src/page.css",
    "src/page.tsx",
    "src/panel.tsx",
    "src/panel_data.ts",
    "src/panels/drawn.tsx",
    "src/panels/heat_map.tsx",
    "src/panels/lines.tsx",
    "src/panels/table.tsx",
    "src/panels/timeline.tsx",
    "src/panels/values.tsx",
    "src/panels/world_map.tsx",
    "src/time_controls.tsx",
    "src/variable_bar.tsx",
    "src/view.ts",
];

/// What the packages depend on.
fn is_of_packages(name: &str) -> bool {
    [".npmrc", "package-lock.json", "package.json"].contains(&name)
}

/// The name of an entry of the cache: other sources have another one.
fn name(kind: &str, sources: impl Iterator<Item = (&'static str, &'static str)>) -> String {
    let mut hasher = Sha256::new();
    for text in sources.flat_map(|(name, text)| [name, text]) {
        hasher.update(text);
        hasher.update([0]);
    }
    let hash: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{NAME}{kind}-{}", &hash[..16])
}

/// Whether the page is in the cache.
pub(crate) fn is_built(cache: &Cache) -> bool {
    cache.entry(&name("page", SOURCES.into_iter())).is_dir()
}

/// The folder of the page, which is built if it is not in the cache.
///
/// # Errors
/// [`StackError::Prerequisite`] without npm, [`StackError::Fetch`] when npm or the bundler fails,
/// [`StackError::Checksum`] when a file of the cache has changed.
pub(crate) fn ensure(
    cache: &Cache,
    report: &dyn Fn(&str),
    interrupt: &Interrupt,
) -> Result<PathBuf, StackError> {
    let folder = cache.ensure(&name("page", SOURCES.into_iter()), interrupt, |folder| {
        let packages = packages(cache, report, interrupt)?;
        bundle(folder, &packages, interrupt)?;
        report("preview: its page is built");
        Ok(())
    })?;
    let sums = folder.join(SUMS);
    let sums = std::fs::read_to_string(&sums)
        .io_context(|| format!("reading {}; `stack clean --cache` removes it", sums.display()))?;
    for (sum, name) in sums.lines().filter_map(|line| line.split_once("  ")) {
        check(&folder.join(name), sum)?;
    }
    Ok(folder)
}

/// Removes the pages of all versions from a cache, and their packages.
pub(crate) fn remove(cache: &Cache, interrupt: &Interrupt) -> Result<(), StackError> {
    let entries = std::fs::read_dir(cache.root()).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let is_own = |name: &String| name.starts_with(NAME);
    let own = names.filter(is_own).filter_map(|name| Some(name.strip_suffix(".lock")?.to_owned()));
    own.collect::<Vec<_>>().iter().try_for_each(|name| cache.remove(&[name], interrupt))
}

/// The folder with npm's packages, which pages of other sources share. npm compares each with its checksum in the
/// lock file; no package runs a script of its own.
fn packages(
    cache: &Cache,
    report: &dyn Fn(&str),
    interrupt: &Interrupt,
) -> Result<PathBuf, StackError> {
    let sources = SOURCES.into_iter().filter(|(name, _)| is_of_packages(name));
    cache.ensure(&name("packages", sources.clone()), interrupt, |folder| {
        crate::prerequisites::need("npm", &["--version"], "npm", "npm")?;
        report("preview: fetching the packages of its page (npm)");
        write(folder, sources)?;
        let mut npm = Command::new("npm");
        npm.current_dir(folder).args(["ci", "--omit=dev", "--ignore-scripts", "--no-progress"]);
        fetch(npm, folder, "the packages of the preview", interrupt)
    })
}

fn bundle(folder: &Path, packages: &Path, interrupt: &Interrupt) -> Result<(), StackError> {
    let work = folder.join("work");
    write(&work, SOURCES.into_iter())?;
    let io = || format!("building the preview in {}", work.display());
    let installed = packages.join("node_modules");
    std::os::unix::fs::symlink(installed, work.join("node_modules")).io_context(io)?;
    let mut node = Command::new("node");
    node.current_dir(&work).arg("build.mjs").arg(folder);
    fetch(node, folder, "the preview (its bundle)", interrupt)?;
    std::fs::remove_dir_all(&work).io_context(io)?;
    let sums = BUILT.map(|name| Ok(format!("{}  {name}\n", sha256(&folder.join(name))?)));
    let sums: String = sums.into_iter().collect::<Result<_, StackError>>()?;
    std::fs::write(folder.join(SUMS), sums).io_context(io)
}

fn write(
    folder: &Path,
    sources: impl Iterator<Item = (&'static str, &'static str)>,
) -> Result<(), StackError> {
    for (name, text) in sources {
        let file = folder.join(name);
        let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(&file, text))
            .io_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Licences that packages of the page may have: those that crates may have (`deny.toml`), and such that give up
    /// all rights.
    const LICENCES: [&str; 9] = [
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "Zlib",
        "0BSD",
        "CC0-1.0",
        "Unlicense",
    ];
    /// Packages whose manifest names no licence; the file LICENSE of each is the Unlicense.
    const UNNAMED: [&str; 2] = ["fast-shallow-equal", "react-universal-interface"];

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards/preview")
    }

    fn files(folder: &Path, below: &str, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{below}{}", entry.file_name().to_str().unwrap());
            match entry.file_type().unwrap().is_dir() {
                true if name != "node_modules" && name != "dist" => {
                    files(&entry.path(), &format!("{name}/"), found);
                }
                true => {}
                false => drop(found.insert(name)),
            }
        }
    }

    #[test]
    fn the_page_is_built_from_every_source() {
        let mut found = BTreeSet::new();
        files(&folder(), "", &mut found);
        // It is for editors and for `tsc` only.
        found.remove("tsconfig.json");
        let named: BTreeSet<_> = SOURCES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(found, named);
    }

    #[test]
    fn the_sources_of_the_page_stay_short() {
        let is_source = |name: &str| name.starts_with("src/") || name.ends_with(".mjs");
        let own = SOURCES.iter().filter(|(name, _)| is_source(name));
        let lines: usize = own.map(|(_, text)| text.lines().count()).sum();
        assert!(lines <= 1_500, "{lines} lines");
    }

    /// `a OR b` permits one of both.
    fn is_permitted(licence: &str) -> bool {
        let licence = licence.trim_matches(['(', ')']);
        licence.split(" OR ").any(|one| one.split(" AND ").all(|one| LICENCES.contains(&one)))
    }

    #[test]
    fn every_package_of_the_page_is_pinned_and_has_a_permitted_licence() {
        let text = |name: &str| std::fs::read_to_string(folder().join(name)).unwrap();
        let lock: serde_json::Value = serde_json::from_str(&text("package-lock.json")).unwrap();
        let packages = lock["packages"].as_object().unwrap();
        assert!(packages.len() > 100, "{} packages", packages.len());
        for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
            let has = |field: &str| package[field].is_string();
            assert!(has("integrity") && has("version") && !has("resolved"), "{name}");
            let is_unnamed = UNNAMED.iter().any(|one| name.ends_with(&format!("/{one}")));
            let licence = package["license"].as_str().unwrap_or_default();
            assert!(is_unnamed || is_permitted(licence), "{name} has the licence {licence:?}");
        }
        let own: serde_json::Value = serde_json::from_str(&text("package.json")).unwrap();
        for (name, version) in own["dependencies"].as_object().unwrap() {
            let version = version.as_str().unwrap();
            assert!(version.starts_with(|first: char| first.is_ascii_digit()), "{name} {version}");
        }
    }
}
