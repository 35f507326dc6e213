//! A log that grows while it is read, like a running container's: a test writes it line by line and ends it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::stream::{Stream, unfold};
use jiff::Timestamp;
use tokio::sync::watch;

use super::lock;
use super::script::Line;
use super::source::{self, Wanted};

/// The writing end; its clones write the same log.
#[derive(Clone, Debug)]
pub struct Growing {
    lines: Arc<Mutex<Vec<Line>>>,
    /// Lines so far, and whether the log is whole.
    state: Arc<watch::Sender<(usize, bool)>>,
}

impl Default for Growing {
    fn default() -> Self {
        Self { lines: Arc::default(), state: Arc::new(watch::Sender::new((0, false))) }
    }
}

impl Growing {
    /// Writes a line, now.
    pub fn write(&self, line: impl AsRef<[u8]>) {
        let mut lines = lock(&self.lines);
        lines.push(Line { at: Timestamp::now(), text: line.as_ref().to_vec() });
        self.state.send_modify(|state| state.0 = lines.len());
    }

    /// Ends the log, as its container does.
    pub fn end(&self) {
        self.state.send_modify(|state| state.1 = true);
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        lock(&self.lines).clone()
    }

    /// The log from the start that the query selects, then each new line.
    pub(super) fn follow(&self, wanted: Wanted) -> impl Stream<Item = Bytes> + use<> {
        let (lines, state) = (self.lines.clone(), self.state.subscribe());
        let further = wanted.further();
        unfold((lines, state, 0, wanted), move |(lines, mut state, sent, now)| async move {
            loop {
                let (written, ended) = *state.borrow_and_update();
                if written > sent {
                    let new = lock(&lines)[sent..written].to_vec();
                    let piece: Vec<u8> = source::in_memory(Arc::new(new), now).flatten().collect();
                    return Some((piece.into(), (lines, state, written, further)));
                }
                if ended || state.changed().await.is_err() {
                    return None;
                }
            }
        })
    }
}
