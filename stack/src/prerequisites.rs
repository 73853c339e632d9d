//! The programs that a stack needs: Java, Maven, npm, tar.

use std::process::Command;

use crate::error::StackError;

/// The programs that a stack needs, each with its version or how to get it.
pub(crate) fn all() -> Vec<Result<String, StackError>> {
    vec![
        need_java(),
        need("mvn", &["--version"], "Maven (mvn)", "maven"),
        need("npm", &["--version"], "npm", "npm"),
        need("tar", &["--version"], "tar", "tar"),
    ]
}

/// # Errors
/// [`StackError::Prerequisite`] if the program does not run.
pub(crate) fn need(
    program: &str,
    arguments: &[&str],
    what: &'static str,
    package: &'static str,
) -> Result<String, StackError> {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let line = text.lines().next().unwrap_or_default();
            // Maven prints colours also into a pipe.
            let line = line.replace("\u{1b}[1m", "").replace("\u{1b}[m", "");
            Ok(format!("{program}: {line}"))
        }
        _ => Err(StackError::Prerequisite { what, package }),
    }
}

/// # Errors
/// [`StackError::Prerequisite`] if there is no Java, or one older than 17.
pub(crate) fn need_java() -> Result<String, StackError> {
    let output = Command::new("java").arg("-version").output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stderr).into_owned())
        .unwrap_or_default();
    match java_major(&text) {
        Some(major) if major >= 17 => Ok(format!("java: version {major}")),
        _ => Err(StackError::Prerequisite {
            what: "Java 17 or later",
            package: "openjdk-17-jdk-headless",
        }),
    }
}

fn java_major(text: &str) -> Option<u32> {
    let version = text.split('"').nth(1)?;
    version.split(['.', '-', '+']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_java_is_read_in_both_forms() {
        assert_eq!(java_major("openjdk version \"17.0.15\" 2025-04-15\n"), Some(17));
        assert_eq!(java_major("openjdk version \"21-ea\" 2023"), Some(21));
        assert_eq!(java_major("java version \"1.8.0_292\""), Some(1));
        assert_eq!(java_major(""), None);
    }
}
