//! The macros of Grafana's ClickHouse plugin: `$__conditionalAll` and `$__adHocFilters` of its page, and those of its
//! backend, which strips comments first.

use crate::expand_error::ExpandError;
use crate::view::View;

const CONDITIONAL: &str = "$__conditionalAll(";
const AD_HOC: &str = "$__adHocFilters(";

/// `$__conditionalAll(condition, $name)`: the condition, or `1=1` where the variable is empty or "All". The page
/// expands it before it replaces variables.
pub(crate) fn conditions(view: &View, sql: &str) -> Result<String, ExpandError> {
    let mut sql = sql.to_owned();
    while let Some(at) = sql.rfind(CONDITIONAL) {
        let name = "conditionalAll";
        let (arguments, length) = page_arguments(&sql[at + CONDITIONAL.len() - 1..], name)?;
        let [condition, variable] = arguments.as_slice() else {
            return Err(wrong_number(name, 2, arguments.len()));
        };
        let variable = variable.trim().trim_start_matches("${").trim_start_matches('$');
        let variable = variable.trim_end_matches('}');
        let values = view.values.get(variable);
        let values =
            values.ok_or_else(|| ExpandError::UnknownVariable(variable.to_owned()))?.join(",");
        let condition = if values.is_empty() || values == "$__all" { "1=1" } else { condition };
        let end = at + CONDITIONAL.len() - 1 + length;
        sql = format!("{}{condition}{}", &sql[..at], &sql[end..]);
    }
    Ok(sql)
}

/// `$__adHocFilters('table')` without a filter: the empty setting.
pub(crate) fn ad_hoc_filters(sql: &str) -> Result<String, ExpandError> {
    let mut sql = sql.to_owned();
    while let Some(at) = sql.find(AD_HOC) {
        let start = at + AD_HOC.len();
        let length = sql[start..].find(')');
        let length = length.ok_or_else(|| ExpandError::Unclosed("adHocFilters".to_owned()))?;
        sql.replace_range(at..=start + length, "additional_table_filters={}");
    }
    Ok(sql)
}

/// The macros of the plugin's backend.
pub(crate) fn backend(view: &View, sql: &str) -> Result<String, ExpandError> {
    let sql = without_comments(sql);
    let mut parts = sql.split("$__");
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let (name, rest) = part.split_at(end.unwrap_or(part.len()));
        let (arguments, length) = match rest.starts_with('(') {
            true => backend_arguments(rest, name)?,
            false => (Vec::new(), 0),
        };
        let takes_none =
            matches!(name, "fromTime" | "toTime" | "fromTime_ms" | "toTime_ms" | "interval_s");
        // A parenthesis after a macro that takes no arguments is lost in Grafana, too.
        if takes_none && length > 0 {
            return Err(wrong_number(name, 0, arguments.len()));
        }
        expanded += &one(view, name, &arguments)?;
        expanded += &rest[length..];
    }
    Ok(expanded)
}

fn one(view: &View, name: &str, arguments: &[String]) -> Result<String, ExpandError> {
    let (from, to) = (format!("toDateTime({})", view.from), format!("toDateTime({})", view.to));
    let milliseconds = |seconds: i64| format!("fromUnixTimestamp64Milli({})", seconds * 1_000);
    let date = |seconds: i64| format!("toDate('{}')", date(seconds));
    let within =
        |column: &str, from: &str, to: &str| format!("{column} >= {from} AND {column} <= {to}");
    let column = || match arguments {
        [column] => Ok(column),
        _ => Err(wrong_number(name, 1, arguments.len())),
    };
    let interval = view.interval.max(1);
    Ok(match name {
        "fromTime" => from,
        "toTime" => to,
        "fromTime_ms" => milliseconds(view.from),
        "toTime_ms" => milliseconds(view.to),
        "interval_s" => interval.to_string(),
        "timeFilter" => within(column()?, &from, &to),
        "timeFilter_ms" => within(column()?, &milliseconds(view.from), &milliseconds(view.to)),
        "dateFilter" => within(column()?, &date(view.from), &date(view.to)),
        "dateTimeFilter" | "dt" => {
            let [day, time] = arguments else {
                return Err(wrong_number(name, 2, arguments.len()));
            };
            let days = within(day, &date(view.from), &date(view.to));
            format!("({days}) AND ({})", within(time, &from, &to))
        }
        "timeInterval" => {
            format!("toStartOfInterval(toDateTime({}), INTERVAL {interval} second)", column()?)
        }
        "timeInterval_ms" => format!(
            "toStartOfInterval(toDateTime64({}, 3), INTERVAL {} millisecond)",
            column()?,
            interval * 1_000
        ),
        _ => return Err(ExpandError::UnknownMacro(name.to_owned())),
    })
}

fn wrong_number(name: &str, expected: usize, found: usize) -> ExpandError {
    ExpandError::Arguments { name: name.to_owned(), expected, found }
}

/// The day (UTC) of a time.
fn date(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    time.strftime("%Y-%m-%d").to_string()
}

/// The arguments in the parentheses at the start of a text, and the length of both; the page does not heed literals.
fn page_arguments(text: &str, name: &str) -> Result<(Vec<String>, usize), ExpandError> {
    let (mut arguments, mut depth, mut start) = (Vec::new(), 0, 1);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if (letter, depth) == (',', 1) || depth == 0 {
            arguments.push(text[start..at].to_owned());
            start = at + 1;
        }
        if depth == 0 {
            return Ok((arguments, at + 1));
        }
    }
    Err(ExpandError::Unclosed(name.to_owned()))
}

/// As [`page_arguments`], in the backend: commas and parentheses of a literal do not count, and arguments are trimmed.
fn backend_arguments(text: &str, name: &str) -> Result<(Vec<String>, usize), ExpandError> {
    let (mut arguments, mut depth, mut start, mut at) = (Vec::new(), 0, 1, 0);
    while let Some(letter) = text[at..].chars().next() {
        match letter {
            '\'' | '"' => {
                at = literal_end(text, at);
                continue;
            }
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if (letter, depth) == (',', 1) || depth == 0 {
            arguments.push(text[start..at].trim().to_owned());
            start = at + 1;
        }
        if depth == 0 {
            let none = matches!(arguments.as_slice(), [only] if only.is_empty());
            return Ok((if none { Vec::new() } else { arguments }, at + 1));
        }
        at += letter.len_utf8();
    }
    Err(ExpandError::Unclosed(name.to_owned()))
}

/// The end of the literal that starts at a byte; `''` does not end it, and a backslash means nothing, as in the plugin.
fn literal_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let quote = bytes[start];
    let mut at = start + 1;
    while at < bytes.len() {
        if bytes[at] != quote {
            at += 1;
        } else if bytes.get(at + 1) == Some(&quote) {
            at += 2;
        } else {
            return at + 1;
        }
    }
    bytes.len()
}

/// The text with a space for each byte of a comment: the backend expands no macro in it.
fn without_comments(sql: &str) -> String {
    let mut kept = String::new();
    let mut at = 0;
    while let Some(letter) = sql[at..].chars().next() {
        let rest = &sql[at..];
        let (end, comment) = match letter {
            '\'' | '"' => (literal_end(sql, at), false),
            '-' if rest.starts_with("--") => {
                (at + rest.find(['\n', '\r']).unwrap_or(rest.len()), true)
            }
            '/' if rest.starts_with("/*") => {
                (at + rest[2..].find("*/").map_or(rest.len(), |length| length + 4), true)
            }
            other => (at + other.len_utf8(), false),
        };
        match comment {
            true => kept.extend(std::iter::repeat_n(' ', end - at)),
            false => kept.push_str(&sql[at..end]),
        }
        at = end;
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The range of the plugin's own tests, 2014-11-12T11:45:26Z to 2015-11-12T11:45:26Z.
    fn view() -> View {
        let values = [("link", vec!["it's"]), ("none", vec![""]), ("all", vec!["$__all"])];
        let values = values.map(|(name, values)| {
            (name.to_owned(), values.into_iter().map(str::to_owned).collect())
        });
        View {
            from: 1_415_792_726,
            to: 1_447_328_726,
            interval: 20,
            zone: "UTC".to_owned(),
            values: BTreeMap::from(values),
        }
    }

    #[test]
    fn macros_are_expanded_as_in_the_tests_of_the_plugin() {
        for (sql, expanded) in [
            ("bar > $__fromTime", "bar > toDateTime(1415792726)"),
            ("bar > $__toTime", "bar > toDateTime(1447328726)"),
            ("$__fromTime_ms", "fromUnixTimestamp64Milli(1415792726000)"),
            ("$__toTime_ms", "fromUnixTimestamp64Milli(1447328726000)"),
            (
                "$__dateFilter(dateCol)",
                "dateCol >= toDate('2014-11-12') AND dateCol <= toDate('2015-11-12')",
            ),
            (
                "$__dateTimeFilter(dateCol, timeCol)",
                "(dateCol >= toDate('2014-11-12') AND dateCol <= toDate('2015-11-12')) AND (timeCol >= \
                 toDateTime(1415792726) AND timeCol <= toDateTime(1447328726))",
            ),
            ("$__timeInterval(col)", "toStartOfInterval(toDateTime(col), INTERVAL 20 second)"),
            (
                "$__timeInterval_ms(col)",
                "toStartOfInterval(toDateTime64(col, 3), INTERVAL 20000 millisecond)",
            ),
            (
                "toStartOfInterval(col, INTERVAL $__interval_s second)",
                "toStartOfInterval(col, INTERVAL 20 second)",
            ),
            (
                "where $__timeFilter(cast(sth as timestamp) )",
                "where cast(sth as timestamp) >= toDateTime(1415792726) AND cast(sth as timestamp) <= \
                 toDateTime(1447328726)",
            ),
            (
                "where $__timeFilter_ms(cast(sth as timestamp))",
                "where cast(sth as timestamp) >= fromUnixTimestamp64Milli(1415792726000) AND cast(sth as \
                 timestamp) <= fromUnixTimestamp64Milli(1447328726000)",
            ),
            (
                "where ( date >= $__fromTime ) and ( date <= $__toTime ) limit 100",
                "where ( date >= toDateTime(1415792726) ) and ( date <= toDateTime(1447328726) ) limit 100",
            ),
            ("a -- $__nothing\nb /* $__nothing */ c", "a              \nb                  c"),
            ("'--' $__interval_s", "'--' 20"),
            (
                "$__timeInterval(toTimeZone(t, 'a,)'))",
                "toStartOfInterval(toDateTime(toTimeZone(t, 'a,)')), INTERVAL 20 second)",
            ),
        ] {
            assert_eq!(backend(&view(), sql).as_deref(), Ok(expanded), "{sql}");
        }
    }

    #[test]
    fn conditions_of_empty_variables_are_true() {
        for (sql, expanded) in [
            ("$__conditionalAll(a IN (${link:singlequote}), $link)", "a IN (${link:singlequote})"),
            ("$__conditionalAll(f(g('${all:raw}', 'x'), a), $all)", "1=1"),
            (
                "select stuff from table where $__conditionalAll(all in ($all), $all);",
                "select stuff from table where 1=1;",
            ),
            (
                "select stuff from table where $__conditionalAll(link in ($link), ${link});",
                "select stuff from table where link in ($link);",
            ),
            (
                "$__conditionalAll(a = 1, $none) AND $__conditionalAll(b = 2, ${link})",
                "1=1 AND b = 2",
            ),
        ] {
            assert_eq!(conditions(&view(), sql).as_deref(), Ok(expanded), "{sql}");
        }
        assert_eq!(
            ad_hoc_filters("SETTINGS $__adHocFilters('clicks')").as_deref(),
            Ok("SETTINGS additional_table_filters={}")
        );
    }

    #[test]
    fn macros_that_grafana_would_not_expand_are_errors() {
        let unknown = |name: &str| ExpandError::UnknownMacro(name.to_owned());
        for (sql, error) in [
            ("$__timeShift(a)", unknown("timeShift")),
            ("$__fromTimes", unknown("fromTimes")),
            ("$__timeFilter()", wrong_number("timeFilter", 1, 0)),
            ("$__timeFilter", wrong_number("timeFilter", 1, 0)),
            ("$__dt(a)", wrong_number("dt", 2, 1)),
            ("$__timeFilter(a", ExpandError::Unclosed("timeFilter".to_owned())),
            ("$__interval_s(x)", wrong_number("interval_s", 0, 1)),
        ] {
            assert_eq!(backend(&view(), sql), Err(error), "{sql}");
        }
        assert_eq!(
            conditions(&view(), "$__conditionalAll(a, $other)"),
            Err(ExpandError::UnknownVariable("other".to_owned()))
        );
        assert_eq!(
            conditions(&view(), "$__conditionalAll(a)"),
            Err(wrong_number("conditionalAll", 2, 1))
        );
    }
}
