//! `report.html`: the summary for a browser, with a timeline that can be filtered. One file without network access: its
//! own script and style are allowed by their digests, and nothing else is.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use debugbundle_crd::Severity;
use debugbundle_format::{
    manifest::MissingSeverity,
    text::{bounded, escape_for_terminal},
};
use sha2::{Digest as _, Sha256};

use super::{BEST_EFFORT, Facts, headline, not_looked, shown_phase};
use crate::diagnose::MomentKind;

/// Most bytes of the whole page, and of its timeline; `analysis/timeline.jsonl` contains the rest.
const LIMIT: usize = 4 << 20;
const TIMELINE: usize = 3 << 20;
/// Most findings, and most lines about missing items.
const ROWS: usize = 300;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:#1b1f24;\
background:#fff}h1{font-size:1.4em}h2{font-size:1.1em;margin-top:2em}table{border-collapse:collapse;width:100%}\
td,th{text-align:left;vertical-align:top;padding:.25em .6em;border-bottom:1px solid #d8dee4}\
code,td{overflow-wrap:anywhere}.t{white-space:nowrap;color:#57606a}.error{color:#b42318}.warning{color:#8a5a00}\
.cause{font-size:1.15em;border-left:4px solid #b42318;padding:.5em 1em;background:#fdf3f2}input{font:inherit;\
width:22em;max-width:100%;margin:0 1em .5em 0}@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}\
.cause{background:#2d1512}td,th{border-color:#30363d}.t{color:#8d96a0}.error{color:#ff7b72}.warning{color:#e3b341}}";

const SCRIPT: &str = "const rows=[...document.querySelectorAll('#timeline tbody tr')],word=document.getElementById('word'),\
kinds=[...document.querySelectorAll('#kinds input')],count=document.getElementById('count');\
function show(){const w=word.value.toLowerCase(),on=new Set(kinds.filter(k=>k.checked).map(k=>k.value));let n=0;\
for(const r of rows){const ok=on.has(r.dataset.kind)&&r.textContent.toLowerCase().includes(w);r.hidden=!ok;n+=ok}\
count.textContent=n+' of '+rows.length+' shown'}\
word.addEventListener('input',show);kinds.forEach(k=>k.addEventListener('change',show));show();";

/// Writes the page.
pub fn html(facts: &Facts<'_>) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src '{}'; style-src '{}'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n<style>{STYLE}</style></head><body>\n",
        digest(SCRIPT),
        digest(STYLE),
        safe(facts.subject, 300),
    );
    let _ =
        writeln!(out, "<h1>{}</h1>\n<p class=\"cause\">{}</p>", safe(facts.subject, 300), safe(&headline(facts), 512));
    let mut about = vec![("Velero's namespace", facts.namespace.to_owned())];
    if let Some(phase) = facts.phase {
        about.push(("Phase", shown_phase(phase).to_owned()));
    }
    if let (Some(start), end) = facts.times {
        about.push(("From, to", format!("{start}, {}", end.unwrap_or("now"))));
    }
    about.push(("Files", format!("{}; manifest.json lists them", facts.items)));
    table(&mut out, about.iter().map(|(name, value)| format!("<th>{name}</th><td>{}</td>", safe(value, 300))));
    trail(facts, &mut out);
    findings(facts, &mut out);
    missing(facts, &mut out);
    barred(facts, &mut out);
    if !facts.look_at.is_empty() {
        out.push_str("<h2>Where to look</h2>\n");
        table(&mut out, facts.look_at.iter().map(|path| format!("<td><code>{}</code></td>", safe(path, 500))));
    }
    let _ = writeln!(out, "<p>{BEST_EFFORT}</p>");
    let room = LIMIT - 4096;
    if out.len() < room {
        timeline(facts, (room - out.len()).min(TIMELINE), &mut out);
    }
    out.push_str("</body></html>\n");
    out
}

fn table(out: &mut String, rows: impl Iterator<Item = String>) {
    out.push_str("<table><tbody>\n");
    for row in rows {
        let _ = writeln!(out, "<tr>{row}</tr>");
    }
    out.push_str("</tbody></table>\n");
}

fn trail(facts: &Facts<'_>, out: &mut String) {
    if facts.diagnosis.trail.len() < 2 {
        return;
    }
    out.push_str("<h2>From the target to the cause</h2>\n");
    table(
        out,
        facts.diagnosis.trail.iter().map(|step| {
            format!(
                "<td><code>{}</code></td><td>{}</td><td>{}</td>",
                safe(&step.object, 300),
                safe(&step.phase, 64),
                safe(&step.why, 1024)
            )
        }),
    );
}

fn findings(facts: &Facts<'_>, out: &mut String) {
    if facts.diagnosis.findings.is_empty() {
        return;
    }
    out.push_str("<h2>Findings</h2>\n");
    table(
        out,
        facts.diagnosis.findings.iter().take(ROWS).map(|finding| {
            let word = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Info => "info",
            };
            let sure = finding.confidence.map_or(String::new(), |sure| format!("<br>({})", sure.as_str()));
            let read_on =
                finding.link.as_ref().map(|link| format!(" (<a href=\"{link}\">more</a>)", link = safe(link, 300)));
            let commands = finding.commands.iter().map(|command| {
                let word = if command.changes() { "changes the cluster: " } else { "" };
                format!("<br>{word}<code>{}</code>", safe(&command.to_string(), 1024))
            });
            format!(
                "<td class=\"{word}\">{word}{sure}</td><td>{}<br>{}{}{}</td><td><code>{}</code></td>",
                safe(&finding.title, 1024),
                safe(&finding.remedy, 1024),
                read_on.unwrap_or_default(),
                commands.collect::<String>(),
                safe(&finding.object, 300)
            )
        }),
    );
}

fn missing(facts: &Facts<'_>, out: &mut String) {
    let errors: Vec<_> = facts.missing.iter().filter(|item| item.severity == MissingSeverity::Error).collect();
    if errors.is_empty() {
        return;
    }
    out.push_str("<h2>Missing</h2>\n");
    table(
        out,
        errors.iter().take(ROWS).map(|item| {
            let (what, why, cure) = (safe(&item.what, 300), safe(&item.why, 600), safe(&item.cure, 300));
            format!("<td>{what}</td><td>{why}</td><td>{cure}</td>")
        }),
    );
}

fn barred(facts: &Facts<'_>, out: &mut String) {
    let cures = not_looked(facts.missing);
    if cures.is_empty() {
        return;
    }
    out.push_str("<h2>Not collected: permission or limit</h2>\n");
    let row = |(cure, items): &(&str, usize)| format!("<td>{items} items</td><td>{}</td>", safe(cure, 300));
    table(out, cures.iter().take(ROWS).map(row));
}

/// The newest events that fit, in their order.
fn timeline(facts: &Facts<'_>, room: usize, out: &mut String) {
    if facts.timeline.is_empty() {
        return;
    }
    let mut rows = Vec::new();
    let mut used = 0;
    for moment in facts.timeline.iter().rev() {
        let kind = moment.kind.word();
        let row = format!(
            "<tr data-kind=\"{kind}\"><td class=\"t\">{}</td><td>{kind}</td><td><code>{}</code></td><td>{}</td></tr>\n",
            moment.t,
            safe(&moment.object, 300),
            safe(&moment.text, 1024)
        );
        used += row.len();
        if used > room {
            break;
        }
        rows.push(row);
    }
    out.push_str("<h2>Timeline</h2>\n");
    if rows.len() < facts.timeline.len() {
        let _ = writeln!(
            out,
            "<p>The newest {} of {} events; analysis/timeline.jsonl contains all.</p>",
            rows.len(),
            facts.timeline.len()
        );
    }
    out.push_str("<p id=\"kinds\"><input id=\"word\" type=\"text\" placeholder=\"filter\" aria-label=\"filter\">");
    for kind in MomentKind::ALL.map(MomentKind::word) {
        let _ = write!(out, "<label><input type=\"checkbox\" value=\"{kind}\" checked>{kind}</label> ");
    }
    out.push_str("<span id=\"count\"></span></p>\n<table id=\"timeline\"><tbody>\n");
    rows.iter().rev().for_each(|row| out.push_str(row));
    let _ = writeln!(out, "</tbody></table>\n<script>{SCRIPT}</script>");
}

/// A digest as a Content-Security-Policy expects it.
fn digest(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

/// Escapes text, so that it stays text everywhere in the page.
fn safe(text: &str, limit: usize) -> String {
    let line = escape_for_terminal(text);
    let mut safe = String::with_capacity(line.len());
    for c in bounded(&line, limit).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::{Diagnosis, TimelineEvent};

    fn moment(text: &str) -> TimelineEvent {
        TimelineEvent {
            t: jiff::Timestamp::UNIX_EPOCH,
            kind: MomentKind::Event,
            object: "Pod/v/p".into(),
            text: text.into(),
            path: String::new(),
            line: None,
        }
    }

    fn page(cause: &str, timeline: &[TimelineEvent]) -> String {
        let diagnosis = Diagnosis { cause: Some(cause.into()), ..Diagnosis::default() };
        html(&Facts {
            subject: "Restore r1",
            namespace: "v",
            phase: Some("Failed"),
            times: (None, None),
            items: 1,
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
        assert!(page.contains(
            "&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=&#39;a&#39;&gt;&quot;&amp;\\u{202e}"
        ));
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
