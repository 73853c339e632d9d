//! The language of a visitor, by the `Accept-Language` header.

/// Bytes of the longest language that is recorded.
const LANGUAGE_BYTES_MAX: usize = 16;
/// The weight of a language whose `q` cannot be read: less than any other.
const UNREADABLE: f32 = 0.000_1;

/// The language of the highest weight, the first of several, in the form `en-gb`; empty if the header
/// names none.
pub(super) fn best_language(accept: &str) -> String {
    let (mut best, mut best_weight) = ("", 0.0);
    for choice in accept.split(',') {
        let mut fields = choice.split(';').map(str::trim);
        let language = fields.next().map(plain).unwrap_or_default();
        let weight = fields.find_map(weight).unwrap_or(1.0);
        if is_language(language) && weight > best_weight {
            (best, best_weight) = (language, weight);
        }
    }
    best.to_ascii_lowercase().replace('_', "-")
}

/// The value of a field `q=`, between 0 and 1.
fn weight(field: &str) -> Option<f32> {
    let (name, value) = field.split_once('=')?;
    let value = name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>())?;
    // `clamp` returns NaN for NaN, and no comparison with NaN is true.
    Some(value.map_or(UNREADABLE, |value| value.clamp(0.0, 1.0)))
}

/// Without the character set and the variant of a system's locale, such as `en_US.UTF-8`.
fn plain(language: &str) -> &str {
    language.split(['.', '@']).next().unwrap_or_default()
}

fn is_language(text: &str) -> bool {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    plain && text.len() <= LANGUAGE_BYTES_MAX && text.starts_with(|c: char| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f20_the_language_of_the_highest_weight_is_taken() {
        for (accept, expected) in [
            ("en-GB,en;q=0.8", "en-gb"),
            ("de", "de"),
            ("*", ""),
            ("", ""),
            (",,;q=1", ""),
            ("x; drop table", "x"),
            ("aaaaaaaaaaaaaaaaaaaaaaaa", ""),
            ("aaaaaaaaaaaaaaaaaaaaaaaa, fr;q=0.1", "fr"),
            ("*;q=1, nl;q=0.2", "nl"),
            ("fr;q=0, it;q=0.3", "it"),
            ("fr;q=0", ""),
            ("es ; Q = 0.4 , pt;q=.5", "pt"),
            ("pl;q=1.5, cs", "pl"),
            ("sv;q=-1, da;q=0.1", "da"),
            ("fi;q=NaN, et;q=0.1", "et"),
            ("uk;q=high, ru;q=0.1", "ru"),
            ("uk;q=high", "uk"),
            ("ja;level=1;q=0.2, ko;q=0.3;level=1", "ko"),
            ("pt_BR", "pt-br"),
            ("zh_Hans_CN;q=0.9", "zh-hans-cn"),
            ("nb_NO.UTF-8", "nb-no"),
            ("ca_ES@valencia", "ca-es"),
            ("1337", ""),
        ] {
            assert_eq!(best_language(accept), expected, "{accept}");
        }
    }

    #[test]
    fn f20_in_any_order_the_highest_weight_wins_and_the_first_of_equals() {
        const LANGUAGES: [&str; 8] = ["af", "be-BY", "cy", "el_GR", "ga", "hu-HU", "is", "lt"];
        let mut tried = 0;
        for best in 0..LANGUAGES.len() {
            for turn in 0..LANGUAGES.len() {
                // Each has its weight: 0.9 the best, the others less, by their distance from it.
                let order = (0..LANGUAGES.len()).map(|n| (n * 3 + turn) % LANGUAGES.len());
                let header: Vec<String> = order
                    .map(|n| format!("{};q=0.{}", LANGUAGES[n], 9 - n.abs_diff(best)))
                    .collect();
                let expected = LANGUAGES[best].to_ascii_lowercase().replace('_', "-");
                assert_eq!(best_language(&header.join(",")), expected, "{header:?}");
                let equal: Vec<&str> =
                    (0..3).map(|n| LANGUAGES[(best + n * turn) % LANGUAGES.len()]).collect();
                assert_eq!(best_language(&equal.join(", ")), expected, "{equal:?}");
                tried += 2;
            }
        }
        assert!(tried >= 50, "{tried}");
    }
}
