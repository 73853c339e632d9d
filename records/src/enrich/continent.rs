//! The continent of a country, by its code.

use std::sync::LazyLock;

/// Codes of ISO 3166-1, and `XK` for Kosovo.
const COUNTRIES: [(&str, &str); 7] = [
    (
        "AF",
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG \
         ML MR MU MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    ("AN", "AQ BV GS HM TF"),
    (
        "AS",
        "AE AF AM AZ BD BH BN BT CC CN CX CY GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB \
         LK MM MN MO MV MY NP OM PH PK PS QA SA SG SY TH TJ TL TM TR TW UZ VN YE",
    ),
    (
        "EU",
        "AD AL AT AX BA BE BG BY CH CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT \
         LU LV MC MD ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        "NA",
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI \
         PA PM PR SV SX TC TT US VC VG VI",
    ),
    ("OC", "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS"),
    ("SA", "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"),
];

static BY_CODE: LazyLock<[&'static str; 26 * 26]> = LazyLock::new(|| {
    let mut by_code = [""; 26 * 26];
    for (continent, countries) in COUNTRIES {
        for index in countries.split_whitespace().filter_map(index) {
            by_code[index] = continent;
        }
    }
    by_code
});

/// `AF`, `AN`, `AS`, `EU`, `NA`, `OC`, `SA`; empty if there is no such country.
pub(super) fn continent(country: &str) -> &'static str {
    index(country).map_or("", |index| BY_CODE[index])
}

fn index(country: &str) -> Option<usize> {
    match country.as_bytes() {
        &[a @ b'A'..=b'Z', b @ b'A'..=b'Z'] => {
            Some(usize::from(a - b'A') * 26 + usize::from(b - b'A'))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_country_is_on_one_continent() {
        let all: Vec<_> = COUNTRIES.iter().flat_map(|(_, list)| list.split_whitespace()).collect();
        let mut distinct = all.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(all.len(), 250, "249 of the standard, and Kosovo");
        for (country, expected) in [
            ("DE", "EU"),
            ("US", "NA"),
            ("NA", "AF"),
            ("AS", "OC"),
            ("ZZ", ""),
            ("de", ""),
            ("", ""),
        ] {
            assert_eq!(continent(country), expected, "{country}");
        }
    }
}
