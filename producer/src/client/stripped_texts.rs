//! Query and target of a stripped click, without the parameters that may identify its visitor.
//!
//! Pure. A closed list of campaign parameters stays, and short words and numbers under names that do not
//! refer to a visitor; `docs/producer.md` specifies them.

use std::borrow::Cow;
use std::cell::OnceCell;

use percent_encoding::percent_decode_str;

/// Campaign parameters, which stay: the author of the campaign chooses them.
const CAMPAIGN: [&str; 12] = [
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "utm_id",
    "utm_source_platform",
    "utm_creative_format",
    "utm_marketing_tactic",
    "source",
    "ref",
    "qr",
];
/// Names of parameters that identify a visitor.
const NAMES: [&str; 16] = [
    "name", "tel", "ip", "key", "si", "_ga", "_gl", "_kx", "__s", "fbp", "fbc", "igsh", "epik",
    "dicbo", "gclsrc", "tblci",
];
/// Parts of names of parameters that identify a visitor.
const NAME_PARTS: [&str; 34] = [
    "mail",
    "user",
    "login",
    "nick",
    "alias",
    "account",
    "acct",
    "cust",
    "token",
    "tok",
    "session",
    "subscriber",
    "recipient",
    "contact",
    "visitor",
    "member",
    "person",
    "phone",
    "mobile",
    "firstname",
    "lastname",
    "first_name",
    "last_name",
    "surname",
    "passw",
    "secret",
    "auth",
    "hash",
    "click",
    "braid",
    "hsenc",
    "hsmi",
    "openstat",
    "cjevent",
];
/// Most bytes of the value of any other parameter that stays.
const VALUE_BYTES_MAX: usize = 8;
/// Most digits of such a value.
const VALUE_DIGITS_MAX: usize = 4;
/// Most bytes of the name of such a parameter.
const NAME_BYTES_MAX: usize = 24;

/// Memory for the shortened texts of one click; empty until the click is stripped.
#[derive(Debug, Default)]
pub struct StrippedTexts {
    query: OnceCell<String>,
    target_url: OnceCell<String>,
}

impl StrippedTexts {
    /// The parameters of a query that stay; `None` if no parameter stays.
    pub(super) fn query(&self, query: &str) -> Option<&str> {
        let kept = self.query.get_or_init(|| kept_parameters(query));
        Some(kept.as_str()).filter(|query| !query.is_empty())
    }

    /// A target with the parameters that stay, and without its fragment.
    pub(super) fn target_url(&self, target: &str) -> &str {
        self.target_url.get_or_init(|| {
            let before = target.split('#').next().unwrap_or_default();
            let (path, query) = before.split_once('?').unwrap_or((before, ""));
            match kept_parameters(query) {
                kept if kept.is_empty() => path.to_owned(),
                kept => [path, "?", &kept].concat(),
            }
        })
    }
}

fn kept_parameters(query: &str) -> String {
    // E-mails have a second `?` instead of `&`, and feeds have `&amp;`.
    let pairs = query.split(['&', '?']).map(|pair| pair.strip_prefix("amp;").unwrap_or(pair));
    let kept: Vec<_> = pairs.filter(|pair| !pair.is_empty() && stays(pair)).collect();
    kept.join("&")
}

fn stays(pair: &str) -> bool {
    let (name, value) = pair.split_once('=').unwrap_or(("", pair));
    let (name, value) = (decoded(name).to_ascii_lowercase(), decoded(value));
    if CAMPAIGN.contains(&&*name) {
        // An e-mail address, another parameter, or one of these encoded twice.
        return !value.contains(['@', '=', '%']);
    }
    let is_of_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+, ".contains(&byte);
    let has = |is: fn(&u8) -> bool| value.bytes().any(|byte| is(&byte));
    // Codes mix digits and letters, unlike words and numbers.
    let is_code = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).count();
    // A parameter without `=` is a value without a name.
    let named = if name.is_empty() { value.to_ascii_lowercase() } else { name };
    value.len() <= VALUE_BYTES_MAX
        && value.bytes().all(is_of_word)
        && !is_code
        && !is_mixed(&value)
        && digits(&value) <= VALUE_DIGITS_MAX
        && named.len() <= NAME_BYTES_MAX
        && named.bytes().all(is_of_word)
        && digits(&named) <= VALUE_DIGITS_MAX
        && !identifies(&named)
}

/// Whether a word of the value has a capital letter after a small one, as codes have.
fn is_mixed(value: &str) -> bool {
    let mut bytes = value.bytes().zip(value.bytes().skip(1));
    bytes.any(|(byte, next)| byte.is_ascii_lowercase() && next.is_ascii_uppercase())
}

/// Whether a parameter of this name, in small letters, identifies a visitor.
fn identifies(name: &str) -> bool {
    name.ends_with("id")
        || NAMES.contains(&name)
        || NAME_PARTS.iter().any(|part| name.contains(part))
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(query: &str) -> String {
        StrippedTexts::default().query(query).unwrap_or_default().to_owned()
    }

    fn target(target: &str) -> String {
        StrippedTexts::default().target_url(target).to_owned()
    }

    #[test]
    fn f5_a_parameter_that_identifies_is_removed_however_it_is_written() {
        let long = "IwAR0q7Lk2".repeat(5);
        let names = [
            "gclid",
            "GCLID",
            "fbclid",
            "msclkid",
            "ttclid",
            "twclid",
            "yclid",
            "dclid",
            "wbraid",
            "gbraid",
            "li_fat_id",
            "igshid",
            "mc_eid",
            "_hsenc",
            "_hsmi",
            "mkt_tok",
            "vero_id",
            "oly_enc_id",
            "irclickid",
            "ScCid",
            "rdt_cid",
            "epik",
            "_openstat",
            "uid",
            "userId",
            "customer",
            "email",
            "e-mail",
            "session",
            "phone",
            "login",
            "nickname",
            "account",
            "cust_no",
            "%67clid",
            "gcl%69d",
            "_ga",
            "_gl",
        ];
        let mut tried = 0;
        for name in names {
            for value in ["7", "abc", long.as_str()] {
                for (text, left) in [
                    (format!("utm_source=a&{name}={value}"), "utm_source=a"),
                    (format!("{name}={value}&amp;utm_source=a"), "utm_source=a"),
                    (format!("utm_source=a?{name}={value}"), "utm_source=a"),
                    (format!("{name}={value}"), ""),
                ] {
                    assert_eq!(query(&text), left, "{text}");
                    let left = if left.is_empty() { left.to_owned() } else { format!("?{left}") };
                    let address = format!("https://shop.example/a?{text}#{name}={value}");
                    assert_eq!(target(&address), format!("https://shop.example/a{left}"));
                    tried += 2;
                }
            }
        }
        assert!(tried >= 50, "{tried}");
    }

    #[test]
    fn f5_a_value_that_identifies_is_removed_whatever_its_name_is() {
        for value in [
            "alice@mail.example",
            "alice%40mail.example",
            "alice%2540mail.example",
            "a@b.c",
            "0049151234567",
            "12345",
            "019ac0de-0000-7000-8000-000000000001",
            "x=1;gclid=2",
            "b;gclid=2",
            "kQx9Zb2a",
            "kQxZb",
            "a1b2",
            "%C3%BC",
        ] {
            assert_eq!(query(&format!("x={value}&page=2")), "page=2", "{value}");
            assert_eq!(query(&format!("page=2&{value}")), "page=2", "{value}");
        }
        assert_eq!(query("utm_content=alice%40mail.example&utm_source=news"), "utm_source=news");
        assert_eq!(query("utm_content=a%2540b.example&qr=1"), "qr=1");
    }

    #[test]
    fn the_campaign_and_short_words_stay() {
        for text in [
            "utm_source=newsletter&utm_medium=email&utm_campaign=spring%20sale%202026&utm_term=x",
            "source=partner&ref=producthunt&qr=1&qr",
            "lang=de-AT&page=2&year=2026&v=1.2&strip",
            "a=&b",
        ] {
            assert_eq!(query(text), text);
            let address = format!("https://shop.example/a/b?{text}");
            assert_eq!(target(&address), address);
        }
        assert_eq!(
            query("page=2?utm_source=x&amp;utm_medium=y"),
            "page=2&utm_source=x&utm_medium=y"
        );
        assert_eq!(target("https://shop.example/#part"), "https://shop.example/");
        assert_eq!((query(""), target("")), (String::new(), String::new()));
    }
}
