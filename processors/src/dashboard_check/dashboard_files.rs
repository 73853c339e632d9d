//! The files of dashboards: those of this version, or those of a folder.

use std::path::Path;

use broker::ServerError;
use dashboards::{Dashboard, files};

/// The code of a file that cannot be read.
const UNREADABLE: &str = "dashboard_file";

/// The dashboards of this version.
///
/// # Errors
/// A file is none of a dashboard.
pub(super) fn committed() -> Result<Vec<Dashboard>, ServerError> {
    files().into_iter().map(|(name, text)| parsed(name, text)).collect()
}

/// The dashboards of a folder: each file whose name ends in `.json`, in the order of names.
///
/// # Errors
/// The folder or a file cannot be read, a file is none of a dashboard, or there is none.
pub(super) fn in_folder(folder: &Path) -> Result<Vec<Dashboard>, ServerError> {
    let shown = folder.display();
    let unreadable = |error| ServerError::fatal(UNREADABLE, format!("{shown}: {error}"));
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        let text = format!("{shown} has no file whose name ends in .json");
        return Err(ServerError::fatal(UNREADABLE, text));
    }
    let read = |path: &std::path::PathBuf| {
        let place = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ServerError::fatal(UNREADABLE, format!("{place}: {error}")))?;
        parsed(&place, &text)
    };
    paths.iter().map(read).collect()
}

fn parsed(place: &str, text: &str) -> Result<Dashboard, ServerError> {
    Dashboard::parse(text).map_err(|error| {
        let text = format!("{place} is no dashboard in the classic format: {error}");
        ServerError::fatal(UNREADABLE, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_folder_are_read_and_each_fault_names_its_file() {
        assert!(committed().unwrap().len() > 1);
        let folder = tempfile::tempdir().unwrap();
        let error = || in_folder(folder.path()).unwrap_err();
        assert!(error().message.contains("has no file"), "{}", error());
        for name in ["b.json", "a.json", "c.txt"] {
            let text = format!(r#"{{"uid": "{name}", "title": "T", "panels": []}}"#);
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let read = in_folder(folder.path()).unwrap();
        let uids: Vec<_> = read.iter().map(|dashboard| dashboard.uid.as_str()).collect();
        assert_eq!(uids, ["a.json", "b.json"]);
        std::fs::write(folder.path().join("b.json"), "{}").unwrap();
        assert!(error().message.contains("b.json is no dashboard"), "{}", error());
        assert_eq!(in_folder(Path::new("/nowhere")).unwrap_err().code, UNREADABLE);
    }
}
