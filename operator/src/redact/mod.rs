//! What must not leave the cluster is replaced here, by the name, shape or exact value of it, before a byte reaches the spool.
//! Which objects are read at all is the plan's business; the check of the sealed archive shares no code with this module.

mod config_map;
mod exact;
mod lines;
mod name;
mod object;
mod presigned;
mod settings;
mod token;
pub mod writer;

use std::borrow::Cow;

use aho_corasick::AhoCorasick;
use regex::bytes::{Regex, RegexBuilder};
use zeroize::Zeroizing;

pub use writer::Redacting;

use crate::secret::Secret;
use exact::Exact;
use lines::Lines;
use presigned::Presigned;
use token::{Span, Tally};

/// A line of at most this many bytes is judged whole.
const MAX_LINE: usize = 1 << 20;
/// Of a longer line this many bytes are looked at and not passed on, so that no value begins in sight and ends out of it.
const LOOK_AHEAD: usize = 64 << 10;
const MAX_RULES: usize = 64;
const MAX_RULE_BYTES: usize = 512;
/// Bytes of one compiled rule.
const MAX_RULE_PROGRAM: usize = 1 << 20;

/// The rules of one bundle. There is no switch: the user's rules only add to the built-in ones.
///
/// What a rule hits becomes `[REDACTED:<rule>:<8 hex>]`, the digits an HMAC of the decoded value under a key that is made here
/// and forgotten with it: equal values show as equal within a bundle, in every encoding, and nothing can be guessed from them.
pub struct Redactor {
    key: Zeroizing<[u8; 32]>,
    /// Finds lines that any built-in rule may hit; a superset, so its matches mean nothing.
    prefilter: AhoCorasick,
    presigned: Presigned,
    exact: Exact,
    user: Vec<(String, Regex)>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("user", &self.user.len()).finish_non_exhaustive()
    }
}

/// A rule of the user's that cannot be used. It never quotes the rule, which may hold the very value to hide.
#[derive(Debug, thiserror::Error)]
#[error("redaction.rules[{index}]: {why}")]
pub struct RuleError {
    /// Which, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub why: String,
}

/// Which rules apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// All.
    All,
    /// Without the user's, which may match what makes JSON JSON.
    BuiltIn,
}

impl Redactor {
    /// The built-in rules, the user's, and the exact values of known secrets: (rule id, value).
    ///
    /// # Errors
    /// A rule of the user's is no regular expression or too large.
    ///
    /// # Panics
    /// The system has no random numbers, which Linux has once any process runs.
    pub fn new(rules: &[String], known: Vec<(&'static str, Secret)>) -> Result<Self, RuleError> {
        let user = rules.iter().enumerate().map(|(index, rule)| user_rule(index, rule)).collect::<Result<_, _>>()?;
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut key[..]).expect("Linux has random numbers once a process runs in a pod");
        let exact = Exact::new(known);
        let mut hints: Vec<Cow<'_, [u8]>> =
            presigned::HINTS.iter().map(|hint| Cow::Borrowed(hint.as_bytes())).collect();
        hints.extend(exact.hints().map(|hint| Cow::Owned(hint.to_vec())));
        let prefilter = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(&hints)
            .expect("a credential's forms are far from the automaton's limit of two billion states");
        Ok(Self { key, prefilter, presigned: Presigned::new(), exact, user })
    }

    /// A line of text, or several: messages, status, Events.
    pub fn text(&self, text: &str) -> String {
        self.counted_text(text, &mut Tally::default()).unwrap_or_else(|| text.to_owned())
    }

    /// An API object, in place: managedFields and last-applied-configuration dropped, the query of download URLs masked,
    /// of ConfigMaps the values left out, then the text rules on every string. `false`: of a kind that is never collected, the object is to be left out.
    pub fn object(&self, object: &mut serde_json::Value) -> bool {
        self.counted_object(object, &mut Tally::default())
    }

    /// The text with what was hit replaced, and counted; `None` if nothing was.
    pub(crate) fn counted_text(&self, text: &str, tally: &mut Tally) -> Option<String> {
        if text.len() <= MAX_LINE && !text.contains('\n') && self.spans(text.as_bytes(), Rules::All).is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(text.len());
        let mut lines = Lines::new(Rules::All);
        let mut push = |line: &[u8]| {
            out.extend_from_slice(line);
            Ok(())
        };
        let fed = lines.feed(self, text.as_bytes(), tally, &mut push).and_then(|()| lines.end(self, tally, &mut push));
        fed.expect("writing to memory does not fail");
        (out != text.as_bytes()).then(|| String::from_utf8_lossy(&out).into_owned())
    }

    pub(crate) fn counted_object(&self, object: &mut serde_json::Value, tally: &mut Tally) -> bool {
        object::clean(self, object, tally)
    }

    /// A ConfigMap whose values are wanted; anything else as [`Redactor::object`] does it.
    pub(crate) fn counted_config_map(&self, object: &mut serde_json::Value, tally: &mut Tally) -> bool {
        object::clean_config_map(self, object, tally)
    }

    /// A component of a path: unchanged, or a name that says nothing.
    pub(crate) fn path_component(&self, name: &str) -> String {
        match self.counted_text(name, &mut Tally::default()) {
            Some(_) => format!("redacted-{}", token::digits(&self.key, name.as_bytes())),
            None => name.to_owned(),
        }
    }

    /// Position behind which a line may hold something; the built-in rules hit nothing in front of it.
    fn first_hint(&self, block: &[u8], rules: Rules) -> Option<usize> {
        if rules == Rules::All && !self.user.is_empty() {
            return (!block.is_empty()).then_some(0);
        }
        self.prefilter.find(block).map(|hit| hit.start())
    }

    /// What is to be masked in one line: in order, apart from each other, none inside a token of an earlier pass.
    fn spans(&self, line: &[u8], rules: Rules) -> Vec<Span> {
        let mut spans = Vec::new();
        if self.prefilter.is_match(line) {
            self.presigned.find(line, &mut spans);
            self.exact.find(line, &mut spans);
        }
        if rules == Rules::All {
            for (id, rule) in &self.user {
                let hits = rule.find_iter(line).filter(|hit| !hit.is_empty());
                spans.extend(hits.map(|hit| Span::new(hit.range(), id.clone(), hit.as_bytes().to_vec())));
            }
        }
        token::settled(line, spans)
    }
}

fn user_rule(index: usize, rule: &str) -> Result<(String, Regex), RuleError> {
    let refuse = |why: String| Err(RuleError { index, why });
    if index >= MAX_RULES {
        return refuse(format!("is one too many, at most {MAX_RULES} are allowed"));
    }
    if rule.is_empty() || rule.len() > MAX_RULE_BYTES {
        return refuse(format!("has {} bytes, allowed are 1 to {MAX_RULE_BYTES}", rule.len()));
    }
    // Without Unicode `.` and `\S` take invalid UTF-8 too, so that it hides nothing; a rule that names other letters needs it.
    let build = |unicode| {
        RegexBuilder::new(rule).unicode(unicode).size_limit(MAX_RULE_PROGRAM).dfa_size_limit(MAX_RULE_PROGRAM).build()
    };
    match build(false).or_else(|_| build(true)) {
        Ok(regex) => Ok((format!("user-{index}"), regex)),
        Err(regex::Error::CompiledTooBig(_)) => {
            refuse(format!("needs more than {MAX_RULE_PROGRAM} bytes once compiled; repeat less"))
        }
        Err(error) => {
            let text = error.to_string();
            let kind = text.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or("syntax error");
            refuse(format!("is not a regular expression in RE2 syntax: {kind}"))
        }
    }
}

#[cfg(test)]
mod tests;
