//! Replaces the bytes that must not leave the cluster, found by name, shape or exact value, before they reach the
//! spool. The plan decides which objects are read; the check of the sealed archive shares no code with this module.

mod arguments;
mod assignments;
mod base64_runs;
mod binary_lines;
mod candidates;
mod config_map;
mod elements;
mod encoded;
mod exact;
mod fast_scanners;
mod hints;
mod inline_collections;
mod inline_secrets;
mod json;
mod json_lines;
mod json_texts;
mod lines;
mod location_config;
mod multiline;
mod name_value_pairs;
mod names;
mod nested_keys;
mod object;
mod pem;
mod presigned;
mod prose;
mod quote;
mod scripts;
mod secret;
mod separators;
mod settings;
mod shapes;
mod token;
mod tools;
mod unescape;
mod url;
mod user;
mod value;
mod vendors;
mod wrappers;
mod writer;

use std::{ops::Range, time::Duration};

use zeroize::Zeroizing;

pub use json_lines::JsonLines;
pub use secret::Secret;
pub use user::{RuleError, UserRules};
pub use writer::{LineRedactor, RedactWriter};

use exact::Exact;
use hints::{Base64, Hints, LineHints};
use lines::Lines;
use presigned::Presigned;
use token::{Span, Tally};

/// A line of at most this many bytes is judged whole.
const MAX_LINE: usize = 1 << 20;
/// This many bytes of a longer line are read but not shown, so that no value begins in sight and ends out of sight.
const LOOK_AHEAD: usize = 64 << 10;
/// How often base64 is decoded to look inside.
const DECODINGS: usize = 2;

/// The rules of one bundle. There is no switch: the user's rules only add to the built-in ones.
///
/// A hit becomes `[REDACTED:<rule>:<8 hex>]`. The digits are an HMAC of the decoded value under a key that lives only
/// as long as this: equal values look equal within a bundle, in every encoding, and nothing can be guessed from them.
pub struct Redactor {
    key: Zeroizing<[u8; 32]>,
    hints: Hints,
    presigned: Presigned,
    exact: Exact,
    user: UserRules,
    /// A built-in rule that a test has switched off, to show that it is needed.
    #[cfg(debug_assertions)]
    off: Option<&'static str>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("user", &self.user.len()).finish_non_exhaustive()
    }
}

/// Which rules apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// All.
    All,
    /// All; the user's rules mask texts and numbers of JSON and leave its syntax.
    AllInJson,
    /// Without the user's rules, which may match the syntax of JSON or the operator's own words.
    BuiltIn,
}

impl Redactor {
    /// The built-in rules, the user's, and the exact values of known secrets: (rule id, value).
    ///
    /// # Errors
    /// As [`UserRules::compiled`].
    ///
    /// # Panics
    /// The system has no random numbers, which Linux has once any process runs.
    pub fn new(rules: &[String], known: Vec<(&'static str, Secret)>) -> Result<Self, RuleError> {
        Ok(Self::of_known(known).with(UserRules::compiled(rules)?))
    }

    /// The same redactor with the user's rules added.
    #[must_use]
    pub fn with(self, user: UserRules) -> Self {
        Self { user, ..self }
    }

    /// A redactor with the built-in rules and these known values, and without rules of the user. It gives a value the
    /// same token as `self`.
    #[must_use]
    pub fn renewed(&self, known: Vec<(&'static str, Secret)>) -> Self {
        Self { key: self.key.clone(), ..Self::of_known(known) }
    }

    /// The user's rules took all the CPU time that they had: lines since then are masked whole.
    pub fn rules_are_over(&self) -> bool {
        self.user.is_over()
    }

    /// The CPU time that the user's rules took.
    pub fn time_of_rules(&self) -> Duration {
        self.user.spent()
    }

    /// Lets the user's rules take this much CPU time from now on.
    pub fn give_rules_more_time(&self, more: Duration) {
        self.user.give_more_time(more);
    }

    /// Ends the searches of the user's rules: what is still redacted is of no use any more.
    pub fn stop(&self) {
        self.user.stop();
    }

    /// The built-in rules and the exact values of known secrets: (rule id, value).
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn of_known(known: Vec<(&'static str, Secret)>) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut key[..]).expect("Linux has random numbers once a process runs in a pod");
        let exact = Exact::new(known);
        let hints = Hints::new(&exact);
        Self {
            key,
            hints,
            presigned: Presigned::new(),
            exact,
            user: UserRules::default(),
            #[cfg(debug_assertions)]
            off: None,
        }
    }

    /// The same redactor without one built-in rule, to see what happens to a text that this rule misses. A release
    /// does not contain it.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn without(self, rule: &'static str) -> Self {
        Self { off: Some(rule), ..self }
    }

    /// Redacts a line of text or several that others wrote.
    pub fn text(&self, text: &str) -> String {
        self.counted_text(text, &mut Tally::default()).unwrap_or_else(|| text.to_owned())
    }

    /// Redacts a sentence of the operator's own for messages, status and Events. The user's rules ran over each text
    /// that it quotes before it was built; they do not run over the sentence, because they may match the operator's
    /// words.
    pub fn sentence(&self, text: &str) -> String {
        self.replaced_text(text, Rules::BuiltIn, &mut Tally::default()).unwrap_or_else(|| text.to_owned())
    }

    /// Redacts an API object in place: drops managedFields and last-applied-configuration, masks the query of download
    /// URLs, leaves out the values of ConfigMaps, then applies the text rules to every string. `false`: the object must
    /// be left out, since its kind is never collected.
    pub fn object(&self, object: &mut serde_json::Value) -> bool {
        self.counted_object(object, &mut Tally::default())
    }

    /// The text with its hits replaced and counted; `None` if there were none.
    pub(crate) fn counted_text(&self, text: &str, tally: &mut Tally) -> Option<String> {
        self.replaced_text(text, Rules::All, tally)
    }

    fn replaced_text(&self, text: &str, rules: Rules, tally: &mut Tally) -> Option<String> {
        if text.len() <= MAX_LINE && !text.contains('\n') && self.spans(text.as_bytes(), rules).is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(text.len());
        let mut lines = Lines::new(rules);
        let mut push = |line: &[u8]| {
            out.extend_from_slice(line);
            Ok(())
        };
        let fed = lines.feed(self, text.as_bytes(), tally, &mut push).and_then(|()| lines.end(self, tally, &mut push));
        fed.expect("writing to memory does not fail");
        let whole =
            |out| String::from_utf8(out).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned());
        (out != text.as_bytes()).then(|| whole(out))
    }

    pub(crate) fn counted_object(&self, object: &mut serde_json::Value, tally: &mut Tally) -> bool {
        object::clean(self, object, tally)
    }

    /// Redacts a ConfigMap whose values are wanted; other kinds as in [`Redactor::object`].
    pub(crate) fn counted_config_map(&self, object: &mut serde_json::Value, tally: &mut Tally) -> bool {
        object::clean_config_map(self, object, tally)
    }

    /// A component of a path: unchanged, or replaced by a meaningless name if a rule hits it.
    pub fn path_component(&self, name: &str) -> String {
        match self.counted_text(name, &mut Tally::default()) {
            Some(_) => format!("redacted-{}", token::digits(&self.key, name.as_bytes())),
            None => name.to_owned(),
        }
    }

    /// The spans to mask in one line: sorted, without overlap, none inside a token of an earlier pass.
    fn spans(&self, line: &[u8], rules: Rules) -> Vec<Span> {
        self.spans_of(line, &self.hints.of(line), rules)
    }

    /// Like [`Self::spans`], for a line whose hints are known.
    fn spans_of(&self, line: &[u8], found: &LineHints, rules: Rules) -> Vec<Span> {
        let mut spans = Vec::new();
        if binary_lines::is_none(line) && self.has(binary_lines::RULE) {
            return binary_lines::all(line);
        }
        self.built_in(line, found, DECODINGS, &mut spans);
        if rules != Rules::BuiltIn {
            let mut hits = Vec::new();
            self.user.find(line, &mut hits);
            spans.extend(if rules == Rules::AllInJson { json_texts::within(line, hits) } else { hits });
        }
        self.settled(line, spans)
    }

    fn built_in(&self, text: &[u8], found: &LineHints, decodings: usize, spans: &mut Vec<Span>) {
        if let Some(query) = found.presigned {
            self.presigned.find(text, query, spans);
        }
        if found.exact {
            self.exact.find(text, spans);
        }
        if !found.names.is_empty() {
            assignments::find(text, found.names.iter().cloned(), spans);
            name_value_pairs::find(text, spans);
            inline_secrets::find(text, spans);
        }
        if !found.names.is_empty() || found.shapes != 0 {
            multiline::find(text, spans);
        }
        if !found.urls.is_empty() {
            url::find(text, found.urls.iter().cloned(), spans);
        }
        if found.pem {
            pem::find(text, spans);
        }
        for index in (0..shapes::TABLE.len()).filter(|index| found.shapes & 1 << index != 0) {
            shapes::find(index, text, spans);
        }
        // In a line that was cut, the names may stand behind the cut.
        let named = !found.names.is_empty() || found.shapes != 0 || text.len() >= MAX_LINE;
        if named && json::may_hold(text) {
            json::find(text, spans);
        }
        if decodings > 0 && found.base64 != Base64::None {
            self.within_base64(text, found.base64 == Base64::Public, decodings, spans);
        }
    }

    /// Masks lines of keys, and runs of base64 whose text a rule hits. A hit on the whole text gets the token of the
    /// plain value. `public`: the text goes on with a certificate or a public key.
    fn within_base64(&self, text: &[u8], public: bool, decodings: usize, spans: &mut Vec<Span>) {
        let mut from = 0;
        let mut public_parts = None;
        while let Some(run) = encoded::next(text, from) {
            from = run.at.end;
            let before = spans.len();
            for decoded in run.texts(text) {
                let mut inner = Vec::new();
                self.built_in(&decoded, &self.hints.of(&decoded), decodings - 1, &mut inner);
                let mut inner = self.settled(&decoded, inner);
                let whole = inner.len() == 1 && inner[0].at.len() == decoded.trim_ascii_end().len();
                if let Some(first) = inner.pop() {
                    let value = if whole { first.value.to_vec() } else { decoded };
                    spans.push(Span::new(run.at.clone(), encoded::RULE, value));
                    break;
                }
            }
            // If the run is text with a secret, its token is that of the secret.
            let key = run.key.clone().filter(|_| spans.len() == before);
            let mut is_public = |line: &Range<usize>| {
                let parts = public_parts.get_or_insert_with(|| pem::public_parts(text, public));
                let next = parts.partition_point(|part| part.end <= line.start);
                parts.get(next).is_some_and(|part| part.contains(&line.start))
            };
            if let Some(line) = key.filter(|line| !is_public(line)) {
                let last = pem::last_behind(text, line.end);
                from = last.as_ref().map_or(from, |last| last.end);
                spans.extend([Some(line), last].into_iter().flatten().map(|digits| pem::span(text, digits)));
            }
        }
    }

    fn settled(&self, line: &[u8], mut spans: Vec<Span>) -> Vec<Span> {
        spans.retain(|span| self.has(&span.rule));
        token::settled(line, spans)
    }

    /// The text with tokens in place of the spans.
    fn replaced(&self, text: &[u8], spans: Vec<Span>, tally: &mut Tally) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut from = 0;
        for span in self.settled(text, spans) {
            out.extend_from_slice(&text[from..span.at.start]);
            span.write_token(&self.key, &mut out);
            tally.add(&span.rule);
            from = span.at.end;
        }
        out.extend_from_slice(&text[from..]);
        out
    }

    #[cfg(debug_assertions)]
    fn has(&self, rule: &str) -> bool {
        self.off != Some(rule)
    }

    #[cfg(not(debug_assertions))]
    #[expect(clippy::unused_self, reason = "a release cannot switch rules off")]
    const fn has(&self, _rule: &str) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
