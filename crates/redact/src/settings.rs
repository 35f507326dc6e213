//! Configuration files inside other objects, such as the values of ConfigMaps: masks the values behind sensitive names.
//! JSON is parsed; everything else (YAML, INI, dotenv, properties) is judged line by line, because a third-party YAML
//! parser would be a risk of its own. The rules by shape and exact value run on all text, elsewhere.

use serde_json::Value;

use crate::{
    Redactor, inline_collections,
    names::{self, Strength},
    nested_keys,
    token::{self, Span, Tally},
    value,
};
use line::{Hidden, Pair, YamlItem};
use manifest::Manifest;

mod inline;
mod line;
mod manifest;

pub(super) use line::is_file;
pub(super) use manifest::may_hold_secret;

pub(super) const RULE: &str = "by-name";
/// JSON in a string of JSON in a string …
const DEPTH: usize = 4;
/// Most lines below a value in which its name may stand.
const BELOW: usize = 64;

/// The text with the values of sensitive names masked; `None` if nothing changed.
pub(super) fn mask(by: &Redactor, text: &str, tally: &mut Tally) -> Option<String> {
    Settings { by, tally }.text(text, 0)
}

struct Settings<'a> {
    by: &'a Redactor,
    tally: &'a mut Tally,
}

impl Settings<'_> {
    fn text(&mut self, text: &str, depth: usize) -> Option<String> {
        let trimmed = text.trim();
        if trimmed.starts_with(['{', '['])
            && depth < DEPTH
            && let Ok(mut value) = serde_json::from_str::<Value>(trimmed)
        {
            // If a key occurs twice, the parser keeps only one value, but the text has both.
            let changed = self.value(&mut value, depth, None)
                || serde_json::to_string(&value).is_ok_and(|parsed| parsed != minified(trimmed));
            let pretty = trimmed.contains('\n').then(|| serde_json::to_string_pretty(&value).ok()).flatten();
            return changed.then(|| pretty.unwrap_or_else(|| value.to_string()));
        }
        let masked = self.lines(text);
        (masked != text).then_some(masked)
    }

    fn token(&mut self, value: &str) -> String {
        self.tally.add(RULE);
        Span::new(0..value.len(), RULE, value.as_bytes().to_vec()).token(&self.by.key)
    }

    // JSON

    /// `outer`: how the key in front of an object classifies it.
    fn value(&mut self, value: &mut Value, depth: usize, outer: Option<Strength>) -> bool {
        match value {
            Value::Object(map) => {
                let named = ["name", "key", "path"].iter().find_map(|key| map.get(*key)?.as_str()).and_then(strength);
                let mut changed = false;
                for (key, value) in map.iter_mut() {
                    let by_pair = named.filter(|_| key == "value");
                    let within = outer.and_then(|outer| nested_keys::field(outer, key.as_bytes()));
                    let count = || value.as_u64().map(|number| number.to_string());
                    let count = count().is_some_and(|count| value::is_count(key.as_bytes(), count.as_bytes()));
                    changed |= match strength(key).or(by_pair).or(within).filter(|_| !count) {
                        Some(strength) => {
                            let strength = nested_keys::of(Some(strength), key.as_bytes()).unwrap_or(strength);
                            self.behind(strength, value, depth)
                        }
                        None => self.value(value, depth, nested_keys::holds(key.as_bytes())),
                    };
                }
                changed
            }
            Value::Array(items) => {
                items.iter_mut().fold(false, |changed, item| self.value(item, depth, outer) | changed)
            }
            Value::String(text) => self.value_of(text, depth),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    /// A string that is no secret may contain one.
    fn value_of(&mut self, text: &mut String, depth: usize) -> bool {
        match self.text(text, depth + 1) {
            Some(masked) => {
                *text = masked;
                true
            }
            None => false,
        }
    }

    /// Judges as objects do.
    fn masks(&self, value: &str, strength: Strength) -> bool {
        self.by.has(RULE) && !token::is_token(value) && value::masks_whole(value, strength)
    }

    /// Masks the JSON value behind a sensitive name.
    fn behind(&mut self, strength: Strength, value: &mut Value, depth: usize) -> bool {
        match value {
            Value::String(text) if !self.masks(text, strength) => self.value_of(text, depth),
            Value::String(text) => {
                *text = self.token(text);
                true
            }
            Value::Number(number) if strength != Strength::Weak && self.by.has(RULE) => {
                *value = Value::String(self.token(&number.to_string()));
                true
            }
            Value::Array(items) => items.iter_mut().fold(false, |changed, item| match item {
                Value::String(_) => self.behind(strength, item, depth) | changed,
                item => self.value(item, depth, Some(strength)) | changed,
            }),
            other => self.value(other, depth, Some(strength)),
        }
    }

    // Lines

    fn lines(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut state = State::default();
        let mut rest = text;
        while let Some(whole) = rest.split_inclusive('\n').next() {
            rest = &rest[whole.len()..];
            let line = whole.trim_end_matches(['\n', '\r']);
            match self.line(line, rest, &mut state) {
                Shown::AsItIs => out.push_str(whole),
                Shown::Instead(masked) => {
                    out.push_str(&masked);
                    out.push_str(&whole[line.len()..]);
                }
                Shown::Not => {}
            }
        }
        out
    }

    fn line(&mut self, line: &str, below: &str, state: &mut State) -> Shown {
        let indent = line.len() - line.trim_start().len();
        if let Some(hidden) = &mut state.hidden {
            match hidden.takes(line, indent) {
                Some(last) => {
                    if last {
                        state.hidden = None;
                    }
                    return Shown::Not;
                }
                None => state.hidden = None,
            }
        }
        if line.trim().is_empty() {
            return Shown::AsItIs;
        }
        if line.starts_with(manifest::BORDER) {
            state.manifest = Manifest::default();
        }
        let item = YamlItem::of(line);
        let is_comment = line.trim_start().starts_with('#');
        while !is_comment && state.open.last().is_some_and(|open| !item.is_below(open.column)) {
            state.open.pop();
        }
        let Some(pair) = Pair::of(line, &item) else { return self.scalar(line, &item, state) };
        let open = state.open.last().copied();
        if open.is_some_and(|open| open.texts) && !pair.is_yaml {
            return self.scalar(line, &item, state);
        }
        state.flag = false;
        // `name` and `value` pair up only side by side: not across levels or elements.
        state.named = state
            .named
            .take()
            .filter(|(column, _)| *column < item.column || (*column == item.column && !item.is_element));
        let by_pair = || state.named.as_ref().filter(|_| pair.name == "value").map(|(_, strength)| *strength);
        let by_name_below = || (pair.name == "value").then(|| name_below(below, item.column)).flatten();
        let within = || nested_keys::field(open?.outer?, pair.name.as_bytes());
        let is_data = state.manifest.is_data(&pair, item.column, below);
        if is_data && pair.value.is_empty() {
            state.open.push(Open { column: item.column, texts: true, outer: None, all: true });
            return Shown::AsItIs;
        }
        let all = is_data || open.is_some_and(|open| open.all);
        let within = || if all { Some(Strength::Strong) } else { within() };
        let found = strength(pair.name).or_else(by_pair).or_else(by_name_below).or_else(within);
        if matches!(pair.name, "name" | "key" | "path") {
            state.named = strength(unquoted(pair.value)).map(|strength| (item.column, strength));
        }
        if pair.value.is_empty()
            && (found.is_some() || open.is_some() || nested_keys::holds(pair.name.as_bytes()).is_some())
        {
            let outer = nested_keys::of(found, pair.name.as_bytes());
            state.open.push(Open {
                column: item.column,
                texts: found.is_some(),
                outer,
                all: open.is_some_and(|open| open.all),
            });
        }
        match found {
            None => self.inline(line),
            Some(_) if pair.value.is_empty() => Shown::AsItIs,
            // The text rules look into it.
            Some(strength)
                if !all
                    && inline_collections::object(line.as_bytes(), pair.at, true, strength, &mut Vec::new())
                        .is_some() =>
            {
                Shown::AsItIs
            }
            Some(strength) if !self.is_secret(pair.value, strength) => Shown::AsItIs,
            Some(_) => {
                state.hidden = Some(Hidden::after(pair.value, item.column));
                Shown::Instead(format!("{}{}", &line[..pair.at], self.quoted_token(pair.value)))
            }
        }
    }

    /// A line that is not a pair: an element of a list, or a value on a line of its own.
    fn scalar(&mut self, line: &str, item: &YamlItem<'_>, state: &mut State) -> Shown {
        let text = item.text;
        let flag = std::mem::take(&mut state.flag);
        if (state.open.last().is_some_and(|open| open.texts) || flag) && self.is_secret(text, Strength::Strong) {
            let at = item.column;
            if text.starts_with(['|', '>', '"', '\'']) || text.ends_with('\\') {
                state.hidden = Some(Hidden::after(text, item.column));
            }
            return Shown::Instead(format!("{}{}", &line[..at], self.quoted_token(text)));
        }
        let name = unquoted(text.trim_end_matches(',')).strip_prefix("--");
        state.flag = name.is_some_and(|name| !name.contains(['=', ' ']) && strength(name).is_some());
        self.inline(line)
    }

    /// Whether the text behind a sensitive name, to the end of the line, is a secret. As in an object, but words for
    /// yes and no, and numbers behind a weak name, are not texts, and a value may continue on the next line.
    fn is_secret(&self, value: &str, strength: Strength) -> bool {
        let value = value.trim_end_matches(',').trim();
        let goes_on = value.starts_with(['|', '>']) || value.ends_with('\\') || Hidden::opens(value).is_some();
        let plain = unquoted(value).trim();
        let switch = ["yes", "no", "on", "off"].iter().any(|word| plain.eq_ignore_ascii_case(word));
        let number = strength == Strength::Weak && value.parse::<f64>().is_ok();
        !switch && !number && self.by.has(RULE) && (goes_on || self.masks(plain, strength))
    }

    /// Keeps the quotes and the text behind them: both halves of a line must still parse.
    fn quoted_token(&mut self, value: &str) -> String {
        for quote in ['"', '\''] {
            if let Some(rest) = value.strip_prefix(quote)
                && let Some(end) = rest.rfind(quote)
                && !value.starts_with(r#"""""#)
            {
                let behind = &rest[end + 1..];
                // A shell would join text that follows immediately to the value.
                if behind.chars().all(|c| c.is_whitespace() || matches!(c, ',' | ';' | ')' | '}' | ']')) {
                    let token = self.token(&rest[..end]);
                    return format!("{quote}{token}{quote}{behind}");
                }
            }
        }
        // A token begins like a list, so YAML needs it in quotes.
        format!("\"{}\"", self.token(value))
    }
}

/// JSON without the blanks between its tokens.
fn minified(json: &str) -> String {
    let (mut out, mut quoted, mut escaped) = (String::with_capacity(json.len()), false, false);
    for c in json.chars() {
        if quoted || !c.is_whitespace() {
            out.push(c);
        }
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
    }
    out
}

/// How a line is written.
enum Shown {
    AsItIs,
    Instead(String),
    /// Left out: it belongs to a value whose first line became a token.
    Not,
}

/// What the lines so far say about the next.
#[derive(Default)]
struct State {
    hidden: Option<Hidden>,
    /// Names without a value that stand above, each further in than the one before.
    open: Vec<Open>,
    /// Column of a `name` whose value is a sensitive name, for the `value` next to it.
    named: Option<(usize, Strength)>,
    manifest: Manifest,
    /// The line was a flag whose value is the next element.
    flag: bool,
}

/// A name without a value, with lines below it.
#[derive(Clone, Copy)]
struct Open {
    column: usize,
    /// Texts below it are the value.
    texts: bool,
    /// What it says about the fields below it.
    outer: Option<Strength>,
    /// It is the data of a Secret: all fields below it count, whatever their names.
    all: bool,
}

/// The strength of a `name` that stands below its `value` in the same element.
fn name_below(below: &str, column: usize) -> Option<Strength> {
    for line in below.lines().take(BELOW).filter(|line| !line.trim().is_empty()) {
        let item = YamlItem::of(line);
        if item.indent > column || (item.is_element && item.indent == column) {
            // The value's own lines.
            continue;
        }
        if item.is_element || item.column != column {
            return None;
        }
        if let Some(pair) = Pair::of(line, &item).filter(|pair| matches!(pair.name, "name" | "key" | "path")) {
            return strength(unquoted(pair.value));
        }
    }
    None
}

fn strength(name: &str) -> Option<Strength> {
    names::judge(name.as_bytes())
}

fn unquoted(value: &str) -> &str {
    value.trim_matches(['"', '\''])
}

#[cfg(test)]
mod tests;
