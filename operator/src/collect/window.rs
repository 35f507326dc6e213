//! Cuts a log that was read with `timestamps=true` to a window of time, in constant memory whatever the lines are like.
//! Which window is the plan's matter; where the kept bytes go is the caller's.

use jiff::Timestamp;

use super::stamps::Stamps;
use crate::{cluster::Flow, plan::TimeWindow};

/// Longest time stamp that a kubelet writes (`2026-03-01T00:00:00.123456789+01:00` is 35).
const STAMP: usize = 40;

/// Passes the lines of the window on. A line without a valid time stamp belongs to the one before it, so the traces
/// of a panic stay together; the stream is at its end with the first line after the window.
#[derive(Debug)]
pub(super) struct Cutter {
    window: TimeWindow,
    /// The beginning of the present line, while its time is not known.
    head: Vec<u8>,
    stamps: Stamps,
    place: Place,
    keep: bool,
    ended: bool,
    /// Lines begun at the time of the last line kept, and bytes passed on of the present line.
    at_last: u64,
    passed: u64,
    skip: Option<Skip>,
    /// Bytes of the present line that were passed on before the source broke off.
    again: u64,
    /// Time of the first line kept.
    pub first: Option<Timestamp>,
    /// Time of the last line kept.
    pub last: Option<Timestamp>,
}

/// Where in a line the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Where its time stands.
    Head,
    /// Behind a time; its fate is decided.
    Timed,
    /// In a line without time, whose fate is that of the line before.
    Untimed,
}

/// What a source that is asked once more will send again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Skip {
    /// Up to this time,
    time: Timestamp,
    /// at which so many lines were whole,
    lines: u64,
    /// and of the next one so many bytes were there.
    part: u64,
}

impl Cutter {
    pub(super) fn new(window: TimeWindow) -> Self {
        Self {
            window,
            head: Vec::with_capacity(STAMP),
            stamps: Stamps::default(),
            place: Place::Head,
            keep: true,
            ended: false,
            at_last: 0,
            passed: 0,
            skip: None,
            again: 0,
            first: None,
            last: None,
        }
    }

    /// The source ended in the middle of a line, as a log does not by itself.
    pub(super) fn is_mid_line(&self) -> bool {
        !self.ended && (self.place != Place::Head || !self.head.is_empty())
    }

    /// From when on the source is to be asked once more; from then on nothing is passed on twice. `None` if it cannot
    /// be told where it broke off.
    pub(super) fn resume(&mut self) -> Option<Timestamp> {
        let time = self.last.filter(|_| !self.ended && self.keep && self.skip.is_none())?;
        let (lines, part) = match self.place {
            Place::Head => (self.at_last, 0),
            Place::Timed => (self.at_last - 1, self.passed),
            Place::Untimed => return None,
        };
        self.skip = Some(Skip { time, lines, part });
        self.head.clear();
        self.place = Place::Head;
        Some(time)
    }

    /// Passes what is kept of `data` to `out`, in order; lines that stand together are passed on together.
    pub(super) fn feed<E>(&mut self, data: &[u8], mut out: impl FnMut(&[u8]) -> Result<(), E>) -> Result<Flow, E> {
        // Looked at up to `at`, and passed on, or not kept, up to `from`; the present line begins, or goes on, at `line`.
        let (mut at, mut from, mut line) = (0, 0, 0);
        while at < data.len() && !self.ended {
            if self.place != Place::Head {
                let end = memchr::memchr(b'\n', &data[at..]);
                at = end.map_or(data.len(), |end| at + end + 1);
                if end.is_some() {
                    self.place = Place::Head;
                }
                continue;
            }
            let part = &data[at..data.len().min(at + STAMP - self.head.len())];
            let stop = memchr::memchr2(b' ', b'\n', part);
            let head = &part[..stop.unwrap_or(part.len())];
            let whole = stop.is_some() || self.head.len() + head.len() == STAMP;
            if whole && self.head.is_empty() && self.skip.is_none() {
                let kept = self.keep;
                self.decide(head);
                if self.keep != kept {
                    if kept {
                        self.pass(&data[from..at], &mut out)?;
                    }
                    from = at;
                }
                (line, self.passed) = (at, 0);
                at += head.len();
                continue;
            }
            if self.keep {
                self.pass(&data[from..at], &mut out)?;
            }
            self.head.extend_from_slice(head);
            at += head.len();
            (from, line) = (at, at);
            if whole {
                self.begin_line(&mut out)?;
            }
        }
        if self.keep {
            self.pass(&data[from..at], &mut out)?;
        }
        self.passed += (at - line) as u64;
        Ok(if self.ended { Flow::Enough } else { Flow::More })
    }

    /// The end of the log, which may stand in the middle of a line.
    pub(super) fn end<E>(&mut self, mut out: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if !self.head.is_empty() && !self.ended {
            self.begin_line(&mut out)?;
        }
        Ok(())
    }

    /// Begins the line of which the beginning was held.
    fn begin_line<E>(&mut self, out: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let unfinished = self.skip.filter(|skip| skip.part > 0);
        let mut head = std::mem::take(&mut self.head);
        self.decide(&head);
        if unfinished.is_some() && self.skip.is_none() && self.again == 0 {
            // The rest of the broken line is lost; what follows begins a line of its own.
            out(b"\n")?;
        }
        if self.keep {
            self.pass(&head, out)?;
        }
        self.passed = head.len() as u64;
        head.clear();
        self.head = head;
        Ok(())
    }

    fn pass<E>(&mut self, data: &[u8], out: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let known = data.len().min(usize::try_from(self.again).unwrap_or(usize::MAX));
        self.again -= known as u64;
        if known == data.len() { Ok(()) } else { out(&data[known..]) }
    }

    fn decide(&mut self, head: &[u8]) {
        let time = self.stamps.read(head);
        self.place = if time.is_some() { Place::Timed } else { Place::Untimed };
        let Some(time) = time else { return };
        if let Some(skip) = &mut self.skip {
            if time < skip.time {
                self.keep = false;
                return;
            }
            if time == skip.time && skip.lines > 0 {
                skip.lines -= 1;
                self.keep = false;
                return;
            }
            let again = if time == skip.time { skip.part } else { 0 };
            self.skip = None;
            self.again = again;
            if again > 0 {
                self.keep = true;
                return;
            }
        }
        self.ended = self.window.to.is_some_and(|to| time > to);
        self.keep = !self.ended && self.window.from.is_none_or(|from| time >= from);
        if self.keep {
            self.at_last = if self.last == Some(time) { self.at_last + 1 } else { 1 };
            self.first = self.first.or(Some(time));
            self.last = Some(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn cut(window: TimeWindow, chunks: &[&[u8]]) -> (Vec<u8>, Flow, Cutter) {
        let mut cutter = Cutter::new(window);
        let mut kept = Vec::new();
        let mut flow = Flow::More;
        let mut out = |data: &[u8]| {
            kept.extend_from_slice(data);
            Ok::<(), ()>(())
        };
        for chunk in chunks {
            flow = cutter.feed(chunk, &mut out).unwrap();
        }
        cutter.end(&mut out).unwrap();
        (kept, flow, cutter)
    }

    const LOG: &[u8] = b"2026-03-01T10:00:00.5Z early\n\tstill early\n2026-03-01T10:00:02Z first\n  its trace\n\n\
        2026-03-01T11:00:03.123456789+01:00 second\n2026-03-01T10:00:09Z late\nno time, still late\n2026-03-01T10:00:03Z stray\n";
    const KEPT: &[u8] = b"2026-03-01T10:00:02Z first\n  its trace\n\n2026-03-01T11:00:03.123456789+01:00 second\n";

    fn window() -> TimeWindow {
        TimeWindow { from: Some(at("2026-03-01T10:00:02Z")), to: Some(at("2026-03-01T10:00:05Z")) }
    }

    #[test]
    fn both_ends_are_cut_and_lines_without_time_follow_the_one_before() {
        let (kept, flow, cutter) = cut(window(), &[LOG]);
        assert_eq!(String::from_utf8_lossy(&kept), String::from_utf8_lossy(KEPT));
        assert_eq!(flow, Flow::Enough, "nothing after the window is read");
        assert_eq!(cutter.first, Some(at("2026-03-01T10:00:02Z")));
        assert_eq!(cutter.last, Some(at("2026-03-01T10:00:03.123456789Z")));
    }

    #[test]
    fn an_open_window_keeps_every_byte() {
        let odd = b"\xff\xfe\0 no time\n\n2026-03-01T10:00:00Z \x1b[1mlast line without an end";
        let (kept, flow, _) = cut(TimeWindow::default(), &[odd]);
        assert_eq!(kept, odd);
        assert_eq!(flow, Flow::More);
    }

    #[test]
    fn a_line_without_end_is_not_kept_in_memory() {
        let long = vec![b'x'; 1 << 20];
        let (kept, _, cutter) = cut(TimeWindow::default(), &[b"2026-03-01T10:00:00Z ", &long, &long]);
        assert_eq!(kept.len(), 21 + (2 << 20));
        assert!(cutter.head.capacity() <= STAMP);
    }

    /// Lines a kubelet would send: each with its time, some of the same one.
    const TIMED: &[u8] = b"2026-03-01T10:00:01Z one\n2026-03-01T10:00:02Z two\n2026-03-01T10:00:02Z two\n\
        2026-03-01T10:00:02Z three\n2026-03-01T10:00:02.7Z four\n2026-03-01T10:00:04Z \n2026-03-01T10:00:04Z six\n";

    fn since(log: &[u8], from: Timestamp) -> Vec<u8> {
        let second = from.to_string()[..19].to_owned();
        let lines = log.split_inclusive(|byte| *byte == b'\n');
        lines.filter(|line| String::from_utf8_lossy(line)[..19] >= *second).flatten().copied().collect()
    }

    #[test]
    fn a_log_that_broke_off_anywhere_is_taken_up_with_no_line_lost_or_twice() {
        for (cut, size) in (0..TIMED.len()).flat_map(|cut| [1, 5, 60, TIMED.len()].map(|size| (cut, size))) {
            let mut cutter = Cutter::new(TimeWindow::default());
            let mut kept = Vec::new();
            let mut out = |data: &[u8]| {
                kept.extend_from_slice(data);
                Ok::<(), ()>(())
            };
            cutter.feed(&TIMED[..cut], &mut out).unwrap();
            let again = cutter.resume().map_or_else(|| TIMED.to_vec(), |from| since(TIMED, from));
            for piece in again.chunks(size) {
                cutter.feed(piece, &mut out).unwrap();
            }
            cutter.end(&mut out).unwrap();
            // Without a whole time stamp nothing was passed on yet but the stamp itself.
            let kept = String::from_utf8(kept).unwrap();
            assert!(kept.ends_with(std::str::from_utf8(TIMED).unwrap()), "{cut}: {kept}");
            assert!(cut < 25 || kept.len() == TIMED.len(), "{cut}: {kept}");
        }
    }

    #[test]
    fn the_rest_of_a_broken_line_that_is_gone_leaves_whole_lines_behind_it() {
        let mut cutter = Cutter::new(TimeWindow::default());
        let mut kept = Vec::new();
        let mut out = |data: &[u8]| {
            kept.extend_from_slice(data);
            Ok::<(), ()>(())
        };
        cutter.feed(b"2026-03-01T10:00:01Z bro", &mut out).unwrap();
        assert!(cutter.is_mid_line());
        assert_eq!(cutter.resume(), Some(at("2026-03-01T10:00:01Z")));
        cutter.feed(b"2026-03-01T10:00:03Z next\n", &mut out).unwrap();
        assert!(!cutter.is_mid_line());
        assert_eq!(kept, b"2026-03-01T10:00:01Z bro\n2026-03-01T10:00:03Z next\n");
    }

    proptest! {
        #[test]
        fn the_cut_does_not_depend_on_how_the_stream_is_chunked(sizes in prop::collection::vec(1_usize..50, 1..40)) {
            let mut chunks: Vec<&[u8]> = Vec::new();
            let mut rest = LOG;
            for size in sizes {
                let (chunk, after) = rest.split_at(size.min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            chunks.push(rest);
            let (kept, flow, _) = cut(window(), &chunks);
            prop_assert_eq!(kept, KEPT);
            prop_assert_eq!(flow, Flow::Enough);
        }
    }
}
