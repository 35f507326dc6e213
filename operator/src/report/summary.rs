//! `summary.md`: one page of Markdown, with the cause in its first line. Foreign text is shown as one line inside code
//! marks.

use std::fmt::Write as _;

use debugbundle_crd::Severity;
use debugbundle_format::{
    manifest::{Missing, MissingSeverity, Trimmed},
    text,
};

use super::{BEST_EFFORT, Facts, headline, not_looked, shown_phase, tree};
use crate::diagnose::Diagnosis;

/// The most bytes of the summary.
const LIMIT: usize = 256 * 1024;

/// Most lines about entries that were left out.
const TRIMMED: usize = 200;

/// Most of the errors that are like another one whose names are listed.
const ALIKE: usize = 20;

/// Writes the summary.
pub fn summary(facts: &Facts<'_>) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}\n", plain(&headline(facts), 512));
    let _ = writeln!(out, "# {}\n", plain(facts.subject, 300));
    let _ = writeln!(out, "* Velero's namespace: {}", code(facts.namespace));
    if let Some(phase) = facts.phase {
        let _ = writeln!(out, "* Phase: {}", code(shown_phase(phase)));
    }
    if let (Some(start), end) = facts.times {
        let _ = writeln!(out, "* From {} to {}", code(start), code(end.unwrap_or("now")));
    }
    if let Some(items) = facts.items {
        let _ = writeln!(out, "* Files in this bundle: {items} (manifest.json lists them)\n");
    }
    way(facts.diagnosis, &mut out);
    findings(facts.diagnosis, &mut out);
    missing(facts.missing, &mut out);
    trimmed(facts.trimmed, &mut out);
    if !facts.look_at.is_empty() {
        out.push_str("## Where to look\n\n");
        for path in facts.look_at {
            let _ = writeln!(out, "* {}", code(path));
        }
        out.push('\n');
    }
    let _ = writeln!(out, "{BEST_EFFORT}");
    text::bounded(&out, LIMIT).into_owned()
}

/// The way from the target to its cause; the target alone is no way.
fn way(diagnosis: &Diagnosis, out: &mut String) {
    if diagnosis.tree.len() < 2 {
        return;
    }
    out.push_str("## From the target to the cause\n\n```text\n");
    for line in tree(&diagnosis.tree) {
        let _ = writeln!(out, "{}", text::bounded_within(&text::escape_for_terminal(&line), 1024));
    }
    out.push_str("```\n\n");
}

fn findings(diagnosis: &Diagnosis, out: &mut String) {
    if diagnosis.findings.is_empty() {
        return;
    }
    out.push_str("## Findings\n\n");
    for finding in diagnosis.findings.iter().take(100) {
        let word = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        let sure = finding.confidence.map_or(String::new(), |confidence| format!("{}, ", confidence.as_str()));
        let (title, object) = (code(&finding.title), code(&finding.object));
        let _ = writeln!(out, "* **{word}** {title} ({}, {sure}{object})", finding.kind.id());
        for proof in &finding.evidence {
            let place = proof.line.map_or_else(|| proof.path.clone(), |line| format!("{}:{line}", proof.path));
            let _ = match (proof.text == finding.title, place.is_empty()) {
                (_, true) => writeln!(out, "  * {}", code(&proof.text)),
                (true, false) => writeln!(out, "  * in {}", code(&place)),
                (false, false) => writeln!(out, "  * in {}: {}", code(&place), code(&proof.text)),
            };
        }
        if !finding.alike.is_empty() {
            let _ = writeln!(out, "  * like it: {}", code(&listed(&finding.alike)));
        }
        if !finding.remedy.is_empty() {
            let _ = writeln!(out, "  * what to do: {}", plain(&finding.remedy, 1024));
        }
        for command in &finding.commands {
            let word = if command.changes() { "changes the cluster" } else { "reads" };
            let _ = writeln!(out, "  * {word}: {}", code(&command.to_string()));
        }
        if let Some(link) = &finding.link {
            let _ = writeln!(out, "  * more: <{link}>");
        }
    }
    out.push('\n');
}

/// `web-1; web-2 n2 and 30 more`: the first of what other errors name.
pub fn listed(alike: &[String]) -> String {
    let shown = alike.iter().take(ALIKE).map(String::as_str).collect::<Vec<_>>().join("; ");
    if alike.len() > ALIKE { format!("{shown} and {} more", alike.len() - ALIKE) } else { shown }
}

fn missing(missing: &[Missing], out: &mut String) {
    let errors: Vec<_> = missing.iter().filter(|m| m.severity == MissingSeverity::Error).collect();
    if !errors.is_empty() {
        out.push_str("## Missing\n\n");
        for item in errors.iter().take(200) {
            let _ = writeln!(out, "* {}: {}", plain(&item.what, 300), code(&item.why));
            if !item.cure.is_empty() {
                let _ = writeln!(out, "  * cure: {}", code(&item.cure));
            }
        }
        out.push('\n');
    }
    let cures = not_looked(missing);
    let barred = cures.iter().map(|(_, items)| items).sum::<usize>();
    if let Some((first, items)) = cures.first() {
        let _ = writeln!(
            out,
            "Items not collected because of a permission or a limit: {barred}. Most frequent cure ({items}): {}. \
             manifest.json lists each item.\n",
            code(first)
        );
    }
    let notes = missing.len() - errors.len() - barred;
    if notes > 0 {
        let items = if notes == 1 { "item does" } else { "items do" };
        let _ = writeln!(
            out,
            "{notes} further {items} not exist, which is normal (no previous container, never written, …); \
             manifest.json lists each.\n"
        );
    }
}

fn trimmed(trimmed: &[Trimmed], out: &mut String) {
    if trimmed.is_empty() {
        return;
    }
    out.push_str("## Left out to stay within the bundle's size limit\n\n");
    for item in trimmed.iter().take(TRIMMED) {
        let left = match item.kept_bytes {
            0 => "left out".to_owned(),
            kept => format!("shortened to {}", text::human_bytes(kept)),
        };
        let _ = writeln!(out, "* {} ({}): {left}", code(&item.path), item.rule);
    }
    if trimmed.len() > TRIMMED {
        let _ = writeln!(out, "* and {} more; manifest.json lists each", trimmed.len() - TRIMMED);
    }
    out.push('\n');
}

/// Escapes text, so that it cannot format, link or nest as Markdown.
fn plain(text: &str, limit: usize) -> String {
    let line = text::escape_for_terminal(text);
    let mut safe = String::with_capacity(line.len());
    for c in text::bounded(&line, limit).chars() {
        if matches!(c, '*' | '_' | '[' | ']' | '<' | '>' | '`' | '#' | '\\' | '|') {
            safe.push('\\');
        }
        safe.push(c);
    }
    safe
}

/// Text between code marks that are longer than any run of marks inside it.
fn code(text: &str) -> String {
    let line = text::escape_for_terminal(text);
    let line = text::bounded(&line, 1024);
    let longest = line.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let marks = "`".repeat(longest + 1);
    let pad = if line.starts_with('`') || line.ends_with('`') || line.is_empty() { " " } else { "" };
    format!("{marks}{pad}{line}{pad}{marks}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose;
    use debugbundle_format::manifest::MissingCode;

    #[test]
    fn the_first_line_is_the_cause_and_foreign_text_stays_text() {
        let diagnosis =
            Diagnosis { cause: Some("quota `x` [a](http://b)\n# h".into()), findings: vec![], ..Diagnosis::default() };
        let summary = summary(&Facts {
            subject: "Restore r1",
            namespace: "vault-ns",
            phase: Some("PartiallyFailed"),
            times: (Some("2026-09-08T03:04:12Z"), None),
            read_at: jiff::Timestamp::UNIX_EPOCH,
            items: Some(7),
            diagnosis: &diagnosis,
            timeline: &[],
            missing: &[],
            trimmed: &[],
            look_at: &["velero/restores/r1/results.json"],
        });
        assert_eq!(summary.lines().next(), Some(r"quota \`x\` \[a\](http://b) \# h"));
        assert!(summary.contains("* `velero/restores/r1/results.json`"));
        assert_eq!(code("a``b"), "```a``b```");
    }

    #[test]
    fn what_was_not_looked_at_is_one_line_with_the_largest_cure_and_is_not_called_natural() {
        let note = |path: &str, code, severity, cure: &str| Missing {
            what: "events".into(),
            path: path.into(),
            code,
            severity,
            why: "403".into(),
            need: None,
            rule: None,
            cure: cure.into(),
        };
        let (bind, name) =
            ("bind ClusterRole debugbundle-namespace-read in namespace shop", "name <b> in spec.namespaces");
        let missing = [
            note("namespaces/shop/a", MissingCode::Forbidden, MissingSeverity::Note, bind),
            note("namespaces/shop/b", MissingCode::Forbidden, MissingSeverity::Note, bind),
            note("namespaces/b", MissingCode::NotLooked, MissingSeverity::Note, name),
            note("namespaces/c", MissingCode::NoPrevious, MissingSeverity::Note, ""),
            note("namespaces/d", MissingCode::NotLooked, MissingSeverity::Note, ""),
            note("namespaces/e", MissingCode::Forbidden, MissingSeverity::Error, "give R5"),
        ];
        let diagnosis = Diagnosis::default();
        let facts = Facts {
            subject: "Restore r1",
            namespace: "vault-ns",
            phase: None,
            times: (None, None),
            read_at: jiff::Timestamp::UNIX_EPOCH,
            items: Some(7),
            diagnosis: &diagnosis,
            timeline: &[],
            missing: &missing,
            trimmed: &[],
            look_at: &[],
        };
        let text = summary(&facts);
        let line = format!(
            "\nItems not collected because of a permission or a limit: 3. Most frequent cure (2): `{bind}`. manifest.json "
        );
        assert!(text.contains(&line) && !text.contains("spec.namespaces"), "{text}");
        assert_eq!(text.matches("cure: `give R5`").count(), 1, "errors have their own place: {text}");
        assert!(text.contains("\n2 further items do not exist, which is normal"), "{text}");
        let page = crate::report::page(&facts);
        assert_eq!(page.matches(bind).count(), 1, "{page}");
        assert!(
            page.contains("<summary>3 items: by permission or limit</summary>") && page.contains("name &lt;b&gt; in"),
            "{page}"
        );
    }

    #[test]
    fn only_a_completed_target_has_no_failure() {
        let first = |phase, findings| {
            let diagnosis = Diagnosis { findings, ..Diagnosis::default() };
            let facts = Facts {
                subject: "Restore r1",
                namespace: "vault-ns",
                phase,
                times: (None, None),
                read_at: jiff::Timestamp::UNIX_EPOCH,
                items: Some(7),
                diagnosis: &diagnosis,
                timeline: &[],
                missing: &[],
                trimmed: &[],
                look_at: &[],
            };
            let text = summary(&facts);
            let shown = phase.map(|phase| if phase.is_empty() { "New" } else { phase });
            assert_eq!(shown.is_some(), text.contains("* Phase: "), "{text}");
            let page = crate::report::page(&facts);
            if let Some(shown) = shown {
                assert!(text.contains(&format!("* Phase: `{shown}`\n")), "{text}");
                assert!(page.contains(&format!(">{shown}</span></h1>")), "{page}");
            }
            text.lines().next().unwrap().to_owned()
        };
        assert_eq!(first(None, vec![]), "No failure was found.");
        assert_eq!(first(Some("Completed"), vec![]), "No failure was found.");
        assert_eq!(first(Some("InProgress"), vec![]), "Restore r1 is InProgress.");
        assert_eq!(first(Some(""), vec![]), "Velero has not started Restore r1 yet.");
        let words = "Restore r1 is PartiallyFailed; Velero's results name no error.";
        assert_eq!(first(Some("PartiallyFailed"), vec![]), words);
        let unread = diagnose::Finding {
            kind: diagnose::FindingKind::ResultsUnreadable,
            severity: Severity::Warning,
            confidence: None,
            title: "results.json could not be read: EOF".into(),
            object: "Restore/vault-ns/r1".into(),
            evidence: Vec::new(),
            alike: Vec::new(),
            remedy: String::new(),
            commands: Vec::new(),
            link: None,
        };
        let words = "Restore r1 is PartiallyFailed; Velero's results are missing or damaged.";
        assert_eq!(first(Some("PartiallyFailed"), vec![unread]), words);
    }
}
