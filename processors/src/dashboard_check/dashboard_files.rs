//! The files of dashboards: those of this version, or those of a folder.

use std::path::Path;

use broker::ServerError;
use dashboards::{Dashboard, files};

/// The code of a file that cannot be read.
const UNREADABLE: &str = "dashboard_file";

/// The dashboards of this version, each with the name of its file.
///
/// # Errors
/// A file is none of a dashboard.
pub(super) fn committed() -> Result<Vec<(String, Dashboard)>, ServerError> {
    files().into_iter().map(|(name, text)| parsed(name, name, text)).collect()
}

/// The dashboards of a folder: each file whose name ends in `.json`, without that ending, in the order of names.
///
/// # Errors
/// The folder or a file cannot be read, a file is none of a dashboard, or there is none.
pub(super) fn in_folder(folder: &Path) -> Result<Vec<(String, Dashboard)>, ServerError> {
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
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
        parsed(&name.unwrap_or_default(), &place, &text)
    };
    paths.iter().map(read).collect()
}

fn parsed(name: &str, place: &str, text: &str) -> Result<(String, Dashboard), ServerError> {
    let dashboard = Dashboard::parse(text).map_err(|error| {
        ServerError::fatal(
            UNREADABLE,
            format!("{place} is no dashboard in the classic format: {error}"),
        )
    })?;
    Ok((name.to_owned(), dashboard))
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
        let text = r#"{"uid": "u", "title": "T", "panels": []}"#;
        for name in ["b.json", "a.json", "c.txt"] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let read = in_folder(folder.path()).unwrap();
        let names: Vec<_> = read.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        std::fs::write(folder.path().join("b.json"), "{}").unwrap();
        assert!(error().message.contains("b.json is no dashboard"), "{}", error());
        assert_eq!(in_folder(Path::new("/nowhere")).unwrap_err().code, UNREADABLE);
    }
}
