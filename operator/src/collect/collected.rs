//! The result of a collection, and whether it makes the bundle Completed or PartiallyFailed.

use debugbundle_archive::Entry;
use debugbundle_format::manifest::{Missing, MissingSeverity, Outcome, Trimmed};
use jiff::Timestamp;

use crate::{budget, diagnose::Evidence};

/// What was collected.
#[derive(Debug)]
pub struct Collected {
    /// The entries, in no order.
    pub entries: Vec<Entry>,
    /// What is missing, and why.
    pub missing: Vec<Missing>,
    /// Paths of lists that were empty.
    pub empty: Vec<String>,
    /// What was left out to stay within the budget.
    pub trimmed: Vec<Trimmed>,
    /// Number of planned items.
    pub wanted: usize,
    /// Facts for the diagnosis.
    pub evidence: Evidence,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

impl Collected {
    /// Number of errors: missing items of severity Error, entries that are cut without a limit that asks for it, and
    /// Lists of the target that did not fit.
    pub fn errors(&self) -> usize {
        let missing = self.missing.iter().filter(|missing| missing.severity == MissingSeverity::Error).count();
        let truncated = self.entries.iter().filter_map(|entry| entry.truncated.as_ref());
        let cut = truncated.filter(|truncated| truncated.reason.is_error()).count();
        // Trimming by any other rule is as configured.
        let of_target = self.trimmed.iter().filter(|trimmed| trimmed.rule == budget::TARGET_LISTS).count();
        missing + cut + of_target
    }

    /// Number of entries that are not whole, for any reason, and of those left out to fit.
    pub fn cut(&self) -> usize {
        let cut = self.entries.iter().filter(|entry| entry.truncated.is_some()).count();
        cut + self.trimmed.iter().filter(|trimmed| trimmed.kept_bytes == 0).count()
    }

    /// Completed without errors, else PartiallyFailed.
    pub fn outcome(&self) -> Outcome {
        if self.errors() == 0 { Outcome::Completed } else { Outcome::PartiallyFailed }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, sync::Arc};

    use debugbundle_archive::{EntryWriter, Spool};
    use debugbundle_format::{
        BundlePath,
        manifest::{MissingCode, Source, Truncation, TruncationReason},
    };
    use debugbundle_redact::Redactor;

    use super::*;

    fn collected() -> Collected {
        Collected {
            entries: Vec::new(),
            missing: Vec::new(),
            empty: Vec::new(),
            trimmed: Vec::new(),
            wanted: 1,
            evidence: Evidence::default(),
            started: Timestamp::UNIX_EPOCH,
            finished: Timestamp::UNIX_EPOCH,
        }
    }

    fn missing(severity: MissingSeverity) -> Missing {
        Missing {
            what: "a log".into(),
            path: "a.log".into(),
            code: MissingCode::Forbidden,
            severity,
            why: "403".into(),
            need: None,
            rule: None,
            cure: String::new(),
        }
    }

    fn entry(spool: &Arc<Spool>, name: &str, truncated: Option<TruncationReason>) -> Entry {
        let path = BundlePath::new([name]);
        let mut writer =
            EntryWriter::new(path, Arc::new(Redactor::new(&[], Vec::new()).expect("no rules")), Arc::clone(spool));
        writer.write_all(b"line\n").expect("written");
        let (kept_head, kept_tail, left_out_bytes, left_out_lines) = (5, 0, 1, 1);
        let cut = |reason| Truncation { reason, kept_head, kept_tail, left_out_bytes, left_out_lines };
        let segment = writer.finish().expect("finished");
        let (source, truncated) = (Source::default(), truncated.map(cut));
        Entry { segment, source, truncated, read_at: Timestamp::UNIX_EPOCH, ms: 0 }
    }

    #[test]
    fn an_error_an_unasked_cut_or_a_trimmed_list_of_the_target_makes_it_partially_failed() {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Spool::create(dir.path(), 1 << 20).expect("a spool");
        let mut all = collected();
        assert_eq!((all.outcome(), all.cut()), (Outcome::Completed, 0));
        all.missing = vec![missing(MissingSeverity::Note)];
        all.entries = vec![entry(&spool, "a", None), entry(&spool, "b", Some(TruncationReason::Limit))];
        all.trimmed = vec![Trimmed { rule: "Objects".into(), ..Trimmed::default() }];
        assert_eq!((all.outcome(), all.errors(), all.cut()), (Outcome::Completed, 0, 2));
        all.trimmed[0].rule = budget::TARGET_LISTS.into();
        assert_eq!((all.outcome(), all.errors()), (Outcome::PartiallyFailed, 1));
        all.missing.push(missing(MissingSeverity::Error));
        all.entries.push(entry(&spool, "c", Some(TruncationReason::Stalled)));
        assert_eq!((all.outcome(), all.errors(), all.cut()), (Outcome::PartiallyFailed, 3, 3));
    }
}
