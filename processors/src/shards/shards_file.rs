//! The file of the shards (TOML): reads it, with the passwords that it names, and refuses a file that is wrong.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use broker::ServerError;
use serde::Deserialize;
use service::shown_url::without_secrets;
use url::Url;

use crate::clickhouse::server::{Server, read_password};
use crate::shards::cluster::Shard;

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShardsFile {
    cluster: Option<String>,
    #[serde(default, rename = "shard")]
    shards: Vec<ShardEntry>,
}

/// One `[[shard]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShardEntry {
    #[serde(default = "one")]
    weight: u32,
    #[serde(default)]
    replicas: Vec<String>,
    user: Option<String>,
    password_file: Option<PathBuf>,
}

fn one() -> u32 {
    1
}

/// Reads the shards, and the name of the cluster if the file has one. A shard has the user, the password and
/// the database of `defaults` where the file names no other ones.
///
/// # Errors
/// The file or a file of a password cannot be read, or the file is wrong.
pub fn read(path: &Path, defaults: &Server) -> Result<(Vec<Shard>, Option<String>), ServerError> {
    let refused = |wrong: String| {
        let text = format!("CLICKHOUSE_SHARDS {}: {wrong}", path.display());
        ServerError::fatal("clickhouse_shards", text)
    };
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    let ShardsFile { cluster, shards } = parse(&text).map_err(refused)?;
    let shard = |(number, entry): (u32, ShardEntry)| {
        let password = match &entry.password_file {
            None => defaults.password.clone(),
            Some(file) => read_password(file).map_err(|error| {
                refused(format!("password_file of shard {number}: {}: {error}", file.display()))
            })?,
        };
        let user = entry.user.unwrap_or_else(|| defaults.user.clone());
        let server = |url: String| Server {
            url,
            user: user.clone(),
            password: password.clone(),
            database: defaults.database.clone(),
        };
        let replicas = entry.replicas.into_iter().map(server).collect();
        Ok(Shard { number, weight: entry.weight, replicas })
    };
    let shards = (1..).zip(shards).map(shard).collect::<Result<_, ServerError>>()?;
    Ok((shards, cluster))
}

/// The file of a text; else what is wrong with it.
fn parse(text: &str) -> Result<ShardsFile, String> {
    let file: ShardsFile = toml::from_str(text).map_err(|error| refusal(text, &error))?;
    if file.shards.is_empty() {
        return Err("it has no [[shard]]".to_owned());
    }
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    let is_name = |name: &String| !name.is_empty() && name.chars().all(is_part);
    if !file.cluster.as_ref().is_none_or(is_name) {
        return Err("cluster is not a name of letters, digits, _ and -".to_owned());
    }
    let mut known = BTreeSet::new();
    for (number, shard) in (1..).zip(&file.shards) {
        check(number, shard, &mut known)?;
    }
    Ok(file)
}

/// Refuses a shard that is wrong; `known` are the URLs of the shards before it.
fn check(number: u32, shard: &ShardEntry, known: &mut BTreeSet<String>) -> Result<(), String> {
    if shard.weight == 0 {
        return Err(format!("the weight of shard {number} is 0; the lowest weight is 1"));
    }
    if shard.replicas.is_empty() {
        return Err(format!("shard {number} has no replicas; it needs the URL of one at least"));
    }
    for (replica, url) in (1..).zip(&shard.replicas) {
        let parsed = Url::parse(url).ok();
        let parsed =
            parsed.filter(|url| url.has_host() && ["http", "https"].contains(&url.scheme()));
        let Some(parsed) = parsed else {
            let expected = "is not a URL such as http://clickhouse-1:8123";
            return Err(format!("replica {replica} of shard {number} {expected}"));
        };
        let server = format!("{:?} {:?}", parsed.host_str(), parsed.port_or_known_default());
        if !known.insert(format!("{server} {}", parsed.path())) {
            let url = without_secrets(url);
            return Err(format!("{url} is there twice; a server is a replica of one shard"));
        }
    }
    Ok(())
}

/// The error of the parser with its line, and without the value, which may be a secret.
fn refusal(text: &str, error: &toml::de::Error) -> String {
    let message = match error.message().rsplit_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") => format!("expected {expected}"),
        Some(_) | None => error.message().to_owned(),
    };
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map(|before| before.matches('\n').count() + 1);
    line.map_or_else(|| message.clone(), |line| format!("line {line}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARDS: &str = r#"
        cluster = "clicktrail"
        [[shard]]
        replicas = ["http://a:8123", "https://b"]
        [[shard]]
        weight = 3
        replicas = ["http://c:8123"]
        user = "writer"
    "#;

    fn defaults() -> Server {
        Server {
            url: "http://unused".to_owned(),
            user: "default".to_owned(),
            password: "geheim".to_owned(),
            database: "clicktrail".to_owned(),
        }
    }

    #[test]
    fn shards_have_numbers_weights_replicas_and_the_default_user() {
        let folder = tempfile::tempdir().unwrap();
        let (path, password) = (folder.path().join("shards.toml"), folder.path().join("password"));
        std::fs::write(&password, "secret\n").unwrap();
        let line = format!("password_file = {:?}\n", password.display().to_string());
        std::fs::write(&path, format!("{SHARDS}{line}")).unwrap();
        let (shards, name) = read(&path, &defaults()).unwrap();
        assert_eq!(name.as_deref(), Some("clicktrail"));
        let servers = shards.iter().flat_map(|shard| {
            let (number, weight) = (shard.number, shard.weight);
            let of = move |own: &Server| (number, weight, own.user.clone(), own.password.clone());
            shard.replicas.iter().map(of).collect::<Vec<_>>()
        });
        let expected =
            [(1, 1, "default", "geheim"), (1, 1, "default", "geheim"), (2, 3, "writer", "secret")];
        let expected = expected.map(|(number, weight, user, password)| {
            (number, weight, user.to_owned(), password.to_owned())
        });
        assert_eq!(servers.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_file_that_is_wrong_is_refused_with_its_cause_and_no_secret() {
        let replicas = "replicas = [\"http://a\"]";
        for (text, cause) in [
            (String::new(), "it has no [[shard]]"),
            ("[[shard]]".to_owned(), "shard 1 has no replicas; it needs the URL of one at least"),
            (
                format!("[[shard]]\nweight = 0\n{replicas}"),
                "the weight of shard 1 is 0; the lowest weight is 1",
            ),
            (format!("[[shard]]\nweight = -1\n{replicas}"), "line 2: expected u32"),
            (
                format!("[[shard]]\n{replicas}\n[[shard]]\n{replicas}"),
                "http://a is there twice; a server is a replica of one shard",
            ),
            (
                "[[shard]]\nreplicas = [\"http://a\", \"https://u:geheim@b/x\", \"https://b:443/x\"]"
                    .to_owned(),
                "https://b/x is there twice; a server is a replica of one shard",
            ),
            (
                "[[shard]]\nreplicas = [\"http://a\", \"geheim\"]".to_owned(),
                "replica 2 of shard 1 is not a URL such as http://clickhouse-1:8123",
            ),
            (
                "[[shard]]\nreplicas = \"http://u:geheim@a\"".to_owned(),
                "line 2: expected a sequence",
            ),
            (
                format!("[[shard]]\n{replicas}\npassword = \"geheim\""),
                "line 3: unknown field `password`, expected one of `weight`, `replicas`, `user`, \
                 `password_file`",
            ),
            (
                format!("cluster = \"a b\"\n[[shard]]\n{replicas}"),
                "cluster is not a name of letters, digits, _ and -",
            ),
        ] {
            assert_eq!(parse(&text).unwrap_err(), cause, "{text}");
        }
    }

    #[test]
    fn the_error_names_setting_and_file() {
        let error = read(Path::new("/nowhere/shards.toml"), &defaults()).unwrap_err();
        assert_eq!(error.code, "clickhouse_shards");
        assert!(error.message.starts_with("CLICKHOUSE_SHARDS /nowhere/shards.toml: "), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shards.toml");
        std::fs::write(
            &path,
            "[[shard]]\nreplicas = [\"http://a\"]\npassword_file = \"/nowhere/p\"",
        )
        .unwrap();
        let error = read(&path, &defaults()).unwrap_err();
        assert!(error.message.contains("password_file of shard 1: /nowhere/p: "), "{error}");
    }
}
