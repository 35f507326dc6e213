//! Container logs from scripted kubelets through the real API server: which logs are read, how much of each, and how
//! the manifest reports irregular ones.

use std::time::Duration;

use bytes::Bytes;
use debugbundle_crd::{DebugBundleSpec, LogWindow, TargetKind};
use debugbundle_format::manifest::{MissingCode, MissingSeverity, TruncationReason};
use debugbundle_operator::collect::Pace;
use debugbundle_redact::UserRules;
use harness::velero_objects::restore;
use harness::{
    Context, LogScript,
    kubelet::{KubeletPort, Seen},
    pod, until,
    velero_objects::pod_volume_restore,
    with_namespace,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{core::v1::Pod, rbac::v1::RoleBinding},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    bundles::server_pod,
    collection::{CollectionResult, CollectionRun, a_restore, about_the_restore, log_path},
};

/// Length of a generated line with the kubelet's timestamp.
const STAMPED: u64 = 231;

fn asked(seen: &[Seen], pod: &str, container: &str, previous: bool) -> usize {
    let of =
        |one: &&Seen| one.pod == pod && one.container == container && one.query.contains_key("previous") == previous;
    seen.iter().filter(of).count()
}

/// The lines without the kubelet's timestamps.
fn said(log: &str) -> Vec<&str> {
    log.lines().map(|line| line.split_once(' ').map_or(line, |(_, said)| said)).collect()
}

async fn nothing_is_open(context: &Context, node: &str) {
    until(Duration::from_secs(10), "no log is read any more", || async {
        let open = context.stand.kubelet.open_now(node);
        if open == 0 { Ok(()) } else { Err(open) }
    })
    .await;
}

#[tokio::test]
async fn every_sort_of_container_is_read_and_previous_instances_only_where_there_are_any() {
    with_namespace("sorts", |context| async move {
        let node = context.node("n").await;
        let build = pod("velero-1")
            .on_node(&node)
            .labelled("deploy", "velero")
            .with_init("plugin")
            .with_sidecar("proxy")
            .with_container("velero")
            .restarted(1)
            .with_container("forgotten")
            .restarted(2)
            .with_container("removed")
            .restarted(2)
            .with_container("calm")
            .with_ephemeral("vet");
        context.pod(build).await;
        let all = ["plugin", "proxy", "velero", "forgotten", "removed", "calm", "vet"];
        for name in all {
            context.log("velero-1", name, LogScript::lines([format!("I am {name}"), "and so on".to_owned()]));
        }
        context.previous_log("velero-1", "velero", LogScript::lines(["panic: out of luck"]));
        let removed = "unable to retrieve container logs for containerd://0123456789";
        context.previous_log("velero-1", "removed", LogScript::body(removed));

        let got = CollectionRun::default().of(&context, &DebugBundleSpec::installation()).await;
        got.is_complete();
        for name in all {
            let text = got.text(&log_path(&context, "velero-1", name, "current.log"));
            assert_eq!(said(&text), [format!("I am {name}").as_str(), "and so on"], "{name}");
        }
        let before = got.text(&log_path(&context, "velero-1", "velero", "previous.log"));
        assert_eq!(said(&before), ["panic: out of luck"]);
        let entry = got.entry(&log_path(&context, "velero-1", "velero", "previous.log"));
        assert_eq!((entry.source.previous, entry.source.node.as_deref()), (Some(true), Some(node.as_str())));
        for name in ["forgotten", "removed"] {
            let lost = got.missing(&log_path(&context, "velero-1", name, "previous.log"));
            assert_eq!((lost.code, lost.severity), (MissingCode::NoPrevious, MissingSeverity::Note), "{lost:?}");
        }

        let seen = context.stand.kubelet.seen(&node);
        for name in all {
            let restarted = usize::from(["velero", "forgotten", "removed"].contains(&name));
            assert_eq!(
                (asked(&seen, "velero-1", name, false), asked(&seen, "velero-1", name, true)),
                (1, restarted),
                "{name}"
            );
        }
        let has = |seen: &[Seen], key: &str| seen.iter().filter(|one| one.query.contains_key(key)).count();
        assert!(seen.iter().all(|one| one.query["timestamps"] == "true"), "{seen:?}");
        assert_eq!((has(&seen, "tailLines"), has(&seen, "limitBytes")), (0, 0), "{seen:?}");

        let mut spec = DebugBundleSpec::installation();
        spec.logs.tail_lines = Some(1);
        let got = CollectionRun::default().of(&context, &spec).await;
        assert_eq!(said(&got.text(&log_path(&context, "velero-1", "calm", "current.log"))), ["and so on"]);
        let later = &context.stand.kubelet.seen(&node)[seen.len()..];
        assert_eq!((has(later, "tailLines"), has(later, "limitBytes")), (later.len(), 0), "{later:?}");
    })
    .await;
}

#[tokio::test]
async fn a_log_is_cut_to_the_window_and_not_read_beyond_its_end() {
    with_namespace("window", |context| async move {
        let node = context.node("n").await;
        context.pod(pod("velero-1").on_node(&node).labelled("deploy", "velero").with_container("velero")).await;
        let kept = "2026-03-01T10:00:02.500000000Z first\n  its trace\n\n2026-03-01T10:00:05.000000000Z last\n";
        let late = "2026-03-01T10:00:05.000000001Z late\nits trace\n".repeat(1000);
        let log = format!("2026-03-01T10:00:02.100000000Z early\n\tits trace\n{kept}{late}");
        // The log stays open, as a running server's does, but no reader waits for more. The API server would buffer a
        // shorter log.
        context.log("velero-1", "velero", LogScript::body(log.clone()).stall_after(log.len() as u64));
        let mut spec = DebugBundleSpec::installation();
        let at = |text: &str| Some(Time(text.parse().unwrap()));
        let (since_time, until_time) = (at("2026-03-01T10:00:02.3Z"), at("2026-03-01T10:00:05Z"));
        spec.logs.window = Some(LogWindow { since: None, since_time, until_time });
        let run =
            CollectionRun { idle: Duration::from_mins(1), limit: Duration::from_mins(2), ..CollectionRun::default() };
        let began = Instant::now();
        let got = run.of(&context, &spec).await;
        let took = began.elapsed();
        got.is_complete();
        assert!(took < Duration::from_secs(50), "it waited for the log to end: {took:?}");
        let path = log_path(&context, "velero-1", "velero", "current.log");
        assert_eq!(got.text(&path), kept);
        let entry = got.entry(&path);
        assert_eq!(entry.truncated, None, "a window is as asked");
        assert_eq!(entry.source.first_line, "2026-03-01T10:00:02.5Z".parse().ok());
        assert_eq!(entry.source.last_line, "2026-03-01T10:00:05Z".parse().ok());
        let seen = context.stand.kubelet.seen(&node);
        assert_eq!(seen[0].query["sinceTime"], "2026-03-01T10:00:02Z", "whole seconds: {seen:?}");
        nothing_is_open(&context, &node).await;
    })
    .await;
}

#[tokio::test]
async fn a_log_over_the_limit_keeps_8_mib_of_head_24_mib_of_tail_and_says_what_is_left_out() {
    with_namespace("long", |context| async move {
        server_pod(&context, LogScript::generated(40 << 20, 3)).await;
        let got = CollectionRun::default().of(&context, &DebugBundleSpec::installation()).await;
        let path = log_path(&context, "velero-1", "velero", "current.log");
        let text = got.text(&path);
        assert!(text.len() <= 32 << 20, "{}", text.len());

        let lines = (40_u64 << 20).div_ceil(LogScript::GENERATED_LINE);
        let at = text.find(" debugbundle: ").expect("a marker");
        let start = text[..at].rfind('\n').expect("a head") + 1;
        let end = at + text[at..].find('\n').unwrap() + 1;
        let (head, marker, tail) = (&text[..start], &text[start..end], &text[end..]);
        let (kept_head, kept_tail) = (head.len() as u64, tail.len() as u64);
        assert!(((8 << 20) - STAMPED..=8 << 20).contains(&kept_head), "{kept_head}");
        assert!(((23 << 20) - STAMPED..=24 << 20).contains(&kept_tail), "{kept_tail}");
        let left_out = lines * STAMPED - kept_head - kept_tail;
        let time = head.lines().next_back().unwrap().split_once(' ').unwrap().0;
        let expected = format!(
            "{time} debugbundle: {left_out} bytes, {} lines left out here (limit 33554432)\n",
            left_out / STAMPED
        );
        assert_eq!(marker, expected);
        assert_eq!(left_out % STAMPED, 0, "whole lines");
        assert!(head.contains("name=item-000000000000 ") && tail.contains(&format!("name=item-{:012} ", lines - 1)));
        assert!(head.lines().chain(tail.lines()).all(|line| line.len() as u64 + 1 == STAMPED), "cut on line ends");

        let cut = got.entry(&path).truncated.clone().expect("it was cut");
        assert_eq!(cut.reason, TruncationReason::Limit);
        assert_eq!((cut.kept_head, cut.kept_tail), (kept_head, kept_tail));
        assert_eq!((cut.left_out_bytes, cut.left_out_lines), (left_out, left_out / STAMPED));
        assert!(got.errors().is_empty(), "a limit is as asked: {:#?}", got.errors());
    })
    .await;
}

#[tokio::test]
async fn of_a_pod_without_a_part_in_it_the_last_mebibyte_is_kept() {
    with_namespace("others", |context| async move {
        let node = context.node("n").await;
        context.pod(pod("healthy").on_node(&node).with_container("c")).await;
        context.pod(pod("sick").on_node(&node).with_container("c").restarted(3)).await;
        context.pod(pod("velero-1").on_node(&node).labelled("deploy", "velero").with_container("c")).await;
        for name in ["healthy", "sick", "velero-1"] {
            context.log(name, "c", LogScript::generated(3 << 20, 5));
        }
        context.previous_log("sick", "c", LogScript::lines(["panic: out of luck"]));
        let got = CollectionRun::default().of(&context, &DebugBundleSpec::installation()).await;
        let path = |pod: &str| log_path(&context, pod, "c", "current.log");
        for name in ["healthy", "sick"] {
            let text = got.text(&path(name));
            let (marker, tail) = text.split_once('\n').unwrap();
            assert!(
                marker.contains(" debugbundle: ") && marker.ends_with(" left out here (limit 1048576)"),
                "{marker}"
            );
            assert!((950 << 10..=1 << 20).contains(&tail.len()), "{name}: {}", tail.len());
            let last = format!("name=item-{:012} ", (3_u64 << 20).div_ceil(200) - 1);
            assert!(tail.lines().next_back().unwrap().contains(&last), "{name}: it ends as the log");
        }
        assert!(got.entry(&path("velero-1")).segment.bytes() > 3 << 20);
        let at = |path: &str| got.planned.iter().position(|planned| planned == path).unwrap();
        let sick = log_path(&context, "sick", "c", "previous.log");
        assert!(at(&path("velero-1")) < at(&path("sick")) && at(&sick) < at(&path("healthy")), "{:#?}", got.planned);
    })
    .await;
}

#[tokio::test]
async fn what_goes_wrong_with_one_log_is_told_and_costs_no_other() {
    with_namespace("logs", |context| async move {
        let node = context.node("n").await;
        let far = context.node_that_is("far", KubeletPort::Refused).await;
        let scripts = [
            ("fine", LogScript::lines(["fine"])),
            ("excuse", LogScript::body("unable to retrieve container logs for containerd://0123456789")),
            ("nothing", LogScript::body("")),
            ("cut", LogScript::generated(1 << 20, 7).reset_after(300_000)),
            ("still", LogScript::generated(1 << 20, 8).stall_after(200_000)),
        ];
        for (name, script) in scripts {
            context.pod(pod(name).on_node(&node).with_container("c")).await;
            context.log(name, "c", script);
        }
        context.pod(pod("waits").on_node(&node).with_container("c").waiting("ContainerCreating", "soon")).await;
        let waits = "container \"c\" in pod \"waits\" is waiting to start: ContainerCreating";
        context.log("waits", "c", LogScript::status(400, waits));
        for name in ["far-1", "far-2", "far-3", "far-4", "far-5"] {
            context.pod(pod(name).on_node(&far).with_container("c")).await;
        }
        context.pod(pod("homeless").with_container("c").unschedulable("no node")).await;
        let run = CollectionRun { idle: Duration::from_secs(2), ..CollectionRun::default() };
        let got = run.of(&context, &DebugBundleSpec::installation()).await;
        got.is_complete();
        let path = |pod: &str| log_path(&context, pod, "c", "current.log");
        assert!(got.text(&path("fine")).ends_with("fine\n"));
        let code = |pod: &str| (got.missing(&path(pod)).code, got.missing(&path(pod)).severity);
        assert_eq!(code("excuse"), (MissingCode::BodyIsError, MissingSeverity::Error));
        assert_eq!(code("nothing"), (MissingCode::Empty, MissingSeverity::Note));
        assert_eq!(code("homeless"), (MissingCode::Empty, MissingSeverity::Note));
        assert_eq!(code("waits"), (MissingCode::NotStarted, MissingSeverity::Note));
        for far in ["far-1", "far-2", "far-3", "far-4", "far-5"] {
            assert_eq!(code(far), (MissingCode::NodeUnreachable, MissingSeverity::Error), "{far}");
        }
        assert!(got.missing(&path("far-5")).why.starts_with("not requested again"), "one circuit per node");
        for (pod, reason) in [("cut", TruncationReason::Reset), ("still", TruncationReason::Stalled)] {
            let entry = got.entry(&path(pod));
            assert_eq!(entry.truncated.as_ref().map(|cut| cut.reason), Some(reason), "{pod}");
            assert!(entry.segment.bytes() > 100_000, "{pod}: what was read is kept");
        }
    })
    .await;
}

#[tokio::test]
async fn issue_32_what_the_users_rules_had_no_time_for_is_withheld_with_that_reason() {
    with_namespace("rules-over", |context| async move {
        let node = context.node("n").await;
        context.pod(pod("velero-1").on_node(&node).labelled("deploy", "velero").with_container("velero")).await;
        let now = Timestamp::now();
        let log = LogScript::generated(20 << 20, 7).between(now - SignedDuration::from_mins(5), now);
        context.log("velero-1", "velero", log);
        context.create_velero(restore("r1").partially_failed()).await;
        // Enough for the objects, which are small, and not for the log: it takes a second or more.
        let slow = vec!["(?:[a-z]+[ =]){3}[A-Z]{9}".to_owned(); 64];
        let rules = UserRules::compiled(&slow).unwrap().for_time(Duration::from_millis(300));
        let run = CollectionRun { rules, ..CollectionRun::default() };
        let got = run.of(&context, &DebugBundleSpec::about(TargetKind::Restore, "r1")).await;
        let log = log_path(&context, "velero-1", "velero", "current.log");
        assert!(!got.has(&log), "{} bytes", got.bytes(&log).len());
        let lost = got.missing(&log);
        assert_eq!((lost.code, lost.severity), (MissingCode::Withheld, MissingSeverity::Error));
        assert!(lost.why.contains("redaction.rules had used all of their CPU time"), "{}", lost.why);
        assert!(lost.cure.starts_with("simplify redaction.rules"), "{}", lost.cure);
        assert!(got.has(&format!("namespaces/{}/velero.io/restores.yaml", context.namespace)), "read in time: whole");
    })
    .await;
}

#[tokio::test]
async fn when_the_time_is_over_the_rest_is_told_as_missing() {
    with_namespace("late", |context| async move {
        let node = context.node("n").await;
        for name in ["a", "b", "c"] {
            context.pod(pod(name).on_node(&node).with_container("c")).await;
            context.log(name, "c", LogScript::generated(10 << 20, 1).slowly(20_000));
        }
        let run = CollectionRun { limit: Duration::from_secs(4), ..CollectionRun::default() };
        let got = run.of(&context, &DebugBundleSpec::installation()).await;
        got.is_complete();
        let cut: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .filter(|pod| got.has(&log_path(&context, pod, "c", "current.log")))
            .map(|pod| got.entry(&log_path(&context, pod, "c", "current.log")).truncated.as_ref().map(|cut| cut.reason))
            .collect();
        assert_eq!(cut, [Some(TruncationReason::Deadline); 2], "two at once per node");
        let late = got.errors();
        assert!(late.iter().any(|missing| missing.code == MissingCode::Deadline && missing.path.contains("/pods/")));
    })
    .await;
}

#[tokio::test]
async fn sec_b4_a_log_has_its_own_time_and_costs_no_other_theirs() {
    with_namespace("own-time", |context| async move {
        let node = context.node("n").await;
        for name in ["slow", "a", "b", "c"] {
            context.pod(pod(name).on_node(&node).with_container("c")).await;
            context.log(name, "c", LogScript::lines(["fine"]));
        }
        context.log("slow", "c", LogScript::generated(10 << 20, 1).slowly(50_000));
        let pace = Pace { per_item: Duration::from_secs(3), ..Pace::default() };
        let got =
            CollectionRun { pace, ..CollectionRun::default() }.of(&context, &DebugBundleSpec::installation()).await;
        got.is_complete();
        for name in ["a", "b", "c"] {
            assert_eq!(said(&got.text(&log_path(&context, name, "c", "current.log"))), ["fine"]);
        }
        let slow = got.entry(&log_path(&context, "slow", "c", "current.log"));
        assert_eq!(slow.truncated.as_ref().map(|cut| cut.reason), Some(TruncationReason::Deadline));
        assert!((50_000..1 << 20).contains(&slow.segment.bytes()), "{}", slow.segment.bytes());
        nothing_is_open(&context, &node).await;
    })
    .await;
}

#[tokio::test]
async fn a_log_that_breaks_off_is_taken_up_once_with_no_line_lost_or_twice() {
    with_namespace("resume", |context| async move {
        let node = context.node("n").await;
        for name in ["reset", "cut"] {
            context.pod(pod(name).on_node(&node).labelled("deploy", "velero").with_container("c")).await;
        }
        context.log("reset", "c", LogScript::generated(2 << 20, 7).reset_after(300_000).once());
        context.log("cut", "c", LogScript::generated(2 << 20, 8).cut_after(400_000).once());
        let got = CollectionRun::default().of(&context, &DebugBundleSpec::installation()).await;
        got.is_complete();
        let lines = (2_u64 << 20).div_ceil(LogScript::GENERATED_LINE);
        for name in ["reset", "cut"] {
            let path = log_path(&context, name, "c", "current.log");
            let text = got.text(&path);
            assert_eq!(text.lines().count() as u64, lines, "{name}");
            for (number, line) in text.lines().enumerate() {
                assert!(line.len() as u64 + 1 == STAMPED, "{name}: {line}");
                assert!(line.contains(&format!(" name=item-{number:012} ")), "{name}: {line}");
            }
            assert_eq!(got.entry(&path).truncated, None, "{name} is whole");
            let seen = context.stand.kubelet.seen(&node);
            let asked: Vec<_> = seen.iter().filter(|one| one.pod == name).collect();
            assert_eq!(asked.len(), 2, "{name} was taken up once: {asked:?}");
            let since: Timestamp = asked[1].query["sinceTime"].parse().unwrap();
            let first: Timestamp = text.split_once(' ').unwrap().0.parse().unwrap();
            assert!(since > first + SignedDuration::from_mins(1), "{name}: not from the beginning: {since} {first}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_that_cannot_be_dialled_is_not_asked_fifty_times() {
    with_namespace("dead-nodes", |context| async move {
        let node = context.node("n").await;
        let closed = context.node_that_is("closed", KubeletPort::Refused).await;
        let silent = context.node_that_is("silent", KubeletPort::Silent).await;
        context.pod(pod("alive").on_node(&node).with_container("c")).await;
        context.log("alive", "c", LogScript::lines(["alive"]));
        let dead: Vec<(String, &str)> = (0..50)
            .map(|number| (format!("closed-{number}"), closed.as_str()))
            .chain((0..10).map(|number| (format!("silent-{number}"), silent.as_str())))
            .collect();
        for (name, node) in &dead {
            context.pod(pod(name).on_node(node).with_container("c")).await;
        }
        let began = Instant::now();
        let got = CollectionRun::default().of(&context, &DebugBundleSpec::installation()).await;
        let took = began.elapsed();
        got.is_complete();
        assert!(got.has(&log_path(&context, "alive", "c", "current.log")));
        for (node, pods) in [("closed", 50), ("silent", 10)] {
            let told: Vec<_> = (0..pods)
                .map(|number| got.missing(&log_path(&context, &format!("{node}-{number}"), "c", "current.log")))
                .collect();
            assert!(told.iter().all(|one| one.code == MissingCode::NodeUnreachable), "{told:#?}");
            let asked = told.iter().filter(|one| !one.why.starts_with("not requested again")).count();
            assert!((1..=2).contains(&asked), "{node}: {asked} of {pods} were asked");
        }
        assert!(took < Duration::from_secs(45), "ten silences one after the other would be longer: {took:?}");
    })
    .await;
}

#[tokio::test]
async fn a_kubelet_that_cannot_prove_who_it_is_is_read_and_said_to_be_unproven() {
    with_namespace("unproven", |context| async move {
        let good = context.node("good").await;
        let bad = context.node_that_is("bad", KubeletPort::Untrusted).await;
        for (name, node) in [("trusted", &good), ("unproven", &bad)] {
            context.pod(pod(name).on_node(node).with_container("c").restarted(1)).await;
            context.log(name, "c", LogScript::lines(["a line"]));
            context.previous_log(name, "c", LogScript::lines(["a line of before"]));
        }
        let got = CollectionRun::default().of(&context, &DebugBundleSpec::installation()).await;
        got.is_complete();
        for (file, line) in [("current", "a line"), ("previous", "a line of before")] {
            let path = log_path(&context, "unproven", "c", &format!("{file}.insecure.log"));
            assert_eq!(said(&got.text(&path)), [line]);
            let warning = got.entry(&path).source.warning.clone().expect("a warning");
            assert!(warning.contains("certificate could not be verified"), "{warning}");
            assert!(
                !got.has(&log_path(&context, "unproven", "c", &format!("{file}.log"))),
                "no file claims to be proven"
            );
            let proven = log_path(&context, "trusted", "c", &format!("{file}.log"));
            assert_eq!(said(&got.text(&proven)), [line]);
            assert_eq!(got.entry(&proven).source.warning, None);
        }
        assert_eq!(context.stand.kubelet.seen(&bad).len(), 2, "it said nothing before it was believed");
        assert!(got.errors().is_empty(), "{:#?}", got.errors());
    })
    .await;
}

#[tokio::test]
async fn sec_l3_bytes_stay_the_bytes_that_the_container_wrote() {
    with_namespace("bytes", |context| async move {
        let node = context.node("n").await;
        context.pod(pod("velero-1").on_node(&node).labelled("deploy", "velero").with_container("velero")).await;
        let long: Vec<u8> = (0..300_000_u32).map(|n| b'a' + u8::try_from(n % 23).unwrap()).collect();
        let lines: [&[u8]; 7] = [
            b"not UTF-8: \xff\xfe\xc3\x28",
            b"NUL: \0\0",
            b"\x1b[31mred\x1b[0m\rback",
            "bidi \u{202e}txet".as_bytes(),
            &long,
            b"",
            b"the end",
        ];
        context.log("velero-1", "velero", LogScript::lines(lines));
        let got = CollectionRun::default().of(&context, &DebugBundleSpec::installation()).await;
        let bytes = got.bytes(&log_path(&context, "velero-1", "velero", "current.log"));
        let mut rest = bytes.as_slice();
        for line in lines {
            let (stamp, after) = rest.split_at(31);
            assert!(std::str::from_utf8(&stamp[..30]).unwrap().parse::<Timestamp>().is_ok());
            assert_eq!(&after[..line.len()], line, "{}", String::from_utf8_lossy(&line[..line.len().min(40)]));
            assert_eq!(after[line.len()], b'\n');
            rest = &after[line.len() + 1..];
        }
        assert!(rest.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_line_of_200_mib_fails_no_file_and_takes_no_line_with_it() {
    with_namespace("one-line", |context| async move {
        let node = context.node("n").await;
        context.pod(pod("velero-1").on_node(&node).labelled("deploy", "velero").with_container("velero")).await;
        let mut log = b"2026-03-01T10:00:00.000000000Z before\n2026-03-01T10:00:01.000000000Z ".to_vec();
        log.resize(log.len() + (200 << 20), b'x');
        log.extend_from_slice(b"\n2026-03-01T10:00:02.000000000Z after\n");
        // The speed limit only splits the log into pieces.
        context.log("velero-1", "velero", LogScript::body(Bytes::from(log)).slowly(1 << 30));
        let run = CollectionRun { limit: Duration::from_mins(4), ..CollectionRun::default() };
        let got = run.of(&context, &DebugBundleSpec::installation()).await;
        got.is_complete();
        let path = log_path(&context, "velero-1", "velero", "current.log");
        let text = got.text(&path);
        let lines: Vec<&str> = text.lines().collect();
        let [first, giant, last] = lines.as_slice() else { panic!("{} lines", lines.len()) };
        assert!(first.ends_with(" before") && last.ends_with(" after"), "{first:?} {last:?}");
        let (shown, masked) = giant.split_once("[REDACTED:long-line:").expect("its end is masked");
        let masked: usize = masked.strip_suffix(" bytes]").unwrap().parse().unwrap();
        assert_eq!(shown.len() + masked, 31 + (200 << 20));
        assert!(shown.starts_with("2026-03-01T10:00:01.000000000Z xxxx") && shown.len() > 900_000, "{}", shown.len());
        assert_eq!(got.entry(&path).truncated, None);
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_took_anothers_place_is_read_under_its_own_uid() {
    with_namespace("places", |context| async move {
        let node = context.node("n").await;
        let other = context.node("other").await;
        for name in ["moved", "starts", "deleted"] {
            context.pod(pod(name).on_node(&node).with_container("c").restarted(1)).await;
            context.log(name, "c", LogScript::lines(["of the old pod"]));
            context.previous_log(name, "c", LogScript::lines(["of the old pod before"]));
        }
        let old = context.api::<Pod>().get("moved").await.unwrap().metadata.uid.unwrap();
        let change = async || {
            let pods = context.api::<Pod>();
            for name in ["moved", "starts", "deleted"] {
                pods.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
                until(Duration::from_secs(10), "it is gone", || async {
                    pods.get_opt(name).await.unwrap().map_or(Ok(()), |_| Err("it is there"))
                })
                .await;
            }
            context.pod(pod("moved").on_node(&other).with_container("c")).await;
            context.log("moved", "c", LogScript::lines(["of the new pod"]));
            // A kubelet remembers logs by pod name, so this one may belong to another pod.
            context.previous_log("moved", "c", LogScript::lines(["of nobody knows whom"]));
            let starting = pod("starts").on_node(&other).with_container("c").waiting("ContainerCreating", "soon");
            context.pod(starting).await;
            let waits = "container \"c\" in pod \"starts\" is waiting to start: ContainerCreating";
            context.log("starts", "c", LogScript::status(400, waits));
            context.previous_log("starts", "c", LogScript::status(400, waits));
        };
        let got = CollectionRun::default().of_what_changes(&context, &DebugBundleSpec::installation(), change).await;
        got.is_complete();
        let new = context.api::<Pod>().get("moved").await.unwrap().metadata.uid.unwrap();
        let path = |pod: &str, file: &str| log_path(&context, pod, "c", file);
        let codes = |path: &str| -> Vec<(MissingCode, MissingSeverity)> {
            let of = got.collected.missing.iter().filter(|missing| missing.path == path);
            of.map(|missing| (missing.code, missing.severity)).collect()
        };
        let gone = (MissingCode::Gone, MissingSeverity::Note);

        assert_eq!(said(&got.text(&path("moved", "current.log"))), ["of the new pod"]);
        let source = &got.entry(&path("moved", "current.log")).source;
        assert_eq!((source.pod_uid.as_deref(), source.node.as_deref()), (Some(new.as_str()), Some(other.as_str())));
        assert_eq!(codes(&path("moved", "current.log")), [gone]);
        let why = &got.missing(&path("moved", "current.log")).why;
        assert!(why.contains(&old) && why.contains(&new), "{why}");
        assert!(!got.has(&path("moved", "previous.log")), "it has no instance before");
        assert_eq!(codes(&path("moved", "previous.log")), [gone]);

        let not_started = (MissingCode::NotStarted, MissingSeverity::Note);
        assert_eq!(codes(&path("starts", "current.log")), [gone, not_started]);
        assert_eq!(codes(&path("starts", "previous.log")), [gone]);
        assert_eq!(codes(&path("deleted", "current.log")), [gone]);
        assert_eq!(codes(&path("deleted", "previous.log")), [gone]);
    })
    .await;
}

#[tokio::test]
async fn whose_log_it_was_is_asked_only_where_a_name_can_come_again() {
    with_namespace("names", |context| async move {
        let account = context.shipped_account().await;
        let node = context.node("n").await;
        for (name, owner) in [("keeper-x2x4k", "DaemonSet"), ("keeper-0", "StatefulSet")] {
            let build = pod(name).on_node(&node).labelled("role", "node-agent").with_container("a").with_container("b");
            context.pod(build).await;
            let owner =
                json!({"apiVersion": "apps/v1", "kind": owner, "name": "keeper", "uid": "u", "controller": true});
            let change = Patch::Merge(json!({"metadata": {"ownerReferences": [owner]}}));
            context.api::<Pod>().patch(name, &PatchParams::default(), &change).await.expect("a pod can get an owner");
            for container in ["a", "b"] {
                context.log(name, container, LogScript::lines([format!("of {name}")]));
            }
        }
        let got = CollectionRun::by(account.client().await).of(&context, &DebugBundleSpec::installation()).await;
        for (name, container) in [("keeper-x2x4k", "a"), ("keeper-x2x4k", "b"), ("keeper-0", "a"), ("keeper-0", "b")] {
            let text = got.text(&log_path(&context, name, container, "current.log"));
            assert_eq!(said(&text), [format!("of {name}")], "{name} {container}");
        }
        let asked = |resource| context.stand.times(&account.user, ("get", resource), &context.namespace, 200);
        until(Duration::from_secs(10), "the requests are in the audit log", || async {
            if asked("pods/log") == 4 { Ok(()) } else { Err(asked("pods/log")) }
        })
        .await;
        assert_eq!(asked("pods"), 2, "once for each log of the pod whose name may come again");
    })
    .await;
}

/// A pod that moves the target's data, in a namespace of the application.
async fn an_involved_pod(context: &Context, build: harness::objects::PodBuilder) -> String {
    let target = a_restore(context, "PartiallyFailed").await;
    let shop = context.workload_namespace("shop").await;
    let name = build.name().to_owned();
    context.pod_in(&shop, build).await;
    let data = pod_volume_restore("regrow-x1").of(&target).of_pod(&shop, &name).from_namespace(&shop);
    context.create_velero(data.without_progress()).await;
    shop
}

fn logs_in(got: &CollectionResult, namespace: &str) -> Vec<String> {
    let under = format!("namespaces/{namespace}/pods/");
    let paths = got.collected.entries.iter().map(|entry| entry.segment.path().as_str());
    let mut logs: Vec<String> = paths.filter_map(|path| path.strip_prefix(&under)).map(str::to_owned).collect();
    logs.sort();
    logs
}

#[tokio::test]
async fn logs_of_applications_are_one_note_until_they_are_allowed_and_then_only_those_that_explain() {
    with_namespace("r26", |context| async move {
        let node = context.node("n").await;
        let build = pod("shop-0")
            .on_node(&node)
            .annotated("post.hook.restore.velero.io/command", "[\"/bin/warm-up\"]")
            .annotated("post.hook.restore.velero.io/container", "hooked")
            .with_init("restore-wait")
            .with_sidecar("proxy")
            .with_container("calm")
            .with_container("hooked")
            .with_container("restarted")
            .restarted(2)
            .with_container("waits")
            .waiting("CrashLoopBackOff", "back-off")
            .with_container("ended")
            .terminated(3);
        let shop = an_involved_pod(&context, build).await;
        for name in ["restore-wait", "proxy", "calm", "hooked", "restarted", "waits", "ended"] {
            context.stand.kubelet.script(&shop, "shop-0", name, LogScript::lines([format!("I am {name}")]));
        }
        context.stand.kubelet.script_previous(&shop, "shop-0", "restarted", LogScript::lines(["before"]));
        let account = context.shipped_account().await;
        let run = async || CollectionRun { client: Some(account.client().await), ..CollectionRun::default() };

        let got = run().await.of(&context, &about_the_restore()).await;
        got.is_complete();
        assert_eq!(logs_in(&got, &shop), [""; 0]);
        let told: Vec<_> = got.collected.missing.iter().filter(|one| one.rule.as_deref() == Some("R26")).collect();
        let [line] = told.as_slice() else { panic!("one note: {told:#?}") };
        assert_eq!((line.code, line.severity), (MissingCode::Forbidden, MissingSeverity::Note));
        assert_eq!(line.what, format!("logs of pods in {shop}"));
        assert_eq!(line.path, format!("namespaces/{shop}/pods"));
        assert_eq!(line.cure, format!("bind ClusterRole debugbundle-namespace-logs in namespace {shop}"));
        assert_eq!(context.stand.kubelet.seen(&node).len(), 0);

        let binding: RoleBinding = serde_json::from_value(json!({
            "metadata": {"name": "debugbundle-namespace-logs"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "debugbundle-namespace-logs"},
            "subjects": [{"kind": "ServiceAccount", "name": "debugbundle-operator", "namespace": context.namespace}],
        }))
        .unwrap();
        Api::namespaced(context.client.clone(), &shop).create(&PostParams::default(), &binding).await.unwrap();
        let got = until(Duration::from_secs(20), "the binding works", async || {
            let got = run().await.of(&context, &about_the_restore()).await;
            let forbidden = got.collected.missing.iter().any(|one| one.rule.as_deref() == Some("R26"));
            if forbidden { Err("still forbidden") } else { Ok(got) }
        })
        .await;
        got.is_complete();
        let expected = ["ended", "hooked", "proxy", "restarted", "restore-wait", "waits"];
        let mut expected: Vec<String> =
            expected.iter().map(|name| format!("shop-0/{name}/{name}/logs/current.log")).collect();
        expected.push("shop-0/restarted/restarted/logs/previous.log".to_owned());
        expected.sort();
        assert_eq!(logs_in(&got, &shop), expected);
        assert!(got.errors().iter().all(|one| !one.path.contains(&shop)), "{:#?}", got.errors());
    })
    .await;
}

#[tokio::test]
async fn of_a_namespace_asked_for_the_pods_that_are_not_well_are_read() {
    with_namespace("asked", |context| async move {
        let node = context.node("n").await;
        let shop = context.workload_namespace("shop").await;
        context.pod_in(&shop, pod("well").on_node(&node).with_container("c")).await;
        context.pod_in(&shop, pod("sick").on_node(&node).with_container("c").restarted(1).with_container("side")).await;
        for (name, container) in [("well", "c"), ("sick", "c"), ("sick", "side")] {
            context.stand.kubelet.script(&shop, name, container, LogScript::lines(["a line"]));
        }
        context.stand.kubelet.script_previous(&shop, "sick", "c", LogScript::lines(["panic: out of luck"]));
        let mut spec = DebugBundleSpec::installation();
        spec.namespaces = vec![shop.clone()];
        let got = CollectionRun::default().of(&context, &spec).await;
        got.is_complete();
        let expected = ["sick/c/c/logs/current.log", "sick/c/c/logs/previous.log", "sick/side/side/logs/current.log"];
        assert_eq!(logs_in(&got, &shop), expected);
        assert_eq!(asked(&context.stand.kubelet.seen(&node), "well", "c", false), 0);
    })
    .await;
}
