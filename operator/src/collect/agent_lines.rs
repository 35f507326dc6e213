//! Finds in a node-agent's log what it wrote there of other pods: whole logs of hosting pods, and what it found out when
//! one of them could not be prepared. Pure; where the copies go is told beside this file.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use crate::velero::is_dns_name;

/// Of a longer line the beginning decides (bytes).
const LINE: usize = 64 * 1024;
/// Most bytes before a marker in its line: the kubelet's time stamp and a blank.
const STAMP: usize = 41;
/// Kept of what one line says (bytes).
const SAID: usize = 512;

// Velero, pkg/util/kube/pod.go, CollectPodLogs: the log is copied in one go, between two lines of its own.
const BEGIN: &[u8] = b"***************************begin pod logs[";
const END: &str = "***************************end pod logs[";
const CLOSE: &str = "]***************************";
/// With this a node-agent begins what it found out about a pod.
const DIAGNOSE: &[u8] = b"[Diagnose ";

/// One of them is in each line outside a copy that matters.
static MARKS: LazyLock<AhoCorasick> =
    LazyLock::new(|| AhoCorasick::new([BEGIN, DIAGNOSE]).expect("two words are far from the limits of an automaton"));

/// What is found, in the order of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AgentPart<'a> {
    /// Here begins the copy of a container's log.
    Begin {
        /// The pod.
        pod: &'a str,
        /// Its container.
        container: &'a str,
    },
    /// Lines of it, or a piece of one.
    Lines(&'a [u8]),
    /// Here it ends.
    End,
    /// What was found out about a pod that could not be prepared: the line, and what it says.
    Diagnosed(&'a [u8], String),
}

/// Splits a stream into such parts; all else is passed over.
#[derive(Debug, Default)]
pub(super) struct AgentLog {
    line: Vec<u8>,
    /// In the rest of a line over [`LINE`].
    rest: bool,
    /// In a copy: the marker that ends it. Nothing else does: the log of the pod may hold whatever it likes.
    until: Option<Vec<u8>>,
    /// The end of what was seen of a line over [`LINE`], where a marker may begin.
    tail: Vec<u8>,
}

impl AgentLog {
    /// Passes the parts in `data` to `out`.
    pub(super) fn feed<E>(
        &mut self,
        data: &[u8],
        mut out: impl FnMut(AgentPart<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let begun = self.rest || !self.line.is_empty();
        let first = memchr::memchr(b'\n', data).map_or(data.len(), |at| at + 1);
        let (first, data) = data.split_at(if begun { first } else { 0 });
        self.piece(first, &mut out)?;
        let whole = memchr::memrchr(b'\n', data).map_or(0, |at| at + 1);
        let (lines, last) = data.split_at(whole);
        self.lines(lines, &mut out)?;
        self.piece(last, &mut out)
    }

    /// The end of the stream, which may stand in the middle of a copy.
    pub(super) fn end<E>(&mut self, mut out: impl FnMut(AgentPart<'_>) -> Result<(), E>) -> Result<(), E> {
        if !self.line.is_empty() {
            self.held(&mut out)?;
        }
        if self.until.take().is_some() { out(AgentPart::End) } else { Ok(()) }
    }

    /// Whole lines: those between two marks pass in one go.
    fn lines<E>(&mut self, mut lines: &[u8], out: &mut impl FnMut(AgentPart<'_>) -> Result<(), E>) -> Result<(), E> {
        while let Some(at) = self.next_mark(lines) {
            let start = memchr::memrchr(b'\n', &lines[..at]).map_or(0, |before| before + 1);
            let end = memchr::memchr(b'\n', &lines[at..]).map_or(lines.len(), |behind| at + behind + 1);
            self.pass(&lines[..start], out)?;
            self.judge(&lines[start..end], out)?;
            lines = &lines[end..];
        }
        self.pass(lines, out)
    }

    fn next_mark(&self, lines: &[u8]) -> Option<usize> {
        match &self.until {
            Some(until) => memchr::memmem::find(lines, until),
            None => MARKS.find(lines).map(|mark| mark.start()),
        }
    }

    fn pass<E>(&self, lines: &[u8], out: &mut impl FnMut(AgentPart<'_>) -> Result<(), E>) -> Result<(), E> {
        if self.until.is_some() && !lines.is_empty() { out(AgentPart::Lines(lines)) } else { Ok(()) }
    }

    /// A piece of a line that began, or will end, in other data.
    fn piece<E>(&mut self, piece: &[u8], out: &mut impl FnMut(AgentPart<'_>) -> Result<(), E>) -> Result<(), E> {
        if piece.is_empty() {
            return Ok(());
        }
        let ends = piece.ends_with(b"\n");
        if self.rest {
            return self.go_on(piece, ends, out);
        }
        self.line.extend_from_slice(piece);
        if ends || self.line.len() > LINE {
            self.held(out)?;
            self.rest = !ends;
        }
        Ok(())
    }

    fn held<E>(&mut self, out: &mut impl FnMut(AgentPart<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut line = std::mem::take(&mut self.line);
        self.judge(&line, out)?;
        line.clear();
        self.line = line;
        Ok(())
    }

    fn judge<E>(&mut self, line: &[u8], out: &mut impl FnMut(AgentPart<'_>) -> Result<(), E>) -> Result<(), E> {
        if let Some(until) = &self.until {
            if let Some(at) = memchr::memmem::find(line, until) {
                // A log that does not end with its line has the marker at the end of its last one.
                if at > STAMP || !is_stamp(&line[..at]) {
                    out(AgentPart::Lines(&line[..at]))?;
                    out(AgentPart::Lines(b"\n"))?;
                }
                self.until = None;
                out(AgentPart::End)?;
            } else {
                out(AgentPart::Lines(line))?;
                self.tail = line[line.len().saturating_sub(until.len())..].to_vec();
            }
        } else if let Some((pod, container)) = begun(line) {
            self.until = Some(format!("{END}{pod}/{container}{CLOSE}").into_bytes());
            out(AgentPart::Begin { pod, container })?;
        } else if let Some(said) = diagnosed(line) {
            out(AgentPart::Diagnosed(line, said))?;
        }
        Ok(())
    }

    fn go_on<E>(
        &mut self,
        piece: &[u8],
        ends: bool,
        out: &mut impl FnMut(AgentPart<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.rest = !ends;
        let Some(until) = &self.until else { return Ok(()) };
        out(AgentPart::Lines(piece))?;
        self.tail.extend_from_slice(piece);
        if memchr::memmem::find(&self.tail, until).is_some() {
            self.until = None;
            self.tail.clear();
            return out(AgentPart::End);
        }
        let known = self.tail.len().saturating_sub(until.len());
        self.tail.drain(..known);
        Ok(())
    }
}

fn is_stamp(before: &[u8]) -> bool {
    before.is_empty() || (before.ends_with(b" ") && !before[..before.len() - 1].contains(&b' '))
}

/// Pod and container of a line that begins a copy.
fn begun(line: &[u8]) -> Option<(&str, &str)> {
    let at = memchr::memmem::find(line, BEGIN).filter(|at| *at <= STAMP && is_stamp(&line[..*at]))?;
    let rest = std::str::from_utf8(&line[at + BEGIN.len()..]).ok()?;
    let (pod, container) = rest.trim_end().strip_suffix(CLOSE)?.split_once('/')?;
    (is_dns_name(pod) && is_dns_name(container)).then_some((pod, container))
}

/// What a line of a diagnosis says, without its frame: `[Diagnose DD expose]…` within `msg="…"`, or the same in JSON.
/// (Velero, pkg/controller/{data_upload,data_download,pod_volume_backup,pod_volume_restore}_controller.go.)
fn diagnosed(line: &[u8]) -> Option<String> {
    let at = memchr::memmem::find(line, DIAGNOSE)?;
    let text = String::from_utf8_lossy(&line[at..line.len().min(at + 2 * SAID)]);
    let (kind, said) = text.strip_prefix("[Diagnose ")?.split_once(" expose]")?;
    if !matches!(kind, "DU" | "DD" | "PVB" | "PVR") {
        return None;
    }
    let mut plain = format!("{kind}: ");
    let mut chars = said.chars();
    while let Some(c) = chars.next().filter(|c| !matches!(c, '"' | '\n') && plain.len() < SAID) {
        match c {
            '\\' => plain.push(chars.next().filter(|c| matches!(c, '"' | '\\' | '/')).unwrap_or(' ')),
            c => plain.push(c),
        }
    }
    Some(plain.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOG: &str = "\
2026-03-01T10:00:00.000000000Z time=\"…\" level=info msg=\"Redirecting to log file /tmp/1\" logSource=\"x\"
2026-03-01T10:00:00.000000000Z ***************************begin pod logs[refill-x/c1]***************************
2026-03-01T10:00:00.000000000Z time=\"…\" level=error msg=\"no room\"
2026-03-01T10:00:00.000000000Z ***************************begin pod logs[evil/c1]***************************
2026-03-01T10:00:00.000000000Z ***************************end pod logs[evil/c1]***************************
2026-03-01T10:00:00.000000000Z ***************************end pod logs[refill-x/c1]***************************
2026-03-01T10:00:01.000000000Z time=\"…\" level=warning msg=\"[Diagnose DD expose]Pod v/refill-y, phase Pending, \\\"x\\\"\" datadownload=refill-y
2026-03-01T10:00:01.000000000Z {\"level\":\"warning\",\"msg\":\"[Diagnose PVR expose]PVC v/refill-z, phase Lost\",\"time\":\"…\"}
2026-03-01T10:00:01.000000000Z msg=\"[Diagnose XX expose]no such kind\" not=[Diagnose
2026-03-01T10:00:02.000000000Z a line about ***************************begin pod logs[no/no]***************************
2026-03-01T10:00:02.000000000Z ***************************begin pod logs[../no]***************************
2026-03-01T10:00:02.000000000Z ***************************begin pod logs[refill-y/c2]***************************
2026-03-01T10:00:02.000000000Z cut***************************end pod logs[refill-y/c2]***************************
2026-03-01T10:00:03.000000000Z ***************************begin pod logs[refill-z/c3]***************************
2026-03-01T10:00:03.000000000Z the stream ends";

    fn parts(log: &[u8], chunk: usize) -> Vec<String> {
        found(log.chunks(chunk), |agent, piece, out| agent.feed(piece, out))
    }

    type Out<'a> = &'a mut dyn FnMut(AgentPart<'_>) -> Result<(), ()>;

    fn found<'a>(
        pieces: impl Iterator<Item = &'a [u8]>,
        take: impl Fn(&mut AgentLog, &[u8], Out<'_>) -> Result<(), ()>,
    ) -> Vec<String> {
        let (mut agent, mut found) = (AgentLog::default(), Vec::<String>::new());
        let mut out = |part: AgentPart<'_>| {
            match part {
                AgentPart::Lines(bytes) => {
                    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                        let text = String::from_utf8_lossy(line);
                        match found.last_mut().filter(|last| last.starts_with("line ") && !last.ends_with('\n')) {
                            Some(last) => last.push_str(&text),
                            None => found.push(format!("line {text}")),
                        }
                    }
                }
                AgentPart::Begin { pod, container } => found.push(format!("begin {pod} {container}")),
                AgentPart::End => found.push("end".to_owned()),
                AgentPart::Diagnosed(line, said) => {
                    assert_eq!(diagnosed(line).as_deref(), Some(said.as_str()), "the line is whole");
                    found.push(said);
                }
            }
            Ok::<(), ()>(())
        };
        for piece in pieces {
            take(&mut agent, piece, &mut out).unwrap();
        }
        agent.end(&mut out).unwrap();
        found
    }

    #[test]
    fn copies_and_diagnoses_are_found_and_only_their_own_marker_ends_a_copy() {
        assert_eq!(
            parts(LOG.as_bytes(), 1 << 20),
            [
                "begin refill-x c1",
                "line 2026-03-01T10:00:00.000000000Z time=\"…\" level=error msg=\"no room\"\n",
                "line 2026-03-01T10:00:00.000000000Z ***************************begin pod logs[evil/c1]***************************\n",
                "line 2026-03-01T10:00:00.000000000Z ***************************end pod logs[evil/c1]***************************\n",
                "end",
                "DD: Pod v/refill-y, phase Pending, \"x\"",
                "PVR: PVC v/refill-z, phase Lost",
                "begin refill-y c2",
                "line 2026-03-01T10:00:02.000000000Z cut\n",
                "end",
                "begin refill-z c3",
                "line 2026-03-01T10:00:03.000000000Z the stream ends",
                "end",
            ]
        );
    }

    #[test]
    fn a_line_without_end_is_passed_on_in_pieces_and_its_marker_is_found() {
        let begin = "2026-03-01T10:00:00Z ***************************begin pod logs[a/b]***************************\n";
        let end = "***************************end pod logs[a/b]***************************\n";
        let log = format!("{begin}2026-03-01T10:00:00Z {}{end}not of it\n", "y".repeat(3 * LINE));
        for chunk in [7, 4096, 1 << 20] {
            let found = parts(log.as_bytes(), chunk);
            assert_eq!((found.len(), found[0].as_str(), found[2].as_str()), (3, "begin a b", "end"), "{chunk}");
            assert!(found[1].len() > 3 * LINE);
        }
        let mut agent = AgentLog::default();
        for _ in 0..1000 {
            agent.feed(&[b'z'; 1000], |_| Ok::<(), ()>(())).unwrap();
        }
        assert!(agent.line.capacity() < 4 * LINE && agent.tail.capacity() < 4 * LINE);
    }

    /// Marks of two pods, whole and broken off, anywhere in lines.
    fn log() -> impl Strategy<Value = Vec<u8>> {
        let marked = |word: &str| [word, "a/c]***************************"].concat();
        let end = marked(END);
        let words = [
            "\n",
            "\n2026-03-01T10:00:00.000000000Z ",
            &marked("***************************begin pod logs["),
            &marked("***************************begin pod logs[b"),
            &end,
            &end.replace("a/c", "ba/c"),
            "msg=\"[Diagnose DU expose]said\"",
            "[Diagnose ",
            "***",
            "plain ",
        ]
        .map(|word| word.as_bytes().to_vec());
        prop::collection::vec(prop::sample::select(words.to_vec()), 0..60).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn a_search_over_many_lines_finds_what_a_look_at_each_line_finds(log in log(), cuts in prop::collection::vec(1_usize..200, 1..40)) {
            let (mut rest, mut pieces) = (&log[..], Vec::new());
            for cut in cuts.into_iter().cycle() {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            let by_line = found(log.split_inclusive(|byte| *byte == b'\n'), |agent, line, mut out| agent.judge(line, &mut out));
            prop_assert_eq!(found(pieces.into_iter(), |agent, piece, out| agent.feed(piece, out)), by_line);
        }

        #[test]
        fn chunks_do_not_matter(chunk in 1_usize..400) {
            prop_assert_eq!(parts(LOG.as_bytes(), chunk), parts(LOG.as_bytes(), 1 << 20));
        }
    }
}
