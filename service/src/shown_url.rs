//! URLs of settings as logs, errors and help texts show them: without users, passwords and queries.

use url::Url;

const HIDDEN: &str = "…";

/// The URLs of `list`, comma-separated, without anything that may be a secret. It shows a part that is not
/// a URL only if that looks like a host name.
pub fn without_secrets(list: &str) -> String {
    let mut shown: Vec<String> = Vec::new();
    for part in parts(list) {
        shown.push(match Url::parse(&part) {
            Ok(url) if url.has_host() => one(&url),
            Ok(_) | Err(_) if is_host_name(&part) => part,
            Ok(_) | Err(_) => HIDDEN.to_owned(),
        });
    }
    shown.join(",")
}

/// Splits at commas. A part without `://` after one with it is the rest of a password that contains a
/// comma.
fn parts(list: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in list.split(',') {
        match parts.last_mut() {
            Some(last) if last.contains("://") && !part.contains("://") => {
                last.push(',');
                last.push_str(part);
            }
            Some(_) | None => parts.push(part.trim().to_owned()),
        }
    }
    parts
}

fn one(url: &Url) -> String {
    let user = if url.username().is_empty() && url.password().is_none() { "" } else { "…@" };
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    let query = if url.query().is_some() { "?…" } else { "" };
    let path = url.path().trim_end_matches('/');
    format!("{}://{user}{}{port}{path}{query}", url.scheme(), url.host_str().unwrap_or_default())
}

fn is_host_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    text.len() <= 253 && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l5_no_part_of_a_url_that_may_be_a_secret_is_shown() {
        for (given, shown) in [
            ("http://registry:8081", "http://registry:8081"),
            ("https://one:8443/base/", "https://one:8443/base"),
            ("http://user:geheim@registry:8081/x", "http://…@registry:8081/x"),
            ("http://geheim@one", "http://…@one"),
            ("http://user:ge@heim@one", "http://…@one"),
            ("http://u:geheim@one:1,https://v:geheim@two/x", "http://…@one:1,https://…@two/x"),
            ("http://u:ge,heim@one:1,http://two", "http://…@one:1,http://two"),
            ("http://one/?user=u&password=geheim", "http://one?…"),
            ("http://one/?password=ge@heim#geheim", "http://one?…"),
            ("http://one#geheim", "http://one"),
            ("http://u:ge?heim@one", HIDDEN),
            ("http://u:ge/heim@one", HIDDEN),
            ("http://u:ge heim@one", "http://…@one"),
            ("u:geheim@one", HIDDEN),
            ("registry", "registry"),
            ("broker:9092,other:9092", "broker:9092,other:9092"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(given), shown, "{given}");
        }
    }
}
