//! The config keys of a location as Velero's plugins read them: each known by name, words for booleans as Go's.

use std::collections::BTreeMap;

use crate::location::shown;

/// Refuses a key that is not one of these, which the plugin knows.
pub(super) fn all_known(config: &BTreeMap<String, String>, keys: &[&str]) -> Result<(), String> {
    match config.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(unknown(key, keys)),
        None => Ok(()),
    }
}

fn unknown(key: &str, keys: &[&str]) -> String {
    let nearest =
        keys.iter().map(|known| (distance(&key.to_ascii_lowercase(), &known.to_ascii_lowercase()), known)).min();
    match nearest {
        Some((distance, known)) if distance <= 2 => {
            format!("config key {} is unknown (did you mean {known}?)", shown(key))
        }
        _ => format!("config key {} is unknown; known keys: {}", shown(key), keys.join(", ")),
    }
}

/// Levenshtein's distance of two names, cut to a length worth comparing.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(LONGEST).collect(), b.chars().take(LONGEST).collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The words that Go's `strconv.ParseBool` accepts.
pub(super) fn boolean(value: Option<&String>, key: &str) -> Result<bool, String> {
    match value.map_or("", String::as_str) {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        other => Err(format!("config key {key} is {}; it must be true or false", shown(other))),
    }
}
