//! Reads one container's log as it grows, and resumes where it broke off or gave way to a bundle, until the log is
//! whole. `cache` keeps the lines, `collect` decides whose turn it is at a node.

use std::time::Duration;

use futures::StreamExt as _;
use jiff::{Timestamp, Unit};
use tokio::time::{Instant, timeout};

use super::{
    log_buffer::{LineSplitter, LogCursor},
    watch::Catcher,
};
use crate::{
    cluster::{ApiKind, ClusterError, query_value},
    collect::PreemptibleSlot,
};

/// The longest silence of a growing log; then it is requested again, in case the connection is dead.
const SILENCE: Duration = Duration::from_mins(10);
/// Timeout for the answer to a request for a whole log, and for its longest silence.
const WHOLE: Duration = Duration::from_secs(30);
/// Lines requested at first: more lines of Velero's usual length than a ring holds.
const TAIL: u32 = 2000;
/// How many requests in a row may fail.
const TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long the slot at a node is held after a request was cancelled: by then the API server has told the kubelet to
/// stop serving it.
const FADE: Duration = Duration::from_millis(250);

/// The log's container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Which<'a> {
    pub(super) uid: &'a str,
    pub(super) pod: &'a str,
    pub(super) container: &'a str,
    pub(super) node: Option<&'a str>,
}

/// How one request ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// All lines at the time of the request were read.
    Whole,
    /// It broke off, or did not begin.
    BrokeOff,
    /// No data arrived for a while.
    Silent,
    /// Others wanted the slot at the node.
    GaveWay,
    /// Its pod is no longer kept.
    Dropped,
    /// There is no such log, or the API server refused it.
    Gone,
}

/// Reads a log from `mark` on; `true` if nothing more can be read of it, and a line was read or the log was empty.
pub(super) async fn follow(catcher: &Catcher, which: Which<'_>, mark: LogCursor, mut grows: bool) -> bool {
    let Which { uid, container, .. } = which;
    let is_whole = || catcher.movers.shelf().is_whole(uid, container);
    let (mut mark, mut tries, mut pause) = (mark, 0, FIRST_PAUSE);
    while tries < TRIES {
        let place = match which.node {
            Some(node) => Some(catcher.nodes.guest(node, is_whole).await),
            None => None,
        };
        let whole = is_whole();
        grows = grows && !whole;
        let (end, last) = request(catcher, which, mark, grows, place.as_ref()).await;
        if matches!(end, End::GaveWay | End::Silent | End::Dropped) {
            tokio::time::sleep(FADE).await;
        }
        drop(place);
        if end == End::Gone {
            // A log that vanished before its first line does not count as read.
            return mark != LogCursor::default();
        }
        let Some(now) = catcher.movers.shelf().mark(uid, container) else { return true };
        if end == End::Whole && whole {
            // The last line may have no line break.
            last.end(|line, mark| {
                catcher.movers.shelf().line(uid, container, &line, mark);
            });
            catcher.movers.shelf().read_whole(uid, container);
            return true;
        }
        let gave_way = end == End::GaveWay;
        if now != mark || gave_way || end == End::Silent {
            (mark, tries, pause) = (now, 0, FIRST_PAUSE);
        } else {
            tries += 1;
        }
        if gave_way {
            // Waiting in line again is pause enough.
            catcher.movers.shelf().gave_way(uid, container, true);
            continue;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    false
}

async fn request(
    catcher: &Catcher,
    which: Which<'_>,
    mark: LogCursor,
    grows: bool,
    place: Option<&PreemptibleSlot>,
) -> (End, LineSplitter) {
    let mut lines = LineSplitter::after(mark);
    let wanted = async {
        match place {
            Some(place) => place.wanted().await,
            None => std::future::pending().await,
        }
    };
    let end = tokio::select! {
        biased;
        () = wanted => End::GaveWay,
        end = read(catcher, which, mark, grows, &mut lines) => end,
    };
    (end, lines)
}

async fn read(catcher: &Catcher, which: Which<'_>, mark: LogCursor, grows: bool, lines: &mut LineSplitter) -> End {
    let Which { uid, pod, container, .. } = which;
    let _look = if grows { None } else { catcher.look().await };
    let path = ApiKind::namespaced("", "v1", "pods", "Pod").path(Some(&catcher.namespace), pod);
    let path = format!("{path}/log?{}", query(container, mark, grows));
    // The kubelet does not answer before the first line.
    let silence = if grows { SILENCE } else { WHOLE };
    let cluster = catcher.cluster.clone().patient(silence, silence);
    let body = match cluster.open(&path, "*/*", Instant::now() + silence * 2).await {
        Ok(body) => body,
        Err(ClusterError::NoAnswer(_)) if grows => return End::Silent,
        Err(error) if error.is_forbidden() => {
            catcher.log_refused(&error);
            catcher.movers.shelf().refuse(uid, container);
            return End::Gone;
        }
        Err(error) if error.is_not_found() => return End::Gone,
        Err(error) => {
            tracing::debug!(%error, pod, container, "Log of a data mover was not read");
            return End::BrokeOff;
        }
    };
    catcher.movers.shelf().gave_way(uid, container, false);
    let mut body = std::pin::pin!(body);
    loop {
        let data = match timeout(silence, body.next()).await {
            Ok(Some(Ok(data))) => data,
            Ok(Some(Err(_))) => return End::BrokeOff,
            Ok(None) => return End::Whole,
            Err(_) => return End::Silent,
        };
        let mut is_kept = true;
        lines.feed(&data, |line, mark| is_kept = catcher.movers.shelf().line(uid, container, &line, mark));
        if !is_kept {
            return End::Dropped;
        }
    }
}

/// Never uses `limitBytes`, which the kubelet counts from the oldest line. `sinceTime` takes whole seconds; the mark
/// skips the lines that are therefore sent twice.
fn query(container: &str, mark: LogCursor, grows: bool) -> String {
    let mut query = format!("container={}&timestamps=true", query_value(container));
    if grows {
        query.push_str("&follow=true");
    }
    let second = |time: Timestamp| {
        time.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor)).ok()
    };
    let from = match mark.time.and_then(second) {
        Some(since) => format!("&sinceTime={}", query_value(&since.to_string())),
        None => format!("&tailLines={TAIL}"),
    };
    query + &from
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_asked_for_by_its_last_lines_and_then_from_where_it_broke_off() {
        let mut mark = LogCursor::default();
        assert_eq!(query("c1", mark, true), "container=c1&timestamps=true&follow=true&tailLines=2000");
        LineSplitter::after(mark).feed(b"2026-03-01T10:00:00.700000000Z x\n", |_, now| mark = now);
        assert_eq!(query("c1", mark, false), "container=c1&timestamps=true&sinceTime=2026-03-01T10%3A00%3A00Z");
    }
}
