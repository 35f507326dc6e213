//! Arguments of a command that arrive as separate texts: a flag and its value, and short flags that only the tool's
//! name explains. A command written as one text is judged like any other text.

use crate::{
    inline_secrets, names, shapes,
    token::Span,
    value::{self, ValueContext},
};

pub(super) const RULE: &str = "argument";

/// The spans to mask, each with the index of its argument.
pub(super) fn find(arguments: &[&[u8]]) -> Vec<(usize, Span)> {
    let mut found = Vec::new();
    for (index, argument) in arguments.iter().enumerate() {
        let Some(name) = flag(argument).or_else(|| assignment(argument)) else { continue };
        if let Some(equals) = memchr::memchr(b'=', name) {
            if let Some(strength) = names::judge(&name[..equals]) {
                let from = argument.len() - name.len() + equals + 1;
                let value = &argument[from..];
                if value::masks(value, strength, ValueContext::Structure, true) {
                    found.push((index, Span::new(from..argument.len(), RULE, value.to_vec())));
                }
            }
        } else if let (Some(strength), Some(next)) = (names::judge(name), arguments.get(index + 1))
            && !next.starts_with(b"--")
            && value::masks(next, strength, ValueContext::Structure, true)
        {
            found.push((index + 1, Span::new(0..next.len(), RULE, next.to_vec())));
        }
    }
    found.extend(of_tools(arguments));
    found
}

fn flag(argument: &[u8]) -> Option<&[u8]> {
    // With its dashes: they are part of what makes `-pw` a sensitive name.
    let name = argument.strip_prefix(b"--").or_else(|| argument.strip_prefix(b"-"))?;
    (!name.is_empty() && !name.iter().take_while(|b| **b != b'=').any(u8::is_ascii_whitespace)).then_some(argument)
}

/// `PGPASSWORD=x` as one argument: the value goes to the end of the argument, blanks included.
fn assignment(argument: &[u8]) -> Option<&[u8]> {
    let equals = memchr::memchr(b'=', argument)?;
    let name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (equals > 0 && argument[..equals].iter().all(name)).then_some(argument)
}

/// `mysqldump`, `-phunter2`: judged as the command line that a person would type.
fn of_tools(arguments: &[&[u8]]) -> Vec<(usize, Span)> {
    let line = arguments.join(&b' ');
    let mut spans = Vec::new();
    shapes::find_tools(&line, &mut spans);
    inline_secrets::literals(&line, &mut spans);
    let mut found = Vec::new();
    for span in spans {
        let mut start = 0;
        for (index, argument) in arguments.iter().enumerate() {
            let end = start + argument.len();
            let (from, to) = (span.at.start.max(start), span.at.end.min(end));
            if from < to {
                // An argument that is a flag or follows one is a value as a whole: it was never split at its blanks.
                let before = index.checked_sub(1).map_or(&[][..], |before| arguments[before]);
                let whole = argument.starts_with(b"-") || (before.starts_with(b"-") && from == start);
                let at = from - start..if whole { argument.len() } else { to - start };
                found.push((index, Span::new(at.clone(), span.rule.clone(), argument[at].to_vec())));
            }
            start = end + 1;
        }
    }
    found
}
