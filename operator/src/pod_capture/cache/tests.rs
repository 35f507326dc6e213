//! Hosting pods that come, go and are too many. `tests/it` reads the logs of real pods from an API server.

use serde_json::json;

use super::*;
use crate::pod_capture::log_buffer::RING;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn sight(n: usize, phase: &str) -> PodSnapshot {
    let state = match phase {
        "Running" => json!({"running": {}}),
        "Failed" => json!({"terminated": {"exitCode": 1}}),
        _ => json!({"terminated": {"exitCode": 0}}),
    };
    PodSnapshot::of(json!({"metadata": {"name": format!("m{n}"), "uid": format!("u{n:04}"),
            "labels": {"velero.io/data-upload": format!("m{n}")}},
        "status": {"phase": phase, "containerStatuses": [{"name": "c", "state": state}]}}))
    .unwrap()
}

fn names(shelf: &CaptureCache) -> Vec<String> {
    shelf.pods().into_iter().map(|pod| pod.name).collect()
}

fn fill(shelf: &mut CaptureCache, n: usize, lines: usize) {
    for _ in 0..lines {
        assert!(shelf.line(&format!("u{n:04}"), "c", &Line::Whole(&[b'x'; 999]), LogCursor::default()));
    }
}

#[test]
fn events_are_looked_at_when_something_changed_and_a_log_is_read_once() {
    let mut shelf = CaptureCache::default();
    let running = shelf.see(sight(1, "Running"), at(0));
    assert_eq!(running, Todo { logs: vec![("c".into(), true)], events: false });
    assert!(shelf.begin_log("u0001", "c").is_some());
    assert!(shelf.begin_log("u0001", "c").is_none(), "somebody reads it");
    assert_eq!(shelf.see(sight(1, "Running"), at(1)), Todo::default());
    assert!(!shelf.is_whole("u0001", "c"));
    assert_eq!(shelf.see(sight(1, "Failed"), at(2)), Todo { logs: vec![], events: true });
    assert!(shelf.is_whole("u0001", "c"));
    shelf.end_log("u0001", "c", false);
    assert_eq!(shelf.see(sight(1, "Failed"), at(3)), Todo { logs: vec![("c".into(), false)], events: false });
    shelf.begin_log("u0001", "c");
    shelf.end_log("u0001", "c", true);
    assert_eq!(shelf.see(sight(1, "Failed"), at(4)), Todo::default());
}

#[test]
fn those_that_ended_well_go_first_and_those_that_live_stay() {
    let mut shelf = CaptureCache::default();
    shelf.see(sight(0, "Failed"), at(0));
    shelf.see(sight(1, "Succeeded"), at(1));
    for n in 2..PODS {
        shelf.see(sight(n, "Running"), at(2));
    }
    shelf.see(sight(100, "Running"), at(3));
    assert!(!names(&shelf).contains(&"m1".to_owned()) && names(&shelf).contains(&"m0".to_owned()));
    shelf.see(sight(101, "Running"), at(3));
    assert!(!names(&shelf).contains(&"m0".to_owned()));
    assert_eq!(shelf.see(sight(102, "Running"), at(3)), Todo::default(), "there is no place");
    assert_eq!(shelf.pods().len(), PODS);
    assert_eq!(shelf.turned_away(), BTreeSet::from(["m102".to_owned()]));
    shelf.gone("u0005", at(4));
    assert!(!shelf.see(sight(102, "Running"), at(5)).logs.is_empty(), "it is seen again with its next change");
    assert!(shelf.turned_away().is_empty(), "and has a place now");
    for n in 200..999 {
        shelf.see(sight(n, "Running"), at(6));
    }
    assert_eq!(shelf.turned_away().len(), TURNED_AWAY);
}

#[test]
fn of_a_log_that_nobody_read_it_is_known_why() {
    let mut shelf = CaptureCache::default();
    for n in 1..=3 {
        shelf.see(sight(n, "Running"), at(0));
    }
    shelf.wait_for_log("u0001", "c");
    shelf.pass_over("u0001", "c");
    shelf.begin_log("u0002", "c");
    shelf.line("u0002", "c", &Line::Whole(b"x"), LogCursor::at(at(0)));
    let unread = |shelf: &CaptureCache| shelf.pods().into_iter().map(|pod| pod.unread).collect::<Vec<_>>();
    assert_eq!(unread(&shelf), [vec![], vec![], vec![]], "they run, and may be read yet");
    for uid in ["u0001", "u0002", "u0003"] {
        shelf.gone(uid, at(1));
    }
    shelf.begin_log("u0003", "c");
    assert_eq!(unread(&shelf)[2], [("c".to_owned(), NotCaptured::Gone)], "a reader waits for the answer");
    shelf.end_log("u0003", "c", false);
    shelf.end_log("u0002", "c", false);
    assert_eq!(
        unread(&shelf),
        [vec![("c".to_owned(), NotCaptured::PassedOver)], vec![], vec![("c".to_owned(), NotCaptured::Gone)]]
    );
    shelf.refuse("u0003", "c");
    assert_eq!(unread(&shelf)[2], [("c".to_owned(), NotCaptured::Refused)]);
    shelf.end_log("u0001", "c", true);
    assert_eq!(unread(&shelf)[0], [("c".to_owned(), NotCaptured::PassedOver)], "somebody came too late");
    shelf.read_whole("u0001", "c");
    assert!(unread(&shelf)[0].is_empty(), "there was no line");
}

#[test]
fn what_goes_takes_no_place_from_what_has_a_log() {
    let mut shelf = CaptureCache::default();
    let all = PODS + 8;
    for n in 0..all {
        shelf.see(sight(n, "Succeeded"), at(0));
        fill(&mut shelf, n, RING / 1000);
    }
    let logs = |shelf: &CaptureCache| (0..all).filter(|n| shelf.log(&format!("u{n:04}"), "c").is_some()).count();
    let before = logs(&shelf);
    assert!(before > 20, "{before}");
    for n in 0..all {
        shelf.see_last(sight(n, "Succeeded"), at(1));
        shelf.gone(&format!("u{n:04}"), at(1));
    }
    // Objects take a little room, too.
    assert!(logs(&shelf) + 1 >= before, "{} of {before}", logs(&shelf));
    assert_eq!(shelf.pods().len(), PODS);
}

#[test]
fn a_log_that_waits_is_read_without_waiting_once_it_has_ended() {
    let mut shelf = CaptureCache::default();
    shelf.see(sight(1, "Running"), at(0));
    assert!(shelf.wait_for_log("u0001", "c"));
    assert!(!shelf.wait_for_log("u0001", "c"), "another reader waits");
    assert_eq!(shelf.see(sight(1, "Running"), at(1)).logs, []);
    assert_eq!(shelf.see(sight(1, "Failed"), at(2)).logs, [("c".to_owned(), false)]);
    assert!(shelf.begin_log("u0001", "c").is_some());
    assert!(shelf.begin_log("u0001", "c").is_none(), "the reader that waited comes too late");
    shelf.pass_over("u0001", "c");
    assert_eq!(shelf.see(sight(1, "Failed"), at(3)).logs, [], "it is still being read");
}

#[test]
fn what_ended_is_kept_for_hours_and_what_a_new_list_lacks_is_gone() {
    let mut shelf = CaptureCache::default();
    shelf.see(sight(1, "Running"), at(0));
    shelf.see(sight(2, "Running"), at(0));
    shelf.all_of("velero.io/data-download", &BTreeSet::new(), at(1));
    shelf.all_of("velero.io/data-upload", &BTreeSet::from(["u0002".to_owned()]), at(1));
    assert!(shelf.is_whole("u0001", "c") && !shelf.is_whole("u0002", "c"));
    shelf.see(sight(3, "Running"), at(6 * 3600));
    assert_eq!(names(&shelf), ["m1", "m2", "m3"]);
    shelf.see(sight(3, "Running"), at(6 * 3600 + 1));
    assert_eq!(names(&shelf), ["m2", "m3"]);
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let mut shelf = CaptureCache::default();
    let total = |shelf: &CaptureCache| shelf.held.values().map(Held::memory).sum::<usize>();
    for n in 0..PODS {
        shelf.see(sight(n, "Running"), at(0));
        fill(&mut shelf, n, 2 * RING / 1000);
        assert!(total(&shelf) <= MEMORY, "{}", total(&shelf));
    }
    assert_eq!(shelf.pods().len(), PODS, "logs become shorter before a pod that lives goes");
    let log = shelf.log("u0063", "c").unwrap();
    assert_eq!((log.content.len() as u64 + log.left_out_bytes) / 1000, 2 * (RING as u64 / 1000));
    assert!(log.left_out_lines > 0);
    shelf.see(sight(0, "Succeeded"), at(1));
    fill(&mut shelf, 63, RING / 1000);
    assert!(total(&shelf) <= MEMORY);
    for n in 0..EVENTS + 9 {
        shelf.add_events("u0001", [(format!("e{n}"), Arc::from(vec![b'e'; 8 << 10]))]);
    }
    assert!(total(&shelf) <= MEMORY);
    assert!(shelf.pods().iter().all(|pod| pod.events.len() <= EVENTS));
    assert!(!shelf.line("nobody", "c", &Line::Whole(b"x"), LogCursor::default()));
}
