//! The page of the preview, built from its sources by npm and kept in the cache of downloads.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::cache::Cache;
use crate::error::{IoContext as _, StackError};
use crate::interrupt::Interrupt;
use crate::package::{check, fetch, sha256};

/// The begin of the names of all pages in the cache.
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
const SOURCES: [(&str, &str); 30] = sources![
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
    "src/panels/values.tsx",
    "src/panels/world_map.tsx",
    "src/time_controls.tsx",
    "src/variable_bar.tsx",
    "src/view.ts",
];

/// The name of the page of these sources in the cache: another source has another page.
pub(crate) fn name() -> String {
    let mut hasher = Sha256::new();
    for (name, text) in SOURCES {
        hasher.update(name);
        hasher.update([0]);
        hasher.update(text);
        hasher.update([0]);
    }
    let hash: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{NAME}{}", &hash[..16])
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
    let folder = cache.ensure(&name(), interrupt, |folder| build(folder, report, interrupt))?;
    let sums = folder.join(SUMS);
    let sums = std::fs::read_to_string(&sums)
        .io_context(|| format!("reading {}; `stack clean --cache` removes it", sums.display()))?;
    for (sum, name) in sums.lines().filter_map(|line| line.split_once("  ")) {
        check(&folder.join(name), sum)?;
    }
    Ok(folder)
}

/// Removes the pages of all versions from a cache.
pub(crate) fn remove(cache: &Cache, interrupt: &Interrupt) -> Result<(), StackError> {
    let entries = std::fs::read_dir(cache.root()).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let locks = names.filter(|name| name.starts_with(NAME) && name.ends_with(".lock"));
    locks
        .collect::<Vec<_>>()
        .iter()
        .try_for_each(|lock| cache.remove(&[lock.trim_end_matches(".lock")], interrupt))
}

fn build(folder: &Path, report: &dyn Fn(&str), interrupt: &Interrupt) -> Result<(), StackError> {
    crate::prerequisites::need("npm", &["--version"], "npm", "npm")?;
    report("preview: fetching the packages of its page (npm)");
    let work = folder.join("work");
    for (name, text) in SOURCES {
        let file = work.join(name);
        let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(&file, text))
            .io_context(|| format!("writing {}", file.display()))?;
    }
    // No package runs a script of its own: all that is needed are their files.
    let mut npm = Command::new("npm");
    npm.current_dir(&work).args(["ci", "--omit=dev", "--ignore-scripts", "--no-progress"]);
    fetch(npm, folder, "the packages of the preview", interrupt)?;
    let mut node = Command::new("node");
    node.current_dir(&work).arg("build.mjs").arg(folder);
    fetch(node, folder, "the preview (its bundle)", interrupt)?;
    std::fs::remove_dir_all(&work).io_context(|| format!("removing {}", work.display()))?;
    let sums = BUILT.map(|name| Ok(format!("{}  {name}\n", sha256(&folder.join(name))?)));
    let sums: String = sums.into_iter().collect::<Result<_, StackError>>()?;
    std::fs::write(folder.join(SUMS), sums).io_context(|| format!("writing {SUMS}"))?;
    report("preview: its page is built");
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
        let is_source = |name: &str| name.ends_with(".ts") || name.ends_with(".tsx");
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
