//! Authenticates the user of a request. Pure. The engine has no users, so the front checks the
//! password; it has two users, and none can be added.

use crate::exception::Exception;

/// A user of the front.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: String,
    /// May only read.
    pub read_only: bool,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

/// The credentials of a request, in each of ClickHouse's three ways.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// `X-ClickHouse-User` and `X-ClickHouse-Key`.
    pub(crate) headers: Option<(String, String)>,
    /// The `Authorization` header as sent.
    pub(crate) authorization: Option<String>,
    /// `user` and `password` of the URL.
    pub(crate) url: Option<(String, String)>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

/// The user that the credentials prove, or ClickHouse's error 516.
///
/// # Errors
/// `AUTHENTICATION_FAILED` for an unknown user, a wrong password, a scheme other than
/// Basic, or two ways of signing in at once.
pub(crate) fn authenticate<'a>(
    users: &'a [User],
    given: &Credentials,
) -> Result<&'a User, Exception> {
    let ways = [given.headers.is_some(), given.authorization.is_some(), given.url.is_some()];
    if ways.iter().filter(|&&used| used).count() > 1 {
        return Err(failed(
            "Invalid authentication: it is not allowed to use two ways of authentication simultaneously",
        ));
    }
    let (name, password) = if let Some(header) = &given.authorization {
        basic(header).ok_or_else(|| {
            failed("Invalid authentication: only the Basic HTTP Authorization scheme is supported")
        })?
    } else {
        let pair = given.headers.as_ref().or(given.url.as_ref());
        pair.cloned().unwrap_or_else(|| ("default".to_owned(), String::new()))
    };
    let name = if name.is_empty() { "default" } else { &name };
    users.iter().find(|user| user.name == name && same(&user.password, &password)).ok_or_else(|| {
        failed(&format!(
            "{name}: Authentication failed: password is incorrect, or there is no user with such name"
        ))
    })
}

fn failed(message: &str) -> Exception {
    Exception::new(516, message, "AUTHENTICATION_FAILED")
}

/// Compares without stopping at the first difference.
fn same(left: &str, right: &str) -> bool {
    left.len() == right.len()
        && left.bytes().zip(right.bytes()).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
}

fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(base64(encoded.trim())?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// Decodes standard base64; twenty lines are less than a dependency.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut held, mut bits) = (0u32, 0u32);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = (held << 6) | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from((held >> bits) & 0xff).ok()?);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Vec<User> {
        let user = |name: &str, read_only| User {
            name: name.into(),
            password: format!("{name}-key"),
            read_only,
        };
        vec![user("writer", false), user("reader", true)]
    }

    fn pair(name: &str, password: &str) -> Option<(String, String)> {
        Some((name.to_owned(), password.to_owned()))
    }

    #[test]
    fn each_way_to_sign_in_works_alone() {
        let users = users();
        let headers =
            Credentials { headers: pair("writer", "writer-key"), ..Credentials::default() };
        assert!(!authenticate(&users, &headers).unwrap().read_only);
        let url = Credentials { url: pair("reader", "reader-key"), ..Credentials::default() };
        assert!(authenticate(&users, &url).unwrap().read_only);
        let authorization = Some("Basic cmVhZGVyOnJlYWRlci1rZXk=".to_owned());
        let both = Credentials { authorization, ..url.clone() };
        assert!(
            authenticate(&users, &Credentials { url: None, ..both.clone() }).unwrap().read_only
        );
        assert_eq!(authenticate(&users, &both).unwrap_err().code, 516);
    }

    #[test]
    fn a_missing_user_and_a_wrong_password_are_refused() {
        let users = users();
        let check = |credentials: Credentials| {
            assert_eq!(authenticate(&users, &credentials).unwrap_err().code, 516);
        };
        check(Credentials::default());
        check(Credentials { url: pair("writer", "reader-key"), ..Credentials::default() });
        check(Credentials { url: pair("writer", ""), ..Credentials::default() });
        check(Credentials { authorization: Some("Bearer x".into()), ..Credentials::default() });
        check(Credentials { authorization: Some("Basic !!".into()), ..Credentials::default() });
    }
}
