//! Pairs of name and value, and flags, anywhere in a line whose own name is not sensitive. `settings` keeps the state
//! between lines.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

use super::{RULE, Settings, Shown, strength};
use crate::{
    names::{self, Strength},
    token,
    value::{self, ValueContext},
};

/// `name=`, `name: `, `\"name\":` anywhere in a line.
static NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)(?P<quote>\\*["'])?\s*(?P<separator>=>|[=:]|%3[Dd])\s*"#)
        .expect("a pattern of ours")
});
/// `--name value`
static FLAG: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"--(?P<name>[A-Za-z][A-Za-z0-9-]*)["']?[\s,]+["']?(?P<value>[^\s"',-][^\s"',]*)"#)
        .expect("a pattern of ours")
});

impl Settings<'_> {
    /// Masks pairs within a line whose own name is not sensitive.
    pub(super) fn inline(&mut self, line: &str) -> Shown {
        let mut spans: Vec<Range<usize>> = Vec::new();
        let mut from = 0;
        while let Some(found) = NAME.captures_at(line, from) {
            let (Some(whole), Some(name)) = (found.get(0), found.name("name")) else { break };
            let value = names::judge_within(line.as_bytes(), &name.range());
            let value = value.map(|strength| (strength, value_at(line, whole.end())));
            let plain = found.name("separator").is_some_and(|separator| separator.as_str() == ":")
                && found.name("quote").is_none();
            let secret = value.filter(|(strength, at)| {
                let value = &line[at.clone()];
                let place = if plain { ValueContext::Prose } else { ValueContext::Structure };
                let quoted = line[..at.start].ends_with(['"', '\'']);
                let number = *strength == Strength::Weak && !quoted && value.parse::<f64>().is_ok();
                let opens = value.starts_with(['{', '[']) && token::bracketed(value.as_bytes()).is_none();
                let masks = value::masks(value.as_bytes(), *strength, place, quoted);
                self.by.has(RULE) && masks && !opens && !number && !token::is_token(value)
            });
            // A pair that is skipped may contain another one: `jdbc:…?password=x`.
            from = secret.as_ref().map_or(whole.end(), |(_, at)| at.end);
            spans.extend(secret.map(|(_, at)| at));
        }
        for found in FLAG.captures_iter(line) {
            if let (Some(name), Some(value)) = (found.name("name"), found.name("value"))
                && strength(name.as_str()).is_some()
                && self.masks(value.as_str(), Strength::Strong)
            {
                spans.push(value.range());
            }
        }
        if spans.is_empty() {
            return Shown::AsItIs;
        }
        spans.sort_by_key(|at| at.start);
        let mut out = String::with_capacity(line.len());
        let mut from = 0;
        for at in spans {
            if at.start >= from {
                out.push_str(&line[from..at.start]);
                out.push_str(&self.token(&line[at.clone()]));
            }
            from = from.max(at.end);
        }
        out.push_str(&line[from..]);
        Shown::Instead(out)
    }
}

/// The range of the value at `from`: it ends at its closing quote, or before text that cannot belong to it.
fn value_at(line: &str, from: usize) -> Range<usize> {
    let rest = &line[from..];
    let slashes = rest.len() - rest.trim_start_matches('\\').len();
    let behind = &rest[slashes..];
    for quote in ['"', '\''] {
        if let Some(inner) = behind.strip_prefix(quote) {
            let start = from + slashes + 1;
            // In nested strings, both quotes have the same backslashes, which do not belong to the value.
            let closing = format!("{}{quote}", &rest[..slashes]);
            return start..start + inner.find(&closing).unwrap_or(inner.len());
        }
    }
    let ends = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '&' | ')' | ']' | '}' | '"' | '\'' | '\\');
    let mut to = from;
    while let Some(next) = line[to..].chars().next() {
        to += match token::bracketed(&line.as_bytes()[to..]) {
            Some(length) => length,
            None if ends(next) => break,
            None => next.len_utf8(),
        };
    }
    from..to
}
