//! The browser that `Sec-CH-UA` names, for user agents that are Chrome's for compatibility.

/// A browser, by its own name for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brand {
    /// Such as `Brave`.
    pub name: String,
    /// Its first number, such as `131`.
    pub version: String,
}

/// Names of the engine and of Chrome itself, which the user agent already has.
const CHROME: &[&str] = &["Chromium", "Google Chrome", "Android WebView"];
/// Characters of a name that are kept.
const NAME_MAX: usize = 32;

/// Brands that have another name in the rules for user agents.
const OTHER_NAMES: &[(&str, &str)] = &[("Microsoft Edge", "Edge"), ("YaBrowser", "Yandex Browser")];

impl Brand {
    /// The first brand that is neither Chrome's nor invented, such as `Not;A=Brand`.
    pub(super) fn of(sec_ch_ua: &str) -> Option<Self> {
        let mut rest = sec_ch_ua;
        while let Some((_, start)) = rest.split_once('"') {
            let (name, start) = start.split_once("\";v=\"")?;
            let (version, end) = start.split_once('"')?;
            rest = end;
            if !name.is_empty() && !CHROME.contains(&name) && !is_made_up(name) {
                let other = OTHER_NAMES.iter().find(|(brand, _)| *brand == name);
                let name = other.map_or(name, |(_, other)| other);
                let major = version.split('.').next().unwrap_or_default();
                let is_number = major.bytes().all(|byte| byte.is_ascii_digit());
                return Some(Self {
                    name: name.chars().take(NAME_MAX).collect(),
                    version: if is_number { major.to_owned() } else { String::new() },
                });
            }
        }
        None
    }

    /// Whether a program drives the browser.
    pub fn is_headless(&self) -> bool {
        self.name.starts_with("Headless")
    }
}

/// Whether it is the invented brand that browsers add, so that readers accept unknown brands.
fn is_made_up(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b" .-".contains(&byte);
    !name.bytes().all(is_plain) || name.contains("Not") && name.contains("Brand")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u18_the_brand_is_that_of_the_browser_and_not_an_invented_one() {
        for (hint, expected) in [
            (
                r#""Brave";v="131", "Chromium";v="131", "Not_A Brand";v="24""#,
                Some(("Brave", "131")),
            ),
            (
                r#""Not;A=Brand";v="8", "Chromium";v="120", "Vivaldi";v="6.5""#,
                Some(("Vivaldi", "6")),
            ),
            (
                r#""Chromium";v="99", "Opera GX";v="99.1", "Not A;Brand";v="99""#,
                Some(("Opera GX", "99")),
            ),
            (r#""Microsoft Edge";v="122", "Not(A:Brand";v="24""#, Some(("Edge", "122"))),
            (r#""HeadlessChrome";v="120", "Chromium";v="120""#, Some(("HeadlessChrome", "120"))),
            (r#""Google Chrome";v="131", "Chromium";v="131", "Not-A.Brand";v="24""#, None),
            (r#""Android WebView";v="131", "Chromium";v="131""#, None),
            (r#""Brave";v="x1""#, Some(("Brave", ""))),
            (r#""Brave""#, None),
            (r#"""""#, None),
            ("Brave", None),
            ("", None),
        ] {
            let brand = Brand::of(hint);
            let found = brand.as_ref().map(|brand| (&*brand.name, &*brand.version));
            assert_eq!(found, expected, "{hint}");
        }
    }
}
