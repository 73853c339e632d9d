//! The editor of the operator, on a temporary file that only the user can read.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use tempfile::TempPath;
use tokio::process::Command;

/// The editor.
#[derive(Debug, Args)]
pub(super) struct EditorArgs {
    /// Editor, as a command of the shell that takes the file as its last argument; by default that of
    /// the environment variable EDITOR, or else vi.
    #[arg(long, env = "VISUAL", value_name = "COMMAND")]
    editor: Option<String>,
    /// Read by clap, since an argument has one environment variable only.
    #[arg(long = "editor-of-environment", env = "EDITOR", hide = true)]
    fallback: Option<String>,
}

/// A file that is edited. It is deleted when it is dropped.
#[derive(Debug)]
pub(super) struct EditedFile(TempPath);

impl EditedFile {
    /// A new file, in the folder for temporary files.
    pub(super) fn new() -> std::io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        let file = builder.prefix("dead-letter-").suffix(".json").tempfile()?;
        Ok(Self(file.into_temp_path()))
    }

    /// Replaces its text.
    pub(super) fn write(&self, text: &str) -> std::io::Result<()> {
        std::fs::File::create(&self.0)?.write_all(text.as_bytes())
    }

    /// Its text now; an editor may have replaced the file.
    pub(super) fn read(&self) -> std::io::Result<String> {
        std::fs::read_to_string(&self.0)
    }

    /// Keeps it; returns its path.
    pub(super) fn keep(self) -> std::io::Result<PathBuf> {
        self.0.keep().map_err(|error| error.error)
    }
}

impl EditorArgs {
    fn command(&self) -> &str {
        let mut named = [&self.editor, &self.fallback].into_iter().flatten().map(String::as_str);
        named.find(|command| !command.trim().is_empty()).unwrap_or("vi")
    }

    /// Runs the editor on the file until it ends.
    ///
    /// # Errors
    /// It cannot be started, or reports a failure.
    pub(super) async fn run(&self, file: &EditedFile) -> Result<(), String> {
        run(self.command(), &file.0).await
    }
}

async fn run(command: &str, path: &Path) -> Result<(), String> {
    let failed = |why: &dyn std::fmt::Display| format!("the editor {command:?} failed: {why}");
    // The shell splits a command such as `code --wait`.
    let script = format!("{command} \"$1\"");
    let status = Command::new("/bin/sh").arg("-c").arg(script).arg("sh").arg(path).status().await;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(&status)),
        Err(error) => Err(failed(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(editor: Option<&str>, fallback: Option<&str>) -> EditorArgs {
        EditorArgs { editor: editor.map(Into::into), fallback: fallback.map(Into::into) }
    }

    #[test]
    fn the_editor_is_that_of_visual_or_else_of_editor() {
        assert_eq!(args(Some("code --wait"), Some("ed")).command(), "code --wait");
        assert_eq!(args(Some(" "), Some("ed")).command(), "ed");
        assert_eq!(args(None, None).command(), "vi");
    }

    #[tokio::test]
    async fn an_editor_with_arguments_changes_the_file_and_a_failed_one_is_reported() {
        let file = EditedFile::new().unwrap();
        file.write("a b\n").unwrap();
        args(Some("sed -i s/a/c/"), None).run(&file).await.unwrap();
        assert_eq!(file.read().unwrap(), "c b\n");
        let error = args(Some("exit 3;"), None).run(&file).await.unwrap_err();
        assert!(error.contains("exit 3;") && error.contains("exit status: 3"), "{error}");
        let path = file.keep().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "c b\n");
        std::fs::remove_file(path).unwrap();
    }
}
