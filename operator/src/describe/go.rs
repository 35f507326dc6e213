//! Values as Go prints them in Velero's descriptions: times, durations, selectors, flags that may be unset.

use jiff::Timestamp;
use serde_json::Value;

pub(super) const NONE: &str = "<none>";

/// Go's `time.Time` format, in UTC: `2026-11-21 12:35:33 +0000 UTC`; text that is not a time stays as it is.
pub(super) fn time(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty())?;
    Some(time_text(text))
}

pub(super) fn time_text(text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
        Err(_) => text.to_owned(),
    }
}

/// Go's `time.Duration` format: `720h` becomes `720h0m0s`, empty becomes `0s`; other text stays as it is.
pub(super) fn duration(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    if text.is_empty() {
        return "0s".to_owned();
    }
    nanoseconds(text).map_or_else(|| text.to_owned(), written)
}

/// Parses what Go's `time.ParseDuration` parses, in nanoseconds.
fn nanoseconds(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut sum: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(digits);
        let unit_end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && part.is_empty() || part.len() > 9 {
            return None;
        }
        let number = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<i64>().ok() };
        sum += i128::from(number(whole)?) * unit;
        sum += i128::from(number(part)?) * unit / 10_i128.pow(u32::try_from(part.len()).ok()?);
        rest = behind;
    }
    (!text.is_empty()).then_some(sign * sum)
}

fn written(nanoseconds: i128) -> String {
    const SECOND: i128 = 1_000_000_000;
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let all = nanoseconds.abs();
    let fraction = |number: i128, unit: i128, name: &str| {
        let (whole, part) = (number / unit, number % unit);
        let digits = unit.to_string().len() - 1;
        let part = format!("{part:0digits$}");
        let part = part.trim_end_matches('0');
        if part.is_empty() { format!("{whole}{name}") } else { format!("{whole}.{part}{name}") }
    };
    let text = match all {
        0 => "0s".to_owned(),
        n if n < 1_000 => format!("{n}ns"),
        n if n < 1_000_000 => fraction(n, 1_000, "µs"),
        n if n < SECOND => fraction(n, 1_000_000, "ms"),
        n => {
            let (hours, minutes) = (n / SECOND / 3600, n / SECOND / 60 % 60);
            let seconds = fraction(n % (60 * SECOND), SECOND, "s");
            match (hours, minutes) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

/// As Go's `metav1.FormatLabelSelector` writes it.
pub(super) fn selector(value: &Value) -> String {
    if value.is_null() {
        return NONE.to_owned();
    }
    let mut parts: Vec<(String, String)> = Vec::new();
    for (key, wanted) in value["matchLabels"].as_object().into_iter().flatten() {
        parts.push((key.clone(), format!("{key}={}", wanted.as_str().unwrap_or_default())));
    }
    for rule in value["matchExpressions"].as_array().into_iter().flatten() {
        let key = rule["key"].as_str().unwrap_or_default();
        let mut values = strings(&rule["values"]);
        values.sort_unstable();
        let values = values.join(",");
        let text = match rule["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return "<error>".to_owned(),
        };
        parts.push((key.to_owned(), text));
    }
    parts.sort();
    if parts.is_empty() {
        return NONE.to_owned();
    }
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// A flag that may be unset (Velero's `BoolPointerString`).
pub(super) fn flag<'a>(value: &Value, no: &'a str, yes: &'a str, unset: &'a str) -> &'a str {
    match value.as_bool() {
        None => unset,
        Some(true) => yes,
        Some(false) => no,
    }
}

/// The texts of a list; other elements are left out.
pub(super) fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A list on one line, or `none` for an empty list.
pub(super) fn list(value: &Value, none: &str) -> String {
    let all = strings(value);
    if all.is_empty() { none.to_owned() } else { all.join(", ") }
}

/// A text; empty for any other value.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A whole number; 0 for any other value.
pub(super) fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (given, wanted) in [
            ("720h", "720h0m0s"),
            ("10m", "10m0s"),
            ("4h0m0s", "4h0m0s"),
            ("90s", "1m30s"),
            ("1.5h", "1h30m0s"),
            ("1500ms", "1.5s"),
            ("250us", "250µs"),
            ("0", "0s"),
            ("-1m1s", "-1m1s"),
            ("soon", "soon"),
            ("1", "1"),
            ("", "0s"),
        ] {
            assert_eq!(duration(&json!(given)), wanted, "{given}");
        }
        assert_eq!(duration(&Value::Null), "0s");
    }

    #[test]
    fn selectors_are_sorted_by_key_and_say_none_when_empty() {
        let value = json!({"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["y", "x"]}, {"key": "0", "operator": "DoesNotExist"}]});
        assert_eq!(selector(&value), "!0,a=1,b=2,c in (x,y)");
        assert_eq!(selector(&json!({})), NONE);
        assert_eq!(selector(&json!({"matchExpressions": [{"key": "c", "operator": "Near"}]})), "<error>");
    }

    #[test]
    fn times_are_written_as_go_writes_them() {
        assert_eq!(time(&json!("2026-11-21T12:35:33Z")).as_deref(), Some("2026-11-21 12:35:33 +0000 UTC"));
        assert_eq!(time(&json!("2026-11-21T13:35:33+01:00")).as_deref(), Some("2026-11-21 12:35:33 +0000 UTC"));
        assert_eq!(time(&Value::Null), None);
    }
}
