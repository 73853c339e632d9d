//! Writes the files of the dashboards that are generated: `dashboards write [FOLDER]`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let folder = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write"] => PathBuf::from("dashboards"),
        ["write", folder] => PathBuf::from(folder),
        _ => return failed("Usage: dashboards write [FOLDER]; FOLDER is `dashboards` by default"),
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&format!("writing the dashboards into {}: {error}", folder.display())),
    }
}

fn write(folder: &Path) -> std::io::Result<()> {
    for (name, text) in dashboards::generated() {
        std::fs::write(folder.join(name).with_extension("json"), text)?;
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the output of a command line")]
fn failed(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::FAILURE
}
