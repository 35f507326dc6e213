//! Points findings at the lines of logs that say the same, and quotes the lines around them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{self, BufRead},
};

use debugbundle_diagnosis::alike::{and_more, key};
use debugbundle_format::text::{bounded, escape_for_terminal};

use super::{Diagnosis, LogLine, Proof, TimelineEvent, log_lines::next_line};

/// Most findings for which the logs are searched, and how much of their text is compared (bytes).
const POINTED: usize = 20;
const COMPARED: usize = 200;
/// Lines that are quoted before and behind one, and the longest part of each (bytes).
const AROUND: u64 = 3;
const QUOTED: usize = 400;

impl Diagnosis {
    /// Adds to the most severe findings the log line with the same message, and how many more of that log are like it.
    pub fn point_at(&mut self, moments: &[TimelineEvent]) {
        let mut keys = BTreeMap::new();
        for finding in self.findings.iter_mut().take(POINTED) {
            let Some(first) = finding.evidence.first() else { continue };
            let said = first.text.rsplit_once("error: /").map_or(first.text.as_str(), |(_, why)| why).trim();
            let said = said.get(..said.floor_char_boundary(COMPARED)).unwrap_or(said);
            let same = |moment: &&TimelineEvent| moment.line.is_some() && said.len() > 16 && moment.text.contains(said);
            if let Some(TimelineEvent { path, line, text, .. }) = moments.iter().find(same) {
                let common = keys.entry(path).or_insert_with(|| counted(moments, path));
                let more = common.get(&key(text)).map_or(0, |times| times.saturating_sub(1));
                let text = text.clone() + &and_more(more);
                finding.evidence.push(Proof { line: *line, ..Proof::new(path.clone(), &text) });
            }
        }
    }

    /// The logs to which findings point.
    pub fn logs_pointed_at(&self) -> BTreeSet<String> {
        let proofs = self.findings.iter().flat_map(|finding| &finding.evidence);
        proofs.filter(|proof| proof.line.is_some()).map(|proof| proof.path.clone()).collect()
    }

    /// Quotes the lines around those of a log to which findings point. Reads the log as far as the last of them.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn quote_around(&mut self, path: &str, mut log: impl BufRead) -> io::Result<()> {
        let proofs = self.findings.iter_mut().flat_map(|finding| &mut finding.evidence);
        let mut wanted: Vec<(u64, &mut Proof)> =
            proofs.filter(|proof| proof.path == path).filter_map(|proof| Some((proof.line?, proof))).collect();
        let last = wanted.iter().map(|(line, _)| line + AROUND).max().unwrap_or_default();
        let mut bytes = Vec::new();
        for number in 1..=last {
            if !next_line(&mut log, &mut bytes)? {
                break;
            }
            let mut near = wanted.iter_mut().filter(|(line, _)| line.abs_diff(number) <= AROUND).peekable();
            if near.peek().is_some() {
                let line = String::from_utf8_lossy(&bytes);
                let text = bounded(&escape_for_terminal(line.trim_end()), QUOTED).into_owned();
                near.for_each(|(_, proof)| proof.around.push(LogLine { line: number, text: text.clone() }));
            }
        }
        Ok(())
    }
}

/// How often the error lines of a log say the same, by what they have in common.
fn counted(moments: &[TimelineEvent], path: &str) -> HashMap<String, u64> {
    let mut counted = HashMap::new();
    for moment in moments.iter().filter(|moment| moment.line.is_some() && moment.path == path) {
        *counted.entry(key(&moment.text)).or_default() += 1;
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::{Finding, FindingKind};

    #[test]
    fn issue_36_the_lines_around_are_those_of_the_log_within_its_ends_and_of_no_other_log() {
        let finding = |path: &str, line| {
            let proof = Proof { line: Some(line), ..Proof::new(path.to_owned(), "it broke") };
            Finding::new(FindingKind::ResultsError, "it broke", "Restore/v/r1", proof)
        };
        let findings = vec![finding("a.log", 1), finding("a.log", 6), finding("b.log", 2)];
        let mut found = Diagnosis { findings, ..Diagnosis::default() };
        assert_eq!(found.logs_pointed_at(), BTreeSet::from(["a.log".to_owned(), "b.log".to_owned()]));
        let log = (1..=8).map(|n| format!("line {n} \u{1b}[31m{}\n", "x".repeat(900))).collect::<Vec<_>>();
        found.quote_around("a.log", log.concat().as_bytes()).unwrap();
        let lines = |at: usize| found.findings[at].evidence[0].around.iter().map(|one| one.line).collect::<Vec<_>>();
        assert_eq!([lines(0), lines(1), lines(2)], [vec![1, 2, 3, 4], vec![3, 4, 5, 6, 7, 8], vec![]]);
        let text = &found.findings[0].evidence[0].around[1].text;
        assert!(text.starts_with("line 2 ") && !text.contains('\u{1b}') && text.len() <= QUOTED, "{text}");
    }
}
