//! Cuts a log that was read with `timestamps=true` to a window of time, in constant memory whatever the lines are like.
//! Which window is the plan's matter; where the kept bytes go is the caller's.

use jiff::Timestamp;

use crate::{cluster::Flow, plan::Window};

/// Longest time stamp that a kubelet writes (`2026-03-01T00:00:00.123456789+01:00` is 35).
const STAMP: usize = 40;

/// Passes the lines of the window on. A line without a valid time stamp belongs to the one before it, so the traces
/// of a panic stay together; the stream is at its end with the first line after the window.
#[derive(Debug)]
pub(super) struct Cutter {
    window: Window,
    /// The beginning of the present line, while its time is not known.
    head: Vec<u8>,
    /// In the rest of a line whose fate is decided.
    decided: bool,
    keep: bool,
    ended: bool,
    /// Time of the first line kept.
    pub first: Option<Timestamp>,
    /// Time of the last line kept.
    pub last: Option<Timestamp>,
}

impl Cutter {
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            head: Vec::with_capacity(STAMP),
            decided: false,
            keep: true,
            ended: false,
            first: None,
            last: None,
        }
    }

    /// Passes what is kept of `data` to `out`, in order.
    pub(super) fn feed<E>(&mut self, mut data: &[u8], mut out: impl FnMut(&[u8]) -> Result<(), E>) -> Result<Flow, E> {
        while !data.is_empty() && !self.ended {
            if self.decided {
                let end = memchr::memchr(b'\n', data).map_or(data.len(), |at| at + 1);
                if self.keep {
                    out(&data[..end])?;
                }
                self.decided = !data[..end].ends_with(b"\n");
                data = &data[end..];
                continue;
            }
            let room = STAMP - self.head.len();
            let part = &data[..data.len().min(room)];
            let stop = part.iter().position(|byte| matches!(byte, b' ' | b'\n'));
            let take = stop.unwrap_or(part.len());
            self.head.extend_from_slice(&part[..take]);
            data = &data[take..];
            if stop.is_some() || self.head.len() == STAMP {
                self.decide();
                if self.keep && !self.ended {
                    out(&self.head)?;
                }
                self.head.clear();
                self.decided = true;
            }
        }
        Ok(if self.ended { Flow::Enough } else { Flow::More })
    }

    /// The end of the log, which may stand in the middle of a line.
    pub(super) fn end<E>(&mut self, mut out: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if !self.head.is_empty() && !self.ended {
            self.decide();
            if self.keep && !self.ended {
                out(&self.head)?;
            }
            self.head.clear();
        }
        Ok(())
    }

    fn decide(&mut self) {
        let Some(time) = std::str::from_utf8(&self.head).ok().and_then(|text| text.parse::<Timestamp>().ok()) else {
            return;
        };
        self.ended = self.window.to.is_some_and(|to| time > to);
        self.keep = !self.ended && self.window.from.is_none_or(|from| time >= from);
        if self.keep {
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

    fn cut(window: Window, chunks: &[&[u8]]) -> (Vec<u8>, Flow, Cutter) {
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

    fn window() -> Window {
        Window { from: Some(at("2026-03-01T10:00:02Z")), to: Some(at("2026-03-01T10:00:05Z")) }
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
        let (kept, flow, _) = cut(Window::default(), &[odd]);
        assert_eq!(kept, odd);
        assert_eq!(flow, Flow::More);
    }

    #[test]
    fn a_line_without_end_is_not_kept_in_memory() {
        let long = vec![b'x'; 1 << 20];
        let (kept, _, cutter) = cut(Window::default(), &[b"2026-03-01T10:00:00Z ", &long, &long]);
        assert_eq!(kept.len(), 21 + (2 << 20));
        assert!(cutter.head.capacity() <= STAMP);
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
