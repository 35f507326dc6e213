//! Finds in a node-agent's log what it wrote there of other pods: whole logs of hosting pods, and what it found out when
//! one of them could not be prepared. Pure; where the copies go is told beside this file.

use crate::inventory::is_dns_name;

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

/// What is found, in the order of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Here begins the copy of a container's log.
    Begin {
        /// The pod.
        pod: &'a str,
        /// Its container.
        container: &'a str,
    },
    /// A line of it, or a piece of one.
    Line(&'a [u8]),
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
    pub(super) fn feed<E>(&mut self, data: &[u8], mut out: impl FnMut(Part<'_>) -> Result<(), E>) -> Result<(), E> {
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            let ends = piece.ends_with(b"\n");
            if self.rest {
                self.go_on(piece, ends, &mut out)?;
                continue;
            }
            self.line.extend_from_slice(piece);
            if ends || self.line.len() > LINE {
                self.judge(&mut out)?;
                self.rest = !ends;
            }
        }
        Ok(())
    }

    /// The end of the stream, which may stand in the middle of a copy.
    pub(super) fn end<E>(&mut self, mut out: impl FnMut(Part<'_>) -> Result<(), E>) -> Result<(), E> {
        if !self.line.is_empty() {
            self.judge(&mut out)?;
        }
        if self.until.take().is_some() { out(Part::End) } else { Ok(()) }
    }

    fn judge<E>(&mut self, out: &mut impl FnMut(Part<'_>) -> Result<(), E>) -> Result<(), E> {
        let line = std::mem::take(&mut self.line);
        if let Some(until) = &self.until {
            if let Some(at) = memchr::memmem::find(&line, until) {
                // A log that does not end with its line has the marker at the end of its last one.
                if at > STAMP || !is_stamp(&line[..at]) {
                    out(Part::Line(&line[..at]))?;
                    out(Part::Line(b"\n"))?;
                }
                self.until = None;
                out(Part::End)?;
            } else {
                out(Part::Line(&line))?;
                self.tail = line[line.len().saturating_sub(until.len())..].to_vec();
            }
        } else if let Some((pod, container)) = begun(&line) {
            self.until = Some(format!("{END}{pod}/{container}{CLOSE}").into_bytes());
            out(Part::Begin { pod, container })?;
        } else if let Some(said) = diagnosed(&line) {
            out(Part::Diagnosed(&line, said))?;
        }
        self.line = line;
        self.line.clear();
        Ok(())
    }

    fn go_on<E>(&mut self, piece: &[u8], ends: bool, out: &mut impl FnMut(Part<'_>) -> Result<(), E>) -> Result<(), E> {
        self.rest = !ends;
        let Some(until) = &self.until else { return Ok(()) };
        out(Part::Line(piece))?;
        self.tail.extend_from_slice(piece);
        if memchr::memmem::find(&self.tail, until).is_some() {
            self.until = None;
            self.tail.clear();
            return out(Part::End);
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
    let at = memchr::memmem::find(line, b"[Diagnose ")?;
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
        let (mut agent, mut found) = (AgentLog::default(), Vec::<String>::new());
        let mut out = |part: Part<'_>| {
            match part {
                Part::Line(bytes) => {
                    let text = String::from_utf8_lossy(bytes);
                    match found.last_mut().filter(|last| last.starts_with("line ") && !last.ends_with('\n')) {
                        Some(last) => last.push_str(&text),
                        None => found.push(format!("line {text}")),
                    }
                }
                Part::Begin { pod, container } => found.push(format!("begin {pod} {container}")),
                Part::End => found.push("end".to_owned()),
                Part::Diagnosed(line, said) => {
                    assert!(line.starts_with(b"2026"));
                    found.push(said);
                }
            }
            Ok::<(), ()>(())
        };
        for piece in log.chunks(chunk) {
            agent.feed(piece, &mut out).unwrap();
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

    proptest! {
        #[test]
        fn chunks_do_not_matter(chunk in 1_usize..400) {
            prop_assert_eq!(parts(LOG.as_bytes(), chunk), parts(LOG.as_bytes(), 1 << 20));
        }
    }
}
