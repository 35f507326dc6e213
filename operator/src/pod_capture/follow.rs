//! Reads one container's log as it grows, and resumes where it broke off, until the log is whole. `cache` keeps the
//! lines.

use std::time::Duration;

use futures::StreamExt as _;
use jiff::{Timestamp, Unit};
use tokio::time::{Instant, timeout};

use super::{
    log_buffer::{LineSplitter, LogCursor},
    watch::CaptureTask,
};
use crate::cluster::{ApiKind, ClusterError, query_value};

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

/// The log's container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Which<'a> {
    pub(super) uid: &'a str,
    pub(super) pod: &'a str,
    pub(super) container: &'a str,
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
    /// Its pod is no longer kept.
    Dropped,
    /// There is no such log, or the API server refused it.
    Gone,
}

/// Reads a log from `mark` on; `true` if nothing more can be read of it, and a line was read or the log was empty.
pub(super) async fn follow(task: &CaptureTask, which: Which<'_>, mut cursor: LogCursor, mut grows: bool) -> bool {
    let Which { uid, container, .. } = which;
    let (mut tries, mut pause) = (0, FIRST_PAUSE);
    while tries < TRIES {
        let whole = task.pod_capture.cache().is_whole(uid, container);
        grows = grows && !whole;
        let mut lines = LineSplitter::after(cursor);
        let end = read(task, which, cursor, grows, &mut lines).await;
        if end == End::Gone {
            // A log that vanished before its first line does not count as read.
            return cursor != LogCursor::default();
        }
        let Some(now) = task.pod_capture.cache().cursor(uid, container) else { return true };
        if end == End::Whole && whole {
            // The last line may have no line break.
            lines.end(|line, cursor| {
                task.pod_capture.cache().line(uid, container, &line, cursor);
            });
            task.pod_capture.cache().read_whole(uid, container);
            return true;
        }
        if now != cursor || end == End::Silent {
            (cursor, tries, pause) = (now, 0, FIRST_PAUSE);
        } else {
            tries += 1;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    false
}

async fn read(task: &CaptureTask, which: Which<'_>, cursor: LogCursor, grows: bool, lines: &mut LineSplitter) -> End {
    let Which { uid, pod, container, .. } = which;
    let _look = if grows { None } else { task.look().await };
    let path = ApiKind::namespaced("", "v1", "pods", "Pod").path(Some(&task.namespace), pod);
    let path = format!("{path}/log?{}", query(container, cursor, grows));
    // The kubelet does not answer before the first line.
    let silence = if grows { SILENCE } else { WHOLE };
    let cluster = task.cluster.clone().patient(silence, silence);
    let body = match cluster.open(&path, "*/*", Instant::now() + silence * 2).await {
        Ok(body) => body,
        Err(ClusterError::NoAnswer(_)) if grows => return End::Silent,
        Err(error) if error.is_forbidden() => {
            task.log_refused(&error);
            task.pod_capture.cache().refuse(uid, container);
            return End::Gone;
        }
        Err(error) if error.is_not_found() => return End::Gone,
        Err(error) => {
            tracing::debug!(%error, pod, container, "Log of a data mover was not read");
            return End::BrokeOff;
        }
    };
    let mut body = std::pin::pin!(body);
    loop {
        let data = match timeout(silence, body.next()).await {
            Ok(Some(Ok(data))) => data,
            Ok(Some(Err(_))) => return End::BrokeOff,
            Ok(None) => return End::Whole,
            Err(_) => return End::Silent,
        };
        let mut is_kept = true;
        lines.feed(&data, |line, cursor| is_kept = task.pod_capture.cache().line(uid, container, &line, cursor));
        if !is_kept {
            return End::Dropped;
        }
    }
}

/// Never uses `limitBytes`, which the kubelet counts from the oldest line. `sinceTime` takes whole seconds; the mark
/// skips the lines that are therefore sent twice.
fn query(container: &str, cursor: LogCursor, grows: bool) -> String {
    let mut query = format!("container={}&timestamps=true", query_value(container));
    if grows {
        query.push_str("&follow=true");
    }
    let second = |time: Timestamp| {
        time.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor)).ok()
    };
    let from = match cursor.time.and_then(second) {
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
        let mut cursor = LogCursor::default();
        assert_eq!(query("c1", cursor, true), "container=c1&timestamps=true&follow=true&tailLines=2000");
        LineSplitter::after(cursor).feed(b"2026-03-01T10:00:00.700000000Z x\n", |_, now| cursor = now);
        assert_eq!(query("c1", cursor, false), "container=c1&timestamps=true&sinceTime=2026-03-01T10%3A00%3A00Z");
    }
}
