//! Bad inputs on the real API server: each is refused with a message that names the error and the allowed values. What
//! only the operator can check (does the Backup exist?) is reported in status instead.

use debugbundle_crd::{DebugBundle, DebugBundlePolicy, DebugBundlePolicySpec, DebugBundleStatus};
use harness::bundle::spec_about;
use harness::{Context, with_namespace};
use kube::api::{Api, Patch, PatchParams, PostParams, ValidationDirective};
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

/// Sends a DebugBundle as kubectl does, with strict field validation: the stored object, or the refusal.
async fn apply(context: &Context, metadata: Value, rest: Value) -> Result<Value, String> {
    let mut object = json!({"apiVersion": DebugBundle::api_version(&()), "kind": "DebugBundle", "metadata": metadata});
    for (key, value) in rest.as_object().expect("an object").clone() {
        object[key] = value;
    }
    let path = format!("/apis/debugbundle.io/v1alpha1/namespaces/{}/debugbundles", context.namespace);
    let request = http::Request::post(format!("{path}?fieldValidation=Strict"))
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&object).expect("JSON"))
        .expect("a request");
    context.client.request::<Value>(request).await.map_err(|error| match error {
        kube::Error::Api(status) => status.message.clone(),
        other => panic!("not an answer of the API server: {other}"),
    })
}

async fn spec(context: &Context, spec: Value) -> Result<Value, String> {
    apply(context, json!({"generateName": "bundle-"}), json!({"spec": spec})).await
}

/// A value at a dotted path of the spec, wrapped into objects.
fn at(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |inner, key| json!({ key: inner }))
}

/// Checks that each value is refused with a message that contains these words.
async fn refused(context: &Context, path: &str, values: &[Value], words: &[&str]) {
    for value in values {
        let shown: String = value.to_string().chars().take(60).collect();
        match spec(context, at(path, value.clone())).await {
            Ok(_) => panic!("{path}: {shown} was let through"),
            Err(message) => {
                let missed: Vec<_> = words.iter().filter(|word| !message.contains(**word)).collect();
                assert!(missed.is_empty(), "{path}: {shown}: no {missed:?} in: {message}");
            }
        }
    }
}

async fn taken(context: &Context, path: &str, values: &[Value]) {
    for value in values {
        let stored = spec(context, at(path, value.clone())).await;
        assert!(stored.is_ok(), "{path}: {value}: {stored:?}");
    }
}

fn target(name: &str) -> Value {
    json!({"kind": "Backup", "name": name})
}

#[tokio::test]
async fn a_bundle_without_spec_is_refused() {
    with_namespace("adm-spec", |context| async move {
        let refusal = apply(&context, json!({"name": "x"}), json!({})).await.unwrap_err();
        assert!(refusal.contains("spec: Required value"), "{refusal}");
        let refusal = apply(&context, json!({"name": "x"}), json!({"spec": null})).await.unwrap_err();
        assert!(refusal.contains("spec"), "{refusal}");
    })
    .await;
}

#[tokio::test]
async fn target_names_that_no_object_can_have_are_refused() {
    with_namespace("adm-name", |context| async move {
        let bad = ["a/b", "..", "Nightly", "a b", "a\nb", "a\u{0}b", "🎒", "-a", "a-", ".a", "a."];
        let bad: Vec<_> = bad.iter().map(|name| target(name)).collect();
        refused(&context, "target", &bad, &["spec.target.name", "must be a DNS-1123 subdomain", "lower-case"]).await;
        refused(&context, "target", &[target("")], &["spec.target.name", "should be at least 1 chars long"]).await;
        let long = "a".repeat(254);
        refused(&context, "target", &[target(&long)], &["spec.target.name", "may not be more than 253"]).await;
        taken(&context, "target", &[target("nightly-20261121.1"), target(&"a".repeat(253))]).await;
    })
    .await;
}

#[tokio::test]
async fn targets_are_backups_or_restores_and_complete() {
    with_namespace("adm-target", |context| async move {
        let schedule = json!({"kind": "Schedule", "name": "x"});
        let words = ["spec.target.kind: Unsupported value: \"Schedule\"", "\"Backup\", \"Restore\""];
        refused(&context, "target", &[schedule], &words).await;
        refused(&context, "target", &[json!({"name": "x"})], &["spec.target.kind: Required value"]).await;
        refused(&context, "target", &[json!({"kind": "Backup"})], &["spec.target.name: Required value"]).await;
        taken(&context, "target", &[json!({"kind": "Restore", "name": "r1"})]).await;
    })
    .await;
}

#[tokio::test]
async fn unknown_fields_are_refused_by_name() {
    with_namespace("adm-field", |context| async move {
        for path in ["backupName", "collectors", "target.uid", "logs.tail", "redaction.off", "downloadURL.public"] {
            let mut value = at(path, json!("x"));
            if path.starts_with("target.") {
                value["target"]["kind"] = "Backup".into();
                value["target"]["name"] = "b".into();
            }
            let refusal = spec(&context, value).await.unwrap_err();
            assert!(refusal.contains(&format!("unknown field \"spec.{path}\"")), "{path}: {refusal}");
        }
    })
    .await;
}

#[tokio::test]
async fn values_of_the_wrong_type_are_refused() {
    with_namespace("adm-type", |context| async move {
        let five = json!({"kind": "Backup", "name": 5});
        refused(&context, "target", &[five], &["spec.target.name", "must be of type string: \"integer\""]).await;
        refused(&context, "ttl", &[json!(720)], &["spec.ttl", "must be of type string"]).await;
        refused(&context, "namespaces", &[json!("shop")], &["spec.namespaces", "must be of type array"]).await;
        refused(&context, "logs.tailLines", &[json!("10"), json!(1.5)], &["spec.logs.tailLines", "of type integer"])
            .await;
        refused(&context, "logs.previous", &[json!("yes")], &["spec.logs.previous", "must be of type boolean"]).await;
    })
    .await;
}

const NO_DURATIONS: [&str; 12] =
    ["", "7", "1y", "-1h", "1h ", "1.5h", "h", "1h-5m", "1m1h", "999999999999999999999999999999s", "P1D", "∞"];

fn durations(further: &[&str]) -> Vec<Value> {
    NO_DURATIONS.iter().chain(further).map(|text| json!(text)).collect()
}

#[tokio::test]
async fn sec_u1_durations_have_their_ranges() {
    with_namespace("adm-time", |context| async move {
        // An overlong text is refused for its length; the message need not name the range.
        let short = |further: &[&str]| -> Vec<Value> {
            durations(further).into_iter().filter(|value| value.as_str().is_some_and(|text| text.len() <= 31)).collect()
        };
        let ttl = ["0s", "59m", "2161h", "999999h"];
        refused(&context, "ttl", &short(&ttl), &["spec.ttl", "must be a duration between 1h and 2160h"]).await;
        taken(&context, "ttl", &[json!("1h"), json!("2160h"), json!("90m"), json!("1h30m10s")]).await;
        let timeout = ["0s", "29s", "1ms", "6h1s", "25h"];
        refused(&context, "timeout", &short(&timeout), &["spec.timeout", "must be a duration between 30s and 6h"])
            .await;
        taken(&context, "timeout", &[json!("30s"), json!("6h")]).await;
        let url = ["0s", "59s", "168h1s", "8760h"];
        let words = ["spec.downloadURL.ttl", "must be a duration between 1m and 168h"];
        refused(&context, "downloadURL.ttl", &short(&url), &words).await;
        taken(&context, "downloadURL.ttl", &[json!("1m"), json!("168h")]).await;
        let since = ["0s", "8761h"];
        let words = ["spec.logs.window.since", "must be a duration between 1s and 8760h"];
        refused(&context, "logs.window.since", &short(&since), &words).await;
        taken(&context, "logs.window.since", &[json!("1s"), json!("2h"), json!("8760h")]).await;
        let endless = json!("1".repeat(40) + "s");
        refused(&context, "ttl", &[endless], &["spec.ttl", "may not be more than 32"]).await;
    })
    .await;
}

#[tokio::test]
async fn numbers_of_lines_and_bytes_have_their_ranges() {
    with_namespace("adm-size", |context| async move {
        let lines = [json!(-1), json!(0)];
        refused(&context, "logs.tailLines", &lines, &["spec.logs.tailLines", "greater than or equal to 1"]).await;
        let lines = [json!(1_000_001), json!(i64::MAX)];
        refused(&context, "logs.tailLines", &lines, &["spec.logs.tailLines", "less than or equal to 1000000"]).await;
        refused(&context, "logs.tailLines", &[json!(9_223_372_036_854_775_808_u64)], &["spec.logs.tailLines"]).await;
        taken(&context, "logs.tailLines", &[json!(1), json!(1_000_000)]).await;

        let sizes = ["", "0", "-1", "1", "4095", "10Ti", "1025Mi", "5Gib", "much", "4 Ki", "1e-3"];
        let mut sizes: Vec<_> = sizes.iter().map(|size| json!(size)).collect();
        sizes.extend([json!(0), json!(-1), json!(4095), json!(i64::MAX)]);
        let words = ["spec.logs.maxBytesPerContainer", "must be a quantity between 4Ki and 1Gi, such as 32Mi"];
        refused(&context, "logs.maxBytesPerContainer", &sizes, &words).await;
        let sizes = [json!("4Ki"), json!("1Gi"), json!(4096), json!(1_073_741_824), json!("1.5Mi"), json!("100M")];
        taken(&context, "logs.maxBytesPerContainer", &sizes).await;
    })
    .await;
}

#[tokio::test]
async fn every_size_that_is_let_through_can_be_read() {
    with_namespace("adm-read", |context| async move {
        let good = ["4096k", "0.5Gi", "8192.000", "8192.5", "00000000000000000000000000065536", "4.000000001Ki", "1G"];
        for size in good {
            let stored = spec(&context, at("logs.maxBytesPerContainer", json!(size))).await;
            let stored = stored.unwrap_or_else(|refusal| panic!("{size}: {refusal}"));
            let bundle: DebugBundle = serde_json::from_value(stored).expect("a DebugBundle");
            let bytes = bundle.spec.logs.max_bytes_per_container.bytes();
            assert!(bytes.is_some_and(|bytes| (4096..=1 << 30).contains(&bytes)), "{size} was let through: {bytes:?}");
        }
        // These are quantities too, but nobody writes a size like this, and the operator does not parse them.
        let odd = ["1e6", "1E6", "100000000m", "0.0001Ti", "+5Ki", "5000000u", "4.Ki", ".5Mi", "1.0000000001Mi"];
        let odd: Vec<_> = odd.iter().map(|size| json!(size)).collect();
        refused(&context, "logs.maxBytesPerContainer", &odd, &["must be a quantity between 4Ki and 1Gi"]).await;
    })
    .await;
}

#[tokio::test]
async fn windows_are_said_in_one_way_and_the_right_way_round() {
    with_namespace("adm-window", |context| async move {
        let both = json!({"since": "1h", "sinceTime": "2026-11-21T03:00:00Z"});
        refused(&context, "logs.window", &[both], &["spec.logs.window", "set at most one of since, sinceTime"]).await;
        let turned = json!({"sinceTime": "2026-11-21T03:00:00Z", "untilTime": "2026-11-21T02:00:00Z"});
        refused(&context, "logs.window", &[turned], &["spec.logs.window", "sinceTime must be before untilTime"]).await;
        let no_times = [json!("yesterday"), json!("2026-11-21"), json!("2026-11-21T03:00:00"), json!("")];
        refused(&context, "logs.window.sinceTime", &no_times, &["spec.logs.window.sinceTime", "date-time"]).await;
        let good = json!({"sinceTime": "2026-11-21T03:00:00Z", "untilTime": "2026-11-21T05:00:00+01:00"});
        taken(&context, "logs.window", &[good]).await;
    })
    .await;
}

#[tokio::test]
async fn sec_d3_namespaces_are_names_without_doubles_and_not_too_many() {
    with_namespace("adm-ns", |context| async move {
        let bad = [json!(["*"]), json!(["Shop"]), json!(["a.b"]), json!(["a/b"]), json!(["-a"])];
        refused(&context, "namespaces", &bad, &["spec.namespaces[0]", "should match"]).await;
        refused(&context, "namespaces", &[json!([""])], &["spec.namespaces[0]"]).await;
        refused(&context, "namespaces", &[json!(["a".repeat(64)])], &["spec.namespaces[0]", "more than 63"]).await;
        refused(&context, "namespaces", &[json!(["a", "b", "a"])], &["spec.namespaces[2]", "Duplicate value"]).await;
        let many = |count: usize| (0..count).map(|n| json!(format!("ns-{n}"))).collect::<Value>();
        refused(&context, "namespaces", &[many(33), many(10_000)], &["spec.namespaces", "at most 32"]).await;
        taken(&context, "namespaces", &[many(32), json!([])]).await;
    })
    .await;
}

#[tokio::test]
async fn sec_b5_redaction_rules_are_bounded_and_redaction_cannot_be_switched_off() {
    with_namespace("adm-redact", |context| async move {
        let rules = |count: usize, length: usize| (0..count).map(|_| json!("x".repeat(length))).collect::<Value>();
        let many = [rules(65, 1), rules(1000, 1)];
        refused(&context, "redaction.rules", &many, &["spec.redaction.rules", "at most 64"]).await;
        refused(&context, "redaction.rules", &[rules(1, 513), rules(1, 1 << 20)], &["spec.redaction.rules[0]", "512"])
            .await;
        refused(&context, "redaction.rules", &[json!([""])], &["spec.redaction.rules[0]", "at least 1"]).await;
        let words = ["spec.redaction.rules", "must have at most 16384 characters in all rules together"];
        refused(&context, "redaction.rules", &[rules(64, 512), rules(33, 500)], &words).await;
        refused(
            &context,
            "redaction.configMaps",
            &[json!("Off")],
            &["Unsupported value: \"Off\"", "\"Masked\", \"Keys\""],
        )
        .await;
        taken(&context, "redaction", &[json!({"rules": rules(64, 256), "configMaps": "Keys"})]).await;
    })
    .await;
}

#[tokio::test]
async fn locations_and_policies_are_checked() {
    with_namespace("adm-loc", |context| async move {
        let bad = [json!("a/b"), json!("Default"), json!("a b")];
        refused(&context, "storageLocation", &bad, &["spec.storageLocation", "must be a DNS-1123 subdomain"]).await;
        refused(&context, "storageLocation", &[json!("")], &["spec.storageLocation", "at least 1"]).await;
        let policy = [json!("Always"), json!("never")];
        refused(
            &context,
            "downloadURL.policy",
            &policy,
            &["spec.downloadURL.policy: Unsupported value", "\"OnRequest\""],
        )
        .await;
        taken(&context, "downloadURL.policy", &[json!("Never"), json!("OnRequest"), json!("OnCompletion")]).await;
    })
    .await;
}

#[tokio::test]
async fn a_spec_cannot_be_changed_and_metadata_can() {
    with_namespace("adm-change", |context| async move {
        let bundle = context.debug_bundle("fixed", json!({"target": target("b1")})).await;
        let api: Api<DebugBundle> = context.api();
        let merge = PatchParams::default();
        for change in [json!({"ttl": "1h"}), json!({"target": null}), json!({"namespaces": ["shop"]})] {
            let refusal = api.patch("fixed", &merge, &Patch::Merge(json!({"spec": change}))).await.unwrap_err();
            let refusal = refusal.to_string();
            assert!(refusal.contains("spec is immutable; create another DebugBundle"), "{change}: {refusal}");
        }
        let renew = json!({"metadata": {"annotations": {"debugbundle.io/renew-url": "1"}}});
        let renewed = api.patch("fixed", &merge, &Patch::Merge(renew)).await.expect("metadata is the user's");
        assert_eq!(renewed.spec, bundle.spec);
        assert_eq!(renewed.metadata.generation, bundle.metadata.generation);
    })
    .await;
}

#[tokio::test]
async fn defaults_are_filled_in_and_a_forged_status_is_dropped() {
    with_namespace("adm-default", |context| async move {
        let status = json!({"phase": "Completed", "downloadURL": "https://evil.example"});
        let forged =
            apply(&context, json!({"generateName": "auto-"}), json!({"spec": {}, "status": status})).await.unwrap();
        assert!(forged["metadata"]["name"].as_str().is_some_and(|name| name.len() > 5), "{forged}");
        assert_eq!(forged["status"], Value::Null);
        let filled = json!({
            "downloadURL": {"policy": "OnCompletion", "ttl": "1h"},
            "logs": {"maxBytesPerContainer": "32Mi", "previous": true},
            "redaction": {"configMaps": "Masked"},
            "timeout": "15m",
            "ttl": "720h",
        });
        assert_eq!(forged["spec"], filled);
        let partly =
            spec(&context, json!({"logs": {"tailLines": 5}, "downloadURL": {"policy": "Never"}})).await.unwrap();
        assert_eq!(partly["spec"]["logs"]["previous"], true);
        assert_eq!(partly["spec"]["downloadURL"]["ttl"], "1h");
    })
    .await;
}

#[tokio::test]
async fn names_may_be_as_long_as_kubernetes_lets_them() {
    with_namespace("adm-long", |context| async move {
        let longest = "b".repeat(253);
        context.debug_bundle(&longest, json!({})).await;
        let metadata = json!({"name": "b".repeat(254)});
        let refusal = apply(&context, metadata, json!({"spec": {}})).await.unwrap_err();
        assert!(refusal.contains("metadata.name"), "{refusal}");
        let heavy = json!({"name": "heavy", "annotations": {"note": "x".repeat(1 << 20)}});
        let refusal = apply(&context, heavy, json!({"spec": {}})).await.unwrap_err();
        assert!(refusal.contains("metadata.annotations: Too long") && refusal.len() < 1000, "{refusal}");
    })
    .await;
}

#[tokio::test]
async fn the_types_themselves_write_what_the_server_takes() {
    with_namespace("adm-types", |context| async move {
        let api: Api<DebugBundle> = context.api();
        let mut bundle = DebugBundle::new("typed", debugbundle_crd::DebugBundleSpec::installation());
        bundle.spec.target = Some(serde_json::from_value(target("b1")).expect("a target"));
        bundle.spec.namespaces = vec!["shop".to_owned()];
        let strict = PostParams::default();
        let stored = api.create(&strict, &bundle).await.expect("what the types write is taken");
        assert_eq!(stored.spec, bundle.spec);
        let status = DebugBundleStatus {
            phase: Some(debugbundle_crd::Phase::Completed),
            cause: Some("PVR r1-ltc6t waits for pod shop/shop-0".to_owned()),
            bundle: Some(debugbundle_crd::Bundle { size: "2.1 MB".to_owned(), ..Default::default() }),
            missing: Some(0),
            ..DebugBundleStatus::default()
        };
        let patch = json!({"apiVersion": DebugBundle::api_version(&()), "kind": "DebugBundle", "status": status});
        let params = PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("test") };
        let with_status = api.patch_status(&stored.name_any(), &params, &Patch::Apply(patch)).await.expect("a status");
        assert_eq!(with_status.status, Some(status));
    })
    .await;
}

#[tokio::test]
async fn kubectl_explains_and_lists_bundles() {
    with_namespace("adm-kubectl", |context| async move {
        context.debug_bundle("restore-r1-1a2b", spec_about("Restore", "r1")).await;
        let status = json!({"status": {"phase": "Completed", "causeBrief": "no node-agent", "missing": 2, "bundle": {
            "bucket": "b", "bytes": 1, "entries": 1, "key": "k", "manifestLength": 1, "manifestOffset": 1,
            "sha256": "0", "size": "2.1 MB", "storageLocation": "default",
        }}});
        let api: Api<DebugBundle> = context.api();
        api.patch_status("restore-r1-1a2b", &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");

        let explained = kubectl(&context, &["explain", "debugbundle.spec"]).await;
        for field in ["target", "storageLocation", "namespaces", "logs", "redaction", "timeout", "ttl", "downloadURL"] {
            assert!(explained.contains(&format!("  {field}\t<")), "{field}: {explained}");
        }
        let listed = kubectl(&context, &["get", "dbundle", "-n", &context.namespace]).await;
        let lines: Vec<&str> = listed.lines().collect();
        let columns: Vec<&str> = lines[0].split_whitespace().collect();
        assert_eq!(columns, ["NAME", "KIND", "TARGET", "TRIGGER", "PHASE", "CAUSE", "SIZE", "AGE"]);
        for word in ["restore-r1-1a2b", "Restore", "r1", "Completed", "no node-agent", "2.1 MB"] {
            assert!(lines[1].contains(word), "{word}: {listed}");
        }
        let wide = kubectl(&context, &["get", "velero", "-o", "wide", "-n", &context.namespace]).await;
        assert!(wide.contains("MISSING") && wide.contains("URL UNTIL"), "{wide}");
    })
    .await;
}

async fn kubectl(context: &Context, args: &[&str]) -> String {
    let output = context.stand.kubectl(args).await;
    assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_policy_has_one_name_and_values_within_bounds() {
    with_namespace("adm-policy", |context| async move {
        let write = async |name: &str, spec: Value| {
            let api: Api<DebugBundlePolicy> = context.api();
            let policy = json!({"apiVersion": "debugbundle.io/v1alpha1", "kind": "DebugBundlePolicy",
                "metadata": {"name": name}, "spec": spec});
            let params =
                PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("test") };
            match api.patch(name, &params, &Patch::Apply(policy)).await {
                Ok(stored) => Ok(stored),
                Err(kube::Error::Api(status)) => Err(status.message.clone()),
                Err(other) => panic!("not an answer of the API server: {other}"),
            }
        };
        let other = write("other", json!({})).await.unwrap_err();
        assert!(other.contains("the name of a DebugBundlePolicy must be default"), "{other}");
        for (spec, words) in [
            (json!({"stuckAfter": "4m"}), "between 5m and 24h"),
            (json!({"maxAge": "25h"}), "between 5m and 24h"),
            (json!({"ratePerHour": 0}), "greater than or equal to 1"),
            (json!({"keepTotal": 1001}), "less than or equal to 1000"),
            (json!({"triggers": ["Request"]}), "Unsupported value"),
            (json!({"triggers": ["Failed", "Failed"]}), "duplicate entries"),
            (json!({"kinds": ["Schedule"]}), "Unsupported value"),
            (json!({"template": {"ttl": "1m"}}), "between 1h and 2160h"),
            (json!({"template": {"target": {"kind": "Backup", "name": "b"}}}), "field not declared"),
        ] {
            let refusal = write("default", spec.clone()).await.unwrap_err();
            assert!(refusal.contains(words), "{spec}: {refusal}");
        }
        let stored = write("default", json!({})).await.expect("all fields have a default");
        assert_eq!(stored.spec, DebugBundlePolicySpec::default());
    })
    .await;
}
