//! Reads one container's log as it grows, and takes it up again where it broke off, until the log is whole.
//! What is kept of the lines is the shelf's matter.

use std::time::Duration;

use futures::StreamExt as _;
use jiff::{Timestamp, Unit};
use tokio::time::{Instant, timeout};

use super::{
    ring::{Lines, Mark},
    watch::Catcher,
};
use crate::cluster::{ApiKind, ClusterError, query_value};

/// The longest silence of a log that grows; then it is asked for anew, in case the connection is dead.
const SILENCE: Duration = Duration::from_mins(10);
/// Time in which a whole log has to answer, and its longest silence.
const WHOLE: Duration = Duration::from_secs(30);
/// Lines asked for at first: more than a ring holds of lines such as Velero writes.
const TAIL: u32 = 2000;
/// How often in a row a log is asked for in vain.
const TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How one request ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// All that there was at that time.
    Whole,
    /// It broke off, or was not begun.
    BrokeOff,
    /// Nothing came for a while.
    Silent,
    /// There is no such log, or nobody wants it any more.
    Gone,
}

/// Reads a log from `mark` on; `true` if nothing more can be read of it, and something was or there was nothing.
pub(super) async fn follow(
    catcher: &Catcher,
    uid: &str,
    pod: &str,
    container: &str,
    mark: Mark,
    mut grows: bool,
) -> bool {
    let (mut mark, mut tries, mut pause) = (mark, 0, FIRST_PAUSE);
    while tries < TRIES {
        let whole = catcher.movers.shelf().is_whole(uid, container);
        let (end, last) = request(catcher, uid, pod, container, mark, grows).await;
        if end == End::Gone {
            // Of a log that went before its first line nobody may say that it was read.
            return mark != Mark::default();
        }
        let Some(now) = catcher.movers.shelf().mark(uid, container) else { return true };
        if end == End::Whole && whole {
            // The last line may well have no end.
            last.end(|line, mark| {
                catcher.movers.shelf().line(uid, container, &line, mark);
            });
            catcher.movers.shelf().read_whole(uid, container);
            return true;
        }
        if now != mark || end == End::Silent {
            (mark, tries, pause) = (now, 0, FIRST_PAUSE);
        } else {
            tries += 1;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        grows = grows && !catcher.movers.shelf().is_whole(uid, container);
    }
    false
}

async fn request(catcher: &Catcher, uid: &str, pod: &str, container: &str, mark: Mark, grows: bool) -> (End, Lines) {
    let mut lines = Lines::after(mark);
    let path = ApiKind::namespaced("", "v1", "pods", "Pod").path(Some(&catcher.namespace), pod);
    let path = format!("{path}/log?{}", query(container, mark, grows));
    // The kubelet answers with the first line, not before.
    let silence = if grows { SILENCE } else { WHOLE };
    let cluster = catcher.cluster.clone().patient(silence, silence);
    let body = match cluster.open(&path, "*/*", Instant::now() + silence * 2).await {
        Ok(body) => body,
        Err(ClusterError::NoAnswer(_)) if grows => return (End::Silent, lines),
        Err(error) if error.is_forbidden() => {
            catcher.log_refused(&error);
            catcher.movers.shelf().refuse(uid, container);
            return (End::Gone, lines);
        }
        Err(error) if error.is_not_found() => return (End::Gone, lines),
        Err(error) => {
            tracing::debug!(%error, pod, container, "Log of a data mover was not read");
            return (End::BrokeOff, lines);
        }
    };
    let mut body = std::pin::pin!(body);
    loop {
        let data = match timeout(silence, body.next()).await {
            Ok(Some(Ok(data))) => data,
            Ok(Some(Err(_))) => return (End::BrokeOff, lines),
            Ok(None) => return (End::Whole, lines),
            Err(_) => return (End::Silent, lines),
        };
        let mut wanted = true;
        lines.feed(&data, |line, mark| wanted = catcher.movers.shelf().line(uid, container, &line, mark));
        if !wanted {
            return (End::Gone, lines);
        }
    }
}

/// Never with `limitBytes`, which the kubelet counts from the oldest line; `sinceTime` takes whole seconds, and what
/// is sent twice by that is passed over by the mark.
fn query(container: &str, mark: Mark, grows: bool) -> String {
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
        let mut mark = Mark::default();
        assert_eq!(query("c1", mark, true), "container=c1&timestamps=true&follow=true&tailLines=2000");
        Lines::after(mark).feed(b"2026-03-01T10:00:00.700000000Z x\n", |_, now| mark = now);
        assert_eq!(query("c1", mark, false), "container=c1&timestamps=true&sinceTime=2026-03-01T10%3A00%3A00Z");
    }
}
