//! Redaction broken on purpose, in the build that the tests run, and what the self-check then does with a whole bundle.

use std::collections::BTreeMap;
use std::sync::Arc;

use debugbundle_crd::Phase;
use harness::{Context, LogScript, Operator, with_namespace};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use serde_json::{Value, json};

use crate::support::bundles::{
    LIMIT, about_r1, events, is_stored, keys, phase, server_pod, spool_is_empty, status, until_ended, velero_objects,
};

/// The redaction rule that masks the planted values, and that is switched off.
const RULE: &str = "github";
const OFF: &str = "DEBUGBUNDLE_RULE_OFF";

/// A new token in a vendor's format.
fn token() -> String {
    let mut state = u64::try_from(Timestamp::now().as_nanosecond() & i128::from(i64::MAX)).unwrap() | 1;
    let letters = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(letters[usize::try_from(state >> 33).unwrap() % letters.len()])
    };
    ["gh", "p_"].concat() + &(0..36).map(|_| letter()).collect::<String>()
}

/// A log with each value on a line of its own.
fn log(values: &[String]) -> LogScript {
    let lines = values.iter().map(|value| format!("the chart was fetched by {value} from afar"));
    LogScript::lines(["all is well".to_owned()].into_iter().chain(lines).collect::<Vec<_>>())
}

fn log_path(context: &Context) -> String {
    format!("namespaces/{}/pods/velero-1/velero/velero/logs/current.log", context.namespace)
}

fn manifest(entries: &BTreeMap<String, Vec<u8>>) -> Value {
    serde_json::from_slice(&entries["manifest.json"]).expect("a manifest")
}

/// The missing item at that path.
fn withheld(entries: &BTreeMap<String, Vec<u8>>, path: &str) -> Value {
    let manifest = manifest(entries);
    let missing = manifest["missing"].as_array().expect("missing").iter().find(|missing| missing["path"] == path);
    missing.unwrap_or_else(|| panic!("{path} is not missing: {}", manifest["missing"])).clone()
}

/// Checks that nothing that left the operator contains one of these values.
async fn is_nowhere(
    context: &Arc<Context>,
    operator: &Operator,
    entries: &BTreeMap<String, Vec<u8>>,
    values: &[String],
) {
    let bundle = crate::support::bundles::get(context, "b").await.expect("it is there");
    let told = serde_json::to_string(&bundle).unwrap();
    let events = format!("{:?}", events(context, "b").await);
    let log = operator.log().iter().map(Value::to_string).collect::<String>();
    for value in values {
        for (path, body) in entries {
            assert!(!String::from_utf8_lossy(body).contains(value.as_str()), "{value} is in {path}");
        }
        for (place, text) in [("the resource", &told), ("Events", &events), ("the operator's log", &log)] {
            assert!(!text.contains(value.as_str()), "{value} is in {place}: {text}");
        }
    }
}

#[tokio::test]
async fn sec_x52_a_line_that_redaction_missed_is_withheld_and_the_rest_is_stored() {
    with_namespace("check-withheld", |context| async move {
        velero_objects(&context).await;
        let planted = [token()];
        let node = server_pod(&context, log(&planted)).await;
        let operator = Operator::of(&context).env(OFF, RULE).ready().await;
        context.debug_bundle("b", about_r1()).await;
        let bundle = until_ended(&context, "b").await;
        assert_eq!(phase(&bundle), Phase::PartiallyFailed, "{:?}", status(&bundle));
        let entries = is_stored(&context, &bundle).await;
        is_nowhere(&context, &operator, &entries, &planted).await;

        let path = log_path(&context);
        let log = String::from_utf8_lossy(&entries[&path]).into_owned();
        assert!(log.contains("all is well") && log.contains("a line was withheld here"), "{log}");
        let manifest = manifest(&entries);
        let line = manifest["entries"].as_array().expect("entries").iter().find(|entry| entry["path"] == path.as_str());
        let line = line.expect("it is listed");
        assert_eq!((&line["truncated"]["reason"], &line["truncated"]["leftOutLines"]), (&"Withheld".into(), &1.into()));
        assert_eq!(line["redactions"]["check-vendor-token"], 1, "{line}");
        assert_eq!(manifest["outcome"], "PartiallyFailed");
        assert!(String::from_utf8_lossy(&entries["summary.md"]).contains(&path), "the summary says it, too");
        let findings = status(&bundle).findings;
        assert!(
            findings.iter().any(|f| f.id == "withheld-by-self-check" && f.evidence.contains(&path)),
            "{findings:?}"
        );
        let logged: Vec<Value> =
            operator.log().into_iter().filter(|line| line.to_string().contains("check-vendor-token")).collect();
        assert!(logged.iter().any(|line| line.to_string().contains(&path)), "{logged:?}");
        let read = context.stand.kubelet.seen(&node).iter().filter(|seen| !seen.query.contains_key("previous")).count();
        assert_eq!(read, 1, "nothing was collected a second time");
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn sec_x51_a_known_value_is_found_without_a_name_or_a_shape() {
    with_namespace("check-known", |context| async move {
        velero_objects(&context).await;
        let planted = [context.stand.s3.root().secret.clone()];
        server_pod(&context, log(&planted)).await;
        let operator = Operator::of(&context).env(OFF, "known-secret-key").ready().await;
        context.debug_bundle("b", about_r1()).await;
        let bundle = until_ended(&context, "b").await;
        let entries = is_stored(&context, &bundle).await;
        is_nowhere(&context, &operator, &entries, &planted).await;
        let missing = withheld(&entries, &log_path(&context));
        assert!(missing["why"].as_str().unwrap_or_default().contains("known-secret-key at byte "), "{missing}");
    })
    .await;
}

#[tokio::test]
async fn sec_x46_x52_an_event_with_tokens_side_by_side_costs_nothing() {
    with_namespace("check-tokens", |context| async move {
        velero_objects(&context).await;
        server_pod(&context, log(&[])).await;
        let url = format!("https://{}:hunter2-x7@git.example.com/x", token());
        let tokens = "https://[REDACTED:github:01234567]:[REDACTED:url-userinfo:89abcdef]@git.example.com/y";
        for (n, text) in [url.as_str(), tokens].into_iter().cycle().take(10).enumerate() {
            context
                .create::<Event>(json!({
                    "metadata": {"name": format!("pull-{n}")},
                    "involvedObject": {"kind": "Pod", "namespace": context.namespace, "name": "velero-1"},
                    "reason": "Failed",
                    "message": format!("Failed to pull {text}"),
                    "type": "Warning",
                    "lastTimestamp": Timestamp::now(),
                }))
                .await;
        }
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("b", about_r1()).await;
        let bundle = until_ended(&context, "b").await;
        let entries = is_stored(&context, &bundle).await;
        is_nowhere(&context, &operator, &entries, &["hunter2".to_owned()]).await;
        let kept = String::from_utf8_lossy(&entries[&format!("namespaces/{}/core/events.yaml", context.namespace)])
            .into_owned();
        assert_eq!(kept.matches("Failed to pull https://[REDACTED:").count(), 10, "{kept}");
        let manifest = manifest(&entries);
        let withheld: Vec<&Value> =
            manifest["missing"].as_array().expect("missing").iter().filter(|m| m["code"] == "Withheld").collect();
        assert!(withheld.is_empty(), "{withheld:?}");
        let findings = status(&bundle).findings;
        assert!(findings.iter().all(|finding| finding.id != "withheld-by-self-check"), "{findings:?}");
    })
    .await;
}

#[tokio::test]
async fn sec_x52_killed_before_the_check_was_made_it_is_made_after_the_restart() {
    with_namespace("check-killed", |context| async move {
        velero_objects(&context).await;
        let planted = [token()];
        server_pod(&context, log(&planted)).await;
        let mut operator = Operator::of(&context).env(OFF, RULE).crash_at("unchecked").ready().await;
        context.debug_bundle("b", about_r1()).await;
        assert_eq!(operator.wait_exit(LIMIT).await, 137);
        assert!(keys(&context).await.is_empty());
        operator.restart().await;
        let bundle = until_ended(&context, "b").await;
        assert_eq!((phase(&bundle), status(&bundle).attempts), (Phase::PartiallyFailed, Some(2)));
        let entries = is_stored(&context, &bundle).await;
        is_nowhere(&context, &operator, &entries, &planted).await;
        assert!(String::from_utf8_lossy(&entries[&log_path(&context)]).contains("a line was withheld here"));
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn sec_x50_an_entry_on_which_redaction_breaks_down_is_withheld_whole() {
    with_namespace("check-panic", |context| async move {
        velero_objects(&context).await;
        server_pod(&context, LogScript::lines(["the first line", "here it breaks down", "the last line"])).await;
        let operator = Operator::of(&context).env("DEBUGBUNDLE_PANIC_AT", "here it breaks down").ready().await;
        context.debug_bundle("b", about_r1()).await;
        let bundle = until_ended(&context, "b").await;
        assert_eq!(phase(&bundle), Phase::PartiallyFailed, "{:?}", status(&bundle));
        let entries = is_stored(&context, &bundle).await;
        let path = log_path(&context);
        assert!(!entries.contains_key(&path), "not even its first line");
        let missing = withheld(&entries, &path);
        assert_eq!((missing["code"].as_str(), missing["severity"].as_str()), (Some("Withheld"), Some("error")));
        assert!(entries.contains_key("summary.md") && operator.exited().is_none(), "the others are there");
        spool_is_empty(&operator).await;
    })
    .await;
}
