//! The user's own rules: compiled within one size limit for all rules of a bundle, and searched with bounded memory.
//! The callers choose the lines and handle the hits.

use std::{
    any::Any,
    array,
    ops::Range,
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use regex_automata::{
    Input,
    meta::{BuildError, Cache, Regex},
    nfa::thompson::WhichCaptures,
    util::{iter::Searcher, syntax},
};

use crate::token::Span;

const MAX_RULES: usize = 64;
const MAX_RULE_BYTES: usize = 512;
/// Most bytes of all rules of a bundle once compiled.
const MAX_PROGRAMS: usize = 1 << 20;
/// Threads that search at the same time, each with its own caches; a third thread waits until a line is done.
const SEARCHES: usize = 2;
/// Most bytes of one lazy automaton (a search needs two) with few rules; of those of all rules with many.
const MAX_AUTOMATON: usize = 32 << 10;
const MAX_AUTOMATA: usize = 1 << 20;
/// How many of the largest rules a refusal names.
const NAMED: usize = 3;
/// Most hits of all rules in one line; with more, the rest of the line is masked.
const MAX_HITS: usize = 1000;
/// Most CPU time for one long line: a single rule such as `.*[^a-z]|[a-z]` takes quadratic time to find all of its hits. When
/// it is over, the rest of the line is masked. Shorter lines cannot take much longer.
const LINE_TIME: Duration = Duration::from_millis(100);
const LONG_LINE: usize = 4 << 10;

/// A user's rule is unusable, or all together are. It never quotes a rule, which may contain the value to hide.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// One rule.
    #[error("redaction.rules[{index}]: {why}")]
    One {
        /// Its index, from 0.
        index: usize,
        /// What is wrong with it.
        why: String,
    },
    /// Each rule is usable alone, but not all together.
    #[error(
        "redaction.rules: the {count} rules need {} KiB of memory once compiled, and all rules together may need {} \
         KiB; shorten the largest, or use fewer repetitions: {largest}",
        kib(*.bytes), kib(MAX_PROGRAMS)
    )]
    Together {
        /// Number of rules.
        count: usize,
        /// Bytes that they need.
        bytes: usize,
        /// The largest ones.
        largest: String,
    },
}

/// The rules of one bundle.
#[derive(Default)]
pub struct UserRules {
    rules: Vec<Regex>,
    /// Working memory of the threads that search, one cache for each rule; created on first use.
    caches: [Mutex<Vec<Cache>>; SEARCHES],
    /// CPU time spent in searches, in nanoseconds, and the most that they may take; 0: no limit.
    spent: AtomicU64,
    limit: AtomicU64,
    stopped: AtomicBool,
    /// Released when the rules are dropped.
    #[expect(dead_code, reason = "it is there to be dropped")]
    room: Option<Box<dyn Any + Send + Sync>>,
}

impl UserRules {
    /// The most bytes that the rules of one bundle take, caches included.
    pub const MOST: usize = with_caches(MAX_PROGRAMS, MAX_RULES);

    /// Compiles the rules in order. Rules beyond the size limit are only measured, for the error's total.
    ///
    /// # Errors
    /// A rule is not a regular expression or too large, or all together are too large.
    pub fn compiled(rules: &[String]) -> Result<Self, RuleError> {
        let mut kept = Vec::new();
        let mut sizes = Vec::new();
        let mut bytes = 0;
        for (index, rule) in rules.iter().enumerate() {
            let rule = compiled(index, rule, automaton(rules.len())).map_err(|why| RuleError::One { index, why })?;
            let size = rule.memory_usage();
            bytes += size;
            sizes.push((size, index));
            if bytes <= MAX_PROGRAMS {
                kept.push(rule);
            }
        }
        if bytes > MAX_PROGRAMS {
            sizes.sort_by_key(|(size, index)| (usize::MAX - size, *index));
            let largest = sizes.iter().take(NAMED).map(|(size, index)| format!("rules[{index}] ({} KiB)", kib(*size)));
            let largest = largest.collect::<Vec<_>>().join(", ");
            return Err(RuleError::Together { count: rules.len(), bytes, largest });
        }
        Ok(Self { rules: kept, caches: array::from_fn(|_| Mutex::default()), ..Self::default() })
    }

    /// The most bytes that these rules take, caches included.
    pub fn bytes(&self) -> usize {
        with_caches(self.rules.iter().map(Regex::memory_usage).sum(), self.rules.len())
    }

    /// Keeps `room` taken as long as the rules exist.
    #[must_use]
    pub fn within(self, room: impl Any + Send + Sync) -> Self {
        Self { room: Some(Box::new(room)), ..self }
    }

    /// The most CPU time that all searches together may take. Once it is over nothing is searched: each line is masked
    /// whole.
    #[must_use]
    pub fn for_time(self, limit: Duration) -> Self {
        Self { limit: AtomicU64::new(nanos(limit).max(1)), ..self }
    }

    /// The CPU time that all searches together took.
    pub(super) fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent.load(Relaxed))
    }

    /// Lets the searches take this much CPU time from now on, if there is a limit.
    pub(super) fn give_more_time(&self, more: Duration) {
        if self.limit.load(Relaxed) > 0 {
            self.limit.store(self.spent.load(Relaxed).saturating_add(nanos(more)), Relaxed);
        }
    }

    /// The time for all searches is over.
    pub(super) fn is_over(&self) -> bool {
        let limit = self.limit.load(Relaxed);
        limit > 0 && self.spent.load(Relaxed) >= limit
    }

    /// Ends all searches: what is still redacted is of no use any more.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }

    /// Adds the hits of each rule. The rules do not see each other's hits; overlapping hits are joined.
    pub(super) fn find(&self, line: &[u8], spans: &mut Vec<Span>) {
        if self.is_empty() {
            return;
        }
        let mut hits = Vec::new();
        if self.is_over() || self.stopped.load(Relaxed) {
            hits.push((0..line.trim_ascii_end().len(), 0));
        } else {
            self.search(line, &mut hits);
        }
        // Values are copied, each byte of the line once.
        hits.sort_by_key(|(hit, _)| (hit.start, usize::MAX - hit.end));
        let mut joined: Vec<(Range<usize>, usize)> = Vec::new();
        for (hit, index) in hits {
            match joined.last_mut() {
                Some((last, rule)) if hit.start < last.end => {
                    if hit.len() > last.len() {
                        *rule = index;
                    }
                    last.end = last.end.max(hit.end);
                }
                _ => joined.push((hit, index)),
            }
        }
        let span =
            |(hit, index): (Range<usize>, usize)| Span::new(hit.clone(), format!("user-{index}"), line[hit].to_vec());
        spans.extend(joined.into_iter().filter(|(hit, _)| !hit.is_empty()).map(span));
    }

    fn search(&self, line: &[u8], hits: &mut Vec<(Range<usize>, usize)>) {
        let mut place = self.filled();
        let began = cpu_time();
        let is_late = || line.len() > LONG_LINE && cpu_time().saturating_sub(began) > LINE_TIME;
        // Taken out meanwhile: caches whose search broke off must not be used again.
        let mut caches = std::mem::take(&mut *place);
        let end = line.trim_ascii_end().len();
        'rules: for (index, (rule, cache)) in self.rules.iter().zip(&mut caches).enumerate() {
            if is_late() {
                hits.push((0..end, index));
                break;
            }
            let mut search = Searcher::new(Input::new(line));
            while let Some(hit) = search.advance(|input| Ok(rule.search_with(cache, input))) {
                if hit.is_empty() {
                    continue;
                }
                hits.push((hit.range(), index));
                if hits.len() >= MAX_HITS || is_late() {
                    // The rules behind this one have not seen the line yet.
                    let from = if index + 1 == self.rules.len() { hit.start() } else { 0 };
                    hits.push((from..end.max(hit.end()), index));
                    break 'rules;
                }
            }
        }
        *place = caches;
        drop(place);
        self.spent.fetch_add(nanos(cpu_time().saturating_sub(began)), Relaxed);
    }

    /// A place with a cache for each rule.
    fn filled(&self) -> MutexGuard<'_, Vec<Cache>> {
        let mut place = self.place();
        if place.is_empty() {
            place.extend(self.rules.iter().map(Regex::create_cache));
        }
        place
    }

    /// The first free place, else the first one.
    fn place(&self) -> MutexGuard<'_, Vec<Cache>> {
        let free = self.caches.iter().find_map(|place| match place.try_lock() {
            Ok(place) => Some(place),
            Err(TryLockError::Poisoned(place)) => Some(place.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        free.unwrap_or_else(|| self.caches[0].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// CPU time of this thread: a busy machine must not make a line look slow.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Bytes of each lazily built automaton.
const fn automaton(rules: usize) -> usize {
    match MAX_AUTOMATA.checked_div(rules) {
        Some(share) if share < MAX_AUTOMATON => share,
        _ => MAX_AUTOMATON,
    }
}

/// Bytes that `rules` rules take whose programs take `programs` bytes, measured on the heap with rules of all kinds: a
/// program takes at most 1.6 times the size it reports, plus 3 KiB. The caches of a search take 2 KiB, twice the limit
/// of each of two automata (their tables double), and 1.5 times the program where no automaton fits.
const fn with_caches(programs: usize, rules: usize) -> usize {
    (programs * 8).div_ceil(5)
        + rules * (3 << 10)
        + SEARCHES * (programs * 3 / 2 + rules * (2 * 2 * automaton(rules) + (2 << 10)))
}

const fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1 << 10)
}

fn compiled(index: usize, rule: &str, automaton: usize) -> Result<Regex, String> {
    if index >= MAX_RULES {
        return Err(format!("is one rule too many; at most {MAX_RULES} are allowed"));
    }
    if rule.is_empty() || rule.len() > MAX_RULE_BYTES {
        return Err(format!("has {} bytes; 1 to {MAX_RULE_BYTES} are allowed", rule.len()));
    }
    // Only the engines with bounded memory stay: the lazy automata and, where these give up, the simulation.
    let config = Regex::config()
        .utf8_empty(false)
        .nfa_size_limit(Some(MAX_PROGRAMS))
        .hybrid_cache_capacity(automaton)
        .which_captures(WhichCaptures::Implicit)
        .dfa(false)
        .onepass(false)
        .backtrack(false);
    // Without Unicode, `.` and `\S` match invalid UTF-8 too; a rule with non-ASCII letters needs Unicode.
    let build = |unicode| {
        let syntax = syntax::Config::new().utf8(false).unicode(unicode);
        Regex::builder().configure(config.clone()).syntax(syntax).build(rule).map_err(|error| said(&error))
    };
    build(false).or_else(|_| build(true))
}

fn said(error: &BuildError) -> String {
    if error.size_limit().is_some() {
        return format!("needs more than {} KiB of memory once compiled; use fewer repetitions", kib(MAX_PROGRAMS));
    }
    let text = error.syntax_error().map(ToString::to_string).unwrap_or_default();
    let kind = text.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or("syntax error");
    format!("is not a regular expression in RE2 syntax: {kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes alone, 64 of them took some 400 MB.
    const LARGE: &str = "(?:\\w{1,20}[^a]){1,80}z";
    const ORDINARY: [&str; 8] = [
        "internal-[0-9a-f]{32}",
        "(?i)customer[-_ ]?id[=:]\\s*\\d{6,10}",
        "[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\\.[A-Za-z]{2,}",
        "(?:10|192\\.168)(?:\\.\\d{1,3}){2,3}",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "\\b(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14})\\b",
        "(?i)(secret|token|apikey)\\s*[:=]\\s*\"?[^\"\\s]{8,64}",
        "grün\\w+",
    ];

    fn of(rules: &[&str], count: usize) -> Result<UserRules, RuleError> {
        let rules: Vec<_> = rules.iter().cycle().take(count).map(ToString::to_string).collect();
        UserRules::compiled(&rules)
    }

    fn hits(rules: &UserRules, line: &str) -> Vec<(String, String)> {
        let mut spans = Vec::new();
        rules.find(line.as_bytes(), &mut spans);
        spans.into_iter().map(|span| (span.rule.into_owned(), line[span.at].to_owned())).collect()
    }

    #[test]
    fn sec_b5_rules_that_pass_alone_are_refused_together_with_their_sum_and_the_largest() {
        let alone = of(&[LARGE], 1).expect("one passes");
        let sum = kib(64 * alone.rules[0].memory_usage());
        let why = of(&[LARGE], 64).map(|_| ()).expect_err("64 do not").to_string();
        assert!(
            why.starts_with(&format!("redaction.rules: the 64 rules need {sum} KiB of memory once compiled")),
            "{why}"
        );
        assert!(why.contains("may need 1024 KiB; shorten") && !why.contains("\\w"), "{why}");
        let mixed = ["x", LARGE, "y", "(?:\\w{1,20}[^a]){1,90}z"];
        let why = of(&mixed, 16).map(|_| ()).expect_err("eight large ones").to_string();
        let named: Vec<_> = ["rules[3] (", "rules[7] (", "rules[11] ("].iter().map(|name| why.find(name)).collect();
        assert!(named.iter().all(Option::is_some) && named.is_sorted(), "{why}");
        assert!(!why.contains("rules[1] ("), "{why}");
    }

    #[test]
    fn sec_b5_sixty_four_ordinary_rules_pass_and_each_has_its_hits() {
        let rules = of(&ORDINARY, 64).expect("ordinary rules");
        let line = format!("x internal-{} grünes 192.168.1.20", "0a".repeat(16));
        let hits = hits(&rules, &line);
        assert_eq!(hits.len(), 3, "{hits:?}");
        assert_eq!(hits[0], ("user-0".to_owned(), format!("internal-{}", "0a".repeat(16))));
        assert_eq!(hits[1], ("user-7".to_owned(), "grünes".to_owned()));
        assert!(rules.bytes() <= UserRules::MOST, "{}", rules.bytes());
    }

    #[test]
    fn a_longer_hit_is_not_lost_behind_the_hit_of_another_rule() {
        let rules = of(&["ab", "abc+", "b.*", "a*"], 4).expect("four rules");
        assert_eq!(hits(&rules, "xabccc"), [("user-1".to_owned(), "abccc".to_owned())]);
    }

    #[test]
    fn sec_b5_hits_in_a_line_are_bounded_and_the_rest_of_it_is_masked() {
        let rules = of(&[".", "[^x]", "\\S", "a+"], 4).expect("four rules");
        let line = "a".repeat(300_000);
        assert_eq!(hits(&rules, &line), [("user-0".to_owned(), line.clone())]);
        let few = of(&["a", "b"], 2).expect("two rules");
        assert_eq!(hits(&few, &"a-b-".repeat(400)).len(), 800, "as many as there are");
    }

    #[test]
    fn sec_b5_a_rule_that_takes_quadratic_time_masks_the_rest_of_a_long_line() {
        let rules = of(&[".*[^a-z]|[a-z]"], 1).expect("a rule");
        let line = "a".repeat(1 << 20);
        let hits = hits(&rules, &line);
        let masked: usize = hits.iter().map(|(_, text)| text.len()).sum();
        assert!(masked == line.len() && hits.len() <= MAX_HITS, "{} hits, {masked} bytes", hits.len());
    }

    #[test]
    fn sec_b5_when_the_time_of_all_searches_is_over_lines_are_masked_whole() {
        let rules = of(&["secret"], 1).expect("a rule").for_time(Duration::from_nanos(1));
        while !rules.is_over() {
            hits(&rules, &"no such word ".repeat(1000));
        }
        assert_eq!(hits(&rules, "whatever it is\n"), [("user-0".to_owned(), "whatever it is".to_owned())]);
        rules.give_more_time(Duration::from_mins(1));
        assert_eq!(hits(&rules, "a secret\n"), [("user-0".to_owned(), "secret".to_owned())]);
        let stopped = of(&["secret"], 1).expect("a rule");
        stopped.stop();
        assert_eq!(hits(&stopped, "x").len(), 1);
        assert!(!stopped.is_over(), "a run that was cancelled is not slow");
    }

    #[test]
    fn sec_b5_the_caches_of_a_search_stay_within_what_was_reckoned() {
        let large =
            ["(?:\\w{1,20}[^a]){1,200}z", "(?:(?:\\b(?:|a|b){0,7}){2,23}[^a]{0,6}){1,27}", "(?:|aa|bb|cc){300}z"];
        let cases: [(&[&str], usize); 5] =
            [(&[LARGE], 3), (&large[..1], 1), (&large[1..2], 1), (&large[2..], 9), (&["[a-q][^u-z]{13}x"], 64)];
        let text: String =
            (0_u32..4000).map(|n| char::from(b"abcdefgh z-.A1x"[(n * n % 8191 % 15) as usize])).collect();
        for (rules, count) in cases {
            let rules = of(rules, count).expect("within the bound");
            let most = automaton(count);
            // Every rule on its own: with many hits the rules behind it are not searched.
            for (rule, cache) in rules.rules.iter().zip(rules.filled().iter_mut()) {
                let mut search = Searcher::new(Input::new(&text));
                while search.advance(|input| Ok(rule.search_with(cache, input))).is_some() {}
            }
            for (rule, cache) in rules.rules.iter().zip(rules.place().iter()) {
                let (program, cache) = (rule.memory_usage(), cache.memory_usage());
                assert!(cache > 0 && cache <= 2 * most + program * 3 / 2, "{cache} of 2 * {most} and {program}");
            }
        }
    }

    #[test]
    fn sec_b5_however_many_threads_search_two_have_caches() {
        let rules = of(&ORDINARY, 64).expect("ordinary rules");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for n in 0..200 {
                        assert_eq!(hits(&rules, &format!("id 10.1.{n}.7 of grün{n}")).len(), 2);
                    }
                });
            }
        });
        assert!(rules.caches.iter().all(|place| [0, 64].contains(&place.lock().expect("no panic").len())));
    }
}
