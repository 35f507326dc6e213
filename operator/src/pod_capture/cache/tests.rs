//! Hosting pods that come, go and are too many. `tests/it` reads the logs of real pods from an API server.

use serde_json::json;

use super::*;
use crate::pod_capture::log_buffer::RING;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn snapshot(n: usize, phase: &str) -> PodSnapshot {
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

fn names(cache: &CaptureCache) -> Vec<String> {
    cache.pods().into_iter().map(|pod| pod.name).collect()
}

fn fill(cache: &mut CaptureCache, n: usize, lines: usize) {
    for _ in 0..lines {
        assert!(cache.line(&format!("u{n:04}"), "c", &SplitLine::Whole(&[b'x'; 999]), LogCursor::default()));
    }
}

#[test]
fn events_are_looked_at_when_something_changed_and_a_log_is_read_once() {
    let mut cache = CaptureCache::default();
    let running = cache.see(snapshot(1, "Running"), at(0));
    assert_eq!(running, Todo { logs: vec![("c".into(), true)], events: false });
    assert!(cache.begin_log("u0001", "c").is_some());
    assert!(cache.begin_log("u0001", "c").is_none(), "somebody reads it");
    assert_eq!(cache.see(snapshot(1, "Running"), at(1)), Todo::default());
    assert!(!cache.is_whole("u0001", "c"));
    assert_eq!(cache.see(snapshot(1, "Failed"), at(2)), Todo { logs: vec![], events: true });
    assert!(cache.is_whole("u0001", "c"));
    cache.end_log("u0001", "c", false);
    assert_eq!(cache.see(snapshot(1, "Failed"), at(3)), Todo { logs: vec![("c".into(), false)], events: false });
    cache.begin_log("u0001", "c");
    cache.end_log("u0001", "c", true);
    assert_eq!(cache.see(snapshot(1, "Failed"), at(4)), Todo::default());
}

#[test]
fn those_that_ended_well_go_first_and_those_that_live_stay() {
    let mut cache = CaptureCache::default();
    cache.see(snapshot(0, "Failed"), at(0));
    cache.see(snapshot(1, "Succeeded"), at(1));
    for n in 2..PODS {
        cache.see(snapshot(n, "Running"), at(2));
    }
    cache.see(snapshot(100, "Running"), at(3));
    assert!(!names(&cache).contains(&"m1".to_owned()) && names(&cache).contains(&"m0".to_owned()));
    cache.see(snapshot(101, "Running"), at(3));
    assert!(!names(&cache).contains(&"m0".to_owned()));
    assert_eq!(cache.see(snapshot(102, "Running"), at(3)), Todo::default(), "there is no place");
    assert_eq!(cache.pods().len(), PODS);
    assert_eq!(cache.turned_away(), BTreeSet::from(["m102".to_owned()]));
    cache.gone("u0005", at(4));
    assert!(!cache.see(snapshot(102, "Running"), at(5)).logs.is_empty(), "it is seen again with its next change");
    assert!(cache.turned_away().is_empty(), "and has a place now");
    for n in 200..999 {
        cache.see(snapshot(n, "Running"), at(6));
    }
    assert_eq!(cache.turned_away().len(), TURNED_AWAY);
}

#[test]
fn of_a_log_that_nobody_read_it_is_known_why() {
    let mut cache = CaptureCache::default();
    for n in 1..=3 {
        cache.see(snapshot(n, "Running"), at(0));
    }
    cache.wait_for_log("u0001", "c");
    cache.pass_over("u0001", "c");
    cache.begin_log("u0002", "c");
    cache.line("u0002", "c", &SplitLine::Whole(b"x"), LogCursor::at(at(0)));
    let unread = |cache: &CaptureCache| cache.pods().into_iter().map(|pod| pod.unread).collect::<Vec<_>>();
    assert_eq!(unread(&cache), [vec![], vec![], vec![]], "they run, and may be read yet");
    for uid in ["u0001", "u0002", "u0003"] {
        cache.gone(uid, at(1));
    }
    cache.begin_log("u0003", "c");
    assert_eq!(unread(&cache)[2], [("c".to_owned(), NotCaptured::Gone)], "a reader waits for the answer");
    cache.end_log("u0003", "c", false);
    cache.end_log("u0002", "c", false);
    assert_eq!(
        unread(&cache),
        [vec![("c".to_owned(), NotCaptured::PassedOver)], vec![], vec![("c".to_owned(), NotCaptured::Gone)]]
    );
    cache.refuse("u0003", "c");
    assert_eq!(unread(&cache)[2], [("c".to_owned(), NotCaptured::Refused)]);
    cache.end_log("u0001", "c", true);
    assert_eq!(unread(&cache)[0], [("c".to_owned(), NotCaptured::PassedOver)], "somebody came too late");
    cache.read_whole("u0001", "c");
    assert!(unread(&cache)[0].is_empty(), "there was no line");
}

#[test]
fn what_goes_takes_no_place_from_what_has_a_log() {
    let mut cache = CaptureCache::default();
    let all = PODS + 8;
    for n in 0..all {
        cache.see(snapshot(n, "Succeeded"), at(0));
        fill(&mut cache, n, RING / 1000);
    }
    let logs = |cache: &CaptureCache| (0..all).filter(|n| cache.log(&format!("u{n:04}"), "c").is_some()).count();
    let before = logs(&cache);
    assert!(before > 20, "{before}");
    for n in 0..all {
        cache.see_last(snapshot(n, "Succeeded"), at(1));
        cache.gone(&format!("u{n:04}"), at(1));
    }
    // Objects take a little room, too.
    assert!(logs(&cache) + 1 >= before, "{} of {before}", logs(&cache));
    assert_eq!(cache.pods().len(), PODS);
}

#[test]
fn a_log_that_waits_is_read_without_waiting_once_it_has_ended() {
    let mut cache = CaptureCache::default();
    cache.see(snapshot(1, "Running"), at(0));
    assert!(cache.wait_for_log("u0001", "c"));
    assert!(!cache.wait_for_log("u0001", "c"), "another reader waits");
    assert_eq!(cache.see(snapshot(1, "Running"), at(1)).logs, []);
    assert_eq!(cache.see(snapshot(1, "Failed"), at(2)).logs, [("c".to_owned(), false)]);
    assert!(cache.begin_log("u0001", "c").is_some());
    assert!(cache.begin_log("u0001", "c").is_none(), "the reader that waited comes too late");
    cache.pass_over("u0001", "c");
    assert_eq!(cache.see(snapshot(1, "Failed"), at(3)).logs, [], "it is still being read");
}

#[test]
fn what_ended_is_kept_for_hours_and_what_a_new_list_lacks_is_gone() {
    let mut cache = CaptureCache::default();
    cache.see(snapshot(1, "Running"), at(0));
    cache.see(snapshot(2, "Running"), at(0));
    cache.all_of("velero.io/data-download", &BTreeSet::new(), at(1));
    cache.all_of("velero.io/data-upload", &BTreeSet::from(["u0002".to_owned()]), at(1));
    assert!(cache.is_whole("u0001", "c") && !cache.is_whole("u0002", "c"));
    cache.see(snapshot(3, "Running"), at(6 * 3600));
    assert_eq!(names(&cache), ["m1", "m2", "m3"]);
    cache.see(snapshot(3, "Running"), at(6 * 3600 + 1));
    assert_eq!(names(&cache), ["m2", "m3"]);
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let mut cache = CaptureCache::default();
    let total = |cache: &CaptureCache| cache.held.values().map(Held::memory).sum::<usize>();
    for n in 0..PODS {
        cache.see(snapshot(n, "Running"), at(0));
        fill(&mut cache, n, 2 * RING / 1000);
        assert!(total(&cache) <= MEMORY, "{}", total(&cache));
    }
    assert_eq!(cache.pods().len(), PODS, "logs become shorter before a pod that lives goes");
    let log = cache.log("u0063", "c").unwrap();
    assert_eq!((log.content.len() as u64 + log.left_out_bytes) / 1000, 2 * (RING as u64 / 1000));
    assert!(log.left_out_lines > 0);
    cache.see(snapshot(0, "Succeeded"), at(1));
    fill(&mut cache, 63, RING / 1000);
    assert!(total(&cache) <= MEMORY);
    for n in 0..EVENTS + 9 {
        cache.add_events("u0001", [(format!("e{n}"), Arc::from(vec![b'e'; 8 << 10]))]);
    }
    assert!(total(&cache) <= MEMORY);
    assert!(cache.pods().iter().all(|pod| pod.events.len() <= EVENTS));
    assert!(!cache.line("nobody", "c", &SplitLine::Whole(b"x"), LogCursor::default()));
}

#[test]
fn the_end_of_a_pod_is_saved_once_for_each_state_and_restored_for_its_time() {
    let mut cache = CaptureCache::default();
    cache.see(snapshot(1, "Running"), at(0));
    assert!(cache.unsaved().is_empty(), "it has not ended");
    cache.see(snapshot(1, "Failed"), at(1));
    let saved = cache.unsaved();
    assert_eq!((saved.len(), saved[0].ended), (1, at(1)));
    assert!(cache.unsaved().is_empty());
    cache.see_last(snapshot(1, "Failed"), at(2));
    assert_eq!(cache.unsaved().len(), 1, "the last state counts");

    let mut next = CaptureCache::default();
    next.restore(saved[0].clone(), at(3));
    let pods = next.pods();
    assert_eq!((pods[0].name.as_str(), &pods[0].unread), ("m1", &vec![("c".to_owned(), NotCaptured::Restarted)]));
    assert!(next.unsaved().is_empty());
    next.see(snapshot(1, "Failed"), at(4));
    assert_ne!(next.pods()[0].unread, [("c".to_owned(), NotCaptured::Restarted)], "it is there after all");
    next.expire(at(1) + KEPT);
    assert!(next.uids().is_empty());
    next.restore(saved[0].clone(), at(1) + KEPT);
    assert!(next.uids().is_empty(), "its time is over");
}
