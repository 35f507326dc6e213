//! `report.html`: the summary for a browser, with a picture of the course of things and a timeline that can be filtered.
//! One file without network access: its own script and style are allowed by their digests, and nothing else is.
//!
//! The self-check withholds the words between two tags, a row (`<tr>`, `<li>`), or what stands between two `<h2>`. So each of
//! these begins a line, and texts of others stand between tags.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use debugbundle_crd::Severity;
use debugbundle_diagnosis::InstallationParts;
use debugbundle_format::{
    manifest::MissingSeverity,
    text::{bounded, escape_for_terminal},
};
use jiff::{SignedDuration, Timestamp};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use super::{
    BEST_EFFORT, Facts, headline,
    lanes::{Course, Lane, Look, WIDTH, course},
    listed, not_looked, shown_phase,
};
use crate::diagnose::{CauseStep, Finding, MomentKind, Proof, TimelineEvent};

/// Most bytes of the whole page, and of its timeline; `analysis/timeline.jsonl` contains the rest.
const LIMIT: usize = 4 << 20;
const TIMELINE: usize = 3 << 20;
/// Most findings, and most lines about missing items.
const ROWS: usize = 300;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// The end of a line.
const NL: PreEscaped<&str> = PreEscaped("\n");

/// What stays as it is in a relative address.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');

/// Writes the page.
pub fn page(facts: &Facts<'_>) -> String {
    let target = facts.diagnosis.tree.first().map(|step| step.object.as_str());
    let course = target.and_then(|of| course(facts.timeline, &facts.diagnosis.tree, of, facts.read_at));
    let marked = course.iter().flat_map(|course| &course.lanes).flat_map(|lane| &lane.marks);
    let marked: BTreeSet<usize> = marked.map(|(_, number)| *number).collect();
    let mut out = html! {
        (DOCTYPE) (NL)
        html lang="en" {
            head {
                meta charset="utf-8";
                (NL)
                meta http-equiv="Content-Security-Policy" content=(policy());
                (NL)
                meta name="viewport" content="width=device-width";
                (NL)
                title { (safe(facts.subject, 300)) }
                (NL)
                style { (PreEscaped(STYLE)) }
            }
            (NL)
            body {
                (NL)
                (head(facts)) (cause(facts)) (way(&facts.diagnosis.tree))
                @if let Some(course) = &course { (picture(course)) }
                (findings(facts)) (missing(facts)) (looked_at(facts)) (barred(facts)) (files(facts))
                footer { p { (BEST_EFFORT) } } (NL)
            }
        }
    }
    .into_string();
    // The timeline comes last and takes the room that is left.
    out.truncate(out.len() - "</body></html>".len());
    let room = LIMIT - 8192;
    if out.len() < room {
        out.push_str(&timeline(facts, (room - out.len()).min(TIMELINE), &marked).into_string());
    }
    out.push_str("</body></html>\n");
    out
}

fn policy() -> String {
    format!("default-src 'none'; script-src '{}'; style-src '{}'", digest(SCRIPT), digest(STYLE))
}

fn head(facts: &Facts<'_>) -> Markup {
    let phase = facts.phase.map(shown_phase);
    let (start, end) = facts.times;
    let lasted = start.and_then(|start| {
        let end = end.map_or(Some(facts.read_at), |end| end.parse().ok())?;
        Some(lasted(end.duration_since(start.parse().ok()?)))
    });
    html! {
        h1 {
            (safe(facts.subject, 300)) " "
            @if let Some(phase) = phase { span class={ "chip " (class(phase)) } { (safe(phase, 64)) } }
        }
        (NL)
        p class="facts" {
            span { "Velero in " (safe(facts.namespace, 300)) }
            @if let Some(start) = start { (NL) span { "started " (safe(start, 64)) } }
            @if let Some(end) = end { (NL) span { "ended " (safe(end, 64)) } }
            @if let Some(lasted) = lasted { (NL) span { @if end.is_none() { "for " } @else { "took " } (lasted) } }
            @if let Some(progress) = &facts.diagnosis.progress { (NL) span { (safe(&progress.words(), 300)) } }
            (NL)
            @if let Some(items) = facts.items { span { (items) " files; manifest.json lists them" } }
        }
        (NL)
    }
}

/// A phase as the class of a style: letters alone.
fn class(phase: &str) -> &str {
    if phase.bytes().all(|byte| byte.is_ascii_alphabetic()) { phase } else { "" }
}

/// `41 s`, `38 min` or `3 h 5 min`.
fn lasted(time: SignedDuration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// What explains the state: the first error.
fn first<'a>(facts: &Facts<'a>) -> Option<&'a Finding> {
    facts.diagnosis.findings.first().filter(|first| first.severity == Severity::Error)
}

fn cause(facts: &Facts<'_>) -> Markup {
    let bad = facts.diagnosis.cause.is_some();
    html! {
        div class={ "cause" @if bad { " bad" } } {
            @if let Some(sure) = first(facts).and_then(|first| first.confidence) {
                span class="chip error" { "cause: " (sure.as_str()) }
            }
            (NL)
            p class="says" { (safe(&headline(facts), 512)) }
            (NL)
            @if let Some(first) = first(facts) { (remedy(first)) }
        }
        (NL)
    }
}

/// What to do, and the commands to copy: a click selects one whole.
fn remedy(finding: &Finding) -> Markup {
    html! {
        ul class="plain" {
            (NL)
            @if !finding.remedy.is_empty() { li { (safe(&finding.remedy, 1024)) } (NL) }
            @for command in &finding.commands {
                li {
                    small { @if command.changes() { "changes the cluster" } @else { "reads" } }
                    pre { (safe(&command.to_string(), 1024)) }
                }
                (NL)
            }
            @if let Some(link) = &finding.link {
                li { "Velero's documentation: " a href=(safe(link, 300)) { (safe(link, 300)) } }
                (NL)
            }
        }
        (NL)
    }
}

/// Kind and name of `Kind/namespace/name`.
fn kind_and_name(object: &str) -> (&str, &str) {
    let (kind, name) = object.split_once('/').unwrap_or(("", object));
    (kind, name.strip_prefix('/').unwrap_or(name))
}

fn way(steps: &[CauseStep]) -> Markup {
    if steps.len() < 2 {
        return html! {};
    }
    let step = |step: &CauseStep| {
        let (kind, name) = kind_and_name(&step.object);
        html! {
            li {
                small class="step" { (safe(kind, 100)) }
                b { (safe(name, 300)) }
                @if !step.state.is_empty() { span { (safe(&step.state, 64)) } }
                small { (safe(&step.why, 1024)) }
            }
            (NL)
        }
    };
    html! {
        h2 { "From the target to the cause" }
        (NL)
        ol class="chain" { (NL) @for one in steps { (step(one)) } }
        (NL)
    }
}

fn picture(course: &Course) -> Markup {
    let long = course.to.duration_since(course.from) >= SignedDuration::from_hours(24);
    let format = if long { "%m-%d %H:%M" } else { "%H:%M:%S" };
    let quarter = |n: i32| course.from + course.to.duration_since(course.from) / 4 * n;
    let seconds = |t: Timestamp| t.round(jiff::Unit::Second).unwrap_or(t);
    html! {
        h2 { "What happened when" }
        (NL)
        p { small { "From " (seconds(course.from)) " to " (seconds(course.to)) ", UTC" } }
        (NL)
        svg class="defs" aria-hidden="true" {
            pattern id="hatch" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                line class="hatch" x1="0" y1="0" x2="0" y2="8" {}
            }
        }
        (NL)
        ol class="lanes" {
            (NL)
            li {
                span {}
                span class="times" { @for n in 0..=4 { span { (quarter(n).strftime(format)) } } }
                span {}
            }
            (NL)
            @for one in &course.lanes { (lane(one)) (NL) }
        }
        (NL)
        p class="legend" {
            @for look in [Look::Waits, Look::Runs, Look::Done, Look::Failed] {
                span { svg class="bar" viewBox="0 0 20 20" { rect class=(look.word()) width="20" height="20" {} } (look.word()) }
                (NL)
            }
            span { svg class="bar" viewBox="0 0 20 20" { rect class="mark" x="6" width="8" height="20" {} } "an error or a Warning" }
            (NL)
            @if course.left_out > 0 { span { (course.left_out) " more lanes are left out" } }
        }
        (NL)
    }
}

fn lane(lane: &Lane) -> Markup {
    let (kind, name) = kind_and_name(&lane.object);
    let looks: Vec<&str> = lane.spans.iter().map(|span| span.look.word()).take(8).collect();
    html! {
        li class={ "lane" @if lane.is_cause { " is-cause" } } {
            span {
                small { (safe(kind, 100)) } " " b { (safe(name, 300)) }
                @if !lane.part.is_empty() { " " small { (safe(&lane.part, 300)) } }
            }
            svg class="bar" viewBox={ "0 0 " (WIDTH) " 20" } preserveAspectRatio="none" role="img" {
                title { @if looks.is_empty() { "an error or a Warning" } @else { (looks.join(", ")) } }
                @for span in &lane.spans {
                    rect class=(span.look.word()) x=(span.from) y="3" width=(span.to - span.from) height="14" {}
                }
                @for (at, number) in &lane.marks {
                    a href={ "#t" (number) } { rect class="mark" x=((at - 3).clamp(0, WIDTH - 6)) width="6" height="20" {} }
                }
            }
            span {
                @if lane.is_cause { b class="error" { "✗ the cause " } }
                @else if lane.look == Look::Failed { span class="failed" { "✗ " } }
                small { (safe(&lane.says, 300)) }
            }
        }
    }
}

fn findings(facts: &Facts<'_>) -> Markup {
    let all = &facts.diagnosis.findings;
    if all.is_empty() {
        return html! {};
    }
    let cause = first(facts);
    html! {
        h2 { "Findings" }
        (NL)
        ol class="findings" {
            (NL)
            @for (number, one) in all.iter().take(ROWS).enumerate() {
                (finding(one, number == 0, number == 0 && cause.is_some()))
                (NL)
            }
        }
        (NL)
        @if all.len() > ROWS { p { (all.len() - ROWS) " more are in analysis/diagnosis.json." } (NL) }
    }
}

/// A finding in one line of the file. The remedy of the cause stands above.
fn finding(finding: &Finding, open: bool, is_cause: bool) -> Markup {
    let word = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
    };
    let advice = if is_cause { String::new() } else { remedy(finding).into_string().replace('\n', " ") };
    html! {
        li {
            details open[open] {
                summary {
                    span class={ "chip " (word) } {
                        (word) @if let Some(sure) = finding.confidence { ", " (sure.as_str()) }
                    }
                    " " (safe(&finding.title, 1024)) " " small { (safe(&finding.object, 300)) }
                }
                @if !finding.evidence.is_empty() { ul class="proofs" { @for one in &finding.evidence { (proof(one, finding)) } } }
                @if !finding.alike.is_empty() { p { "Like it: " (safe(&listed(&finding.alike), 1024)) } }
                (PreEscaped(advice))
            }
        }
    }
}

fn proof(proof: &Proof, of: &Finding) -> Markup {
    html! {
        li {
            @if proof.text != of.title { code { (safe(&proof.text, 1024)) } }
            @if !proof.path.is_empty() {
                small { (file(&proof.path)) @if let Some(line) = proof.line { ", line " (line) } }
            }
            @if !proof.around.is_empty() {
                ol class="around" {
                    @for one in &proof.around {
                        li class=[(Some(one.line) == proof.line).then_some("here")] {
                            small { (one.line) } code { (safe(&one.text, 1024)) }
                        }
                    }
                }
            }
        }
    }
}

/// A file of the bundle; the address works where the bundle is unpacked.
fn file(path: &str) -> Markup {
    html! { a href=(utf8_percent_encode(path, PATH)) { (safe(path, 500)) } }
}

fn missing(facts: &Facts<'_>) -> Markup {
    let errors: Vec<_> = facts.missing.iter().filter(|item| item.severity == MissingSeverity::Error).collect();
    if errors.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Missing" }
        (NL)
        ul class="plain" {
            (NL)
            @for item in errors.iter().take(ROWS) {
                li {
                    b { (safe(&item.what, 300)) } ": " span { (safe(&item.why, 600)) }
                    @if !item.cure.is_empty() { " " small { "cure: " (safe(&item.cure, 300)) } }
                }
                (NL)
            }
        }
        (NL)
        @if errors.len() > ROWS { p { (errors.len() - ROWS) " more are in manifest.json." } (NL) }
    }
}

/// What the walk to the cause looked at.
fn looked_at(facts: &Facts<'_>) -> Markup {
    let diagnosis = facts.diagnosis;
    let parts = diagnosis.parts.as_ref().map(InstallationParts::words);
    let counted = diagnosis.looked_at.iter().map(|(kind, number)| format!("{number} {kind}"));
    let all: Vec<String> = diagnosis.made.iter().cloned().chain(parts).chain(counted).collect();
    if all.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Looked at" }
        (NL)
        p { (safe(&all.join(" · "), 2048)) }
        (NL)
    }
}

/// One folded line: what the shipped role never reads is no news.
fn barred(facts: &Facts<'_>) -> Markup {
    let cures = not_looked(facts.missing);
    if cures.is_empty() {
        return html! {};
    }
    let items: usize = cures.iter().map(|(_, items)| items).sum();
    html! {
        h2 { "Not collected" }
        (NL)
        details {
            summary { (items) " items: by permission or limit" }
            (NL)
            ul class="plain" {
                (NL)
                @for (cure, items) in cures.iter().take(ROWS) { li { (items) " items: " (safe(cure, 300)) } (NL) }
            }
        }
        (NL)
    }
}

fn files(facts: &Facts<'_>) -> Markup {
    if facts.look_at.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Where to look" }
        (NL)
        ul class="plain" { (NL) @for path in facts.look_at { li { (file(path)) } (NL) } }
        (NL)
    }
}

/// The newest events that fit, in their order.
fn timeline(facts: &Facts<'_>, room: usize, marked: &BTreeSet<usize>) -> Markup {
    if facts.timeline.is_empty() {
        return html! {};
    }
    let (mut rows, mut used) = (Vec::new(), 0);
    for (number, moment) in facts.timeline.iter().enumerate().rev() {
        let row = row(moment, marked.contains(&number).then_some(number)).into_string();
        used += row.len() + 1;
        if used > room {
            break;
        }
        rows.push(PreEscaped(row));
    }
    let all = facts.timeline.len();
    html! {
        h2 { "Timeline" }
        (NL)
        @if rows.len() < all {
            p { "The newest " (rows.len()) " of " (all) " events; analysis/timeline.jsonl contains all." }
            (NL)
        }
        details {
            summary { (rows.len()) " events, oldest first" }
            (NL)
            div id="kinds" {
                input id="word" type="text" placeholder="filter" aria-label="filter";
                @for kind in MomentKind::ALL.map(MomentKind::word) {
                    label { input type="checkbox" value=(kind) checked; " " (kind) }
                }
                span id="count" {}
            }
            (NL)
            div class="scroll" {
                table id="timeline" { tbody { (NL) @for row in rows.iter().rev() { (row) (NL) } } }
            }
        }
        (NL)
        script { (PreEscaped(SCRIPT)) }
        (NL)
    }
}

fn row(moment: &TimelineEvent, number: Option<usize>) -> Markup {
    html! {
        tr data-kind=(moment.kind.word()) id=[number.map(|number| format!("t{number}"))] {
            td class="t" { (moment.t) }
            td class="t" { (moment.kind.word()) }
            td class="o" { (safe(&moment.object, 300)) }
            td class="w" { (safe(&moment.text, 1024)) }
        }
    }
}

/// A digest as a Content-Security-Policy expects it.
fn digest(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

/// Text as one bounded line that reorders and hides nothing; the template escapes it.
fn safe(text: &str, limit: usize) -> String {
    bounded(&escape_for_terminal(text), limit).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::{Diagnosis, MomentStep};

    fn moment(text: &str) -> TimelineEvent {
        TimelineEvent {
            t: jiff::Timestamp::UNIX_EPOCH,
            kind: MomentKind::Event,
            object: "Pod/v/p".into(),
            text: text.into(),
            part: String::new(),
            step: MomentStep::Point,
            path: String::new(),
            line: None,
        }
    }

    fn page(cause: &str, timeline: &[TimelineEvent]) -> String {
        let diagnosis = Diagnosis { cause: Some(cause.into()), ..Diagnosis::default() };
        super::page(&Facts {
            subject: "Restore r1",
            namespace: "v",
            phase: Some("Failed"),
            times: (None, None),
            read_at: Timestamp::UNIX_EPOCH,
            items: Some(1),
            diagnosis: &diagnosis,
            timeline,
            missing: &[],
            trimmed: &[],
            look_at: &[],
        })
    }

    #[test]
    fn sec_l5_foreign_text_is_text_and_nothing_but_our_own_script_may_run() {
        let hostile = "<script>alert(1)</script><img src=x onerror='a'>\"&\u{202e}";
        let page = page(hostile, &[moment(hostile)]);
        assert_eq!(page.matches("<script>").count(), 1, "ours");
        assert_eq!(page.matches("<img").count(), 0);
        assert!(
            page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror='a'&gt;&quot;&amp;\\u{202e}")
        );
        assert!(page.contains(&format!("script-src '{}'", digest(SCRIPT))) && page.contains("default-src 'none'"));
        assert!(!page.contains("http://") && !page.contains("https://"), "no network");
    }

    #[test]
    fn a_timeline_beyond_the_room_keeps_its_end() {
        let moments: Vec<TimelineEvent> = (0..9000).map(|n| moment(&format!("{n} {}", "x".repeat(1000)))).collect();
        let page = page("", &moments);
        assert!(page.len() <= LIMIT, "{}", page.len());
        assert!(page.contains(">8999 x") && !page.contains(">0 x"));
        assert!(page.contains("of 9000 events"));
    }
}
