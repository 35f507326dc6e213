//! What an on-call gets: the chart's ServiceMonitor, alerts and dashboard; promtool's tests of the alerts; and a real
//! Prometheus that scrapes an operator, answers each query, and fires.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use harness::{LogScript, Operator, context::PREFIX, until, velero_objects::restore, with_namespace};
use jiff::Timestamp;
use kube::{ResourceExt, api::ListParams};
use serde_json::{Value, json};

use crate::support::{
    bundles::{LIMIT, server_pod},
    chart::{NAMESPACE, of_kind, render, rendered, text},
    http::free_address,
    prometheus::{Prometheus, promtool},
};

/// Where the runbooks are, for readers of an alert.
const RUNBOOKS: &str = "https://wiki.example/runbooks.md";

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The alerts of a rule file, or of the spec of a PrometheusRule.
fn alerts(rules: &Value) -> impl Iterator<Item = &Value> {
    rules["groups"].as_array().into_iter().flatten().flat_map(|group| group["rules"].as_array().into_iter().flatten())
}

#[tokio::test]
async fn the_chart_selects_the_operators_pods_for_prometheus_where_it_is_asked_for() {
    let objects = rendered(json!({"serviceMonitor": {"create": true, "labels": {"release": "stack"}}})).await;
    let one = |kind| {
        let [object] = &of_kind(&objects, kind).collect::<Vec<_>>()[..] else { panic!("one {kind}") };
        assert_eq!(text(object, "/metadata/namespace"), NAMESPACE);
        *object
    };
    let (service, monitor) = (one("Service"), one("ServiceMonitor"));
    let pod = &of_kind(&objects, "Deployment").next().expect("the operator's")["spec"]["template"];
    let all_in = |wanted: &Value, labels: &Value| {
        wanted.as_object().expect("labels").iter().all(|(name, value)| labels[name] == *value)
    };
    assert_eq!(service["spec"]["clusterIP"], "None");
    assert!(all_in(&service["spec"]["selector"], &pod["metadata"]["labels"]), "{service}");
    assert!(all_in(&monitor["spec"]["selector"]["matchLabels"], &service["metadata"]["labels"]), "{monitor}");
    assert_eq!(monitor["metadata"]["labels"]["release"], "stack");
    let port = &service["spec"]["ports"][0];
    assert_eq!(monitor["spec"]["endpoints"], json!([{"port": port["name"], "path": "/metrics"}]));
    assert_eq!(pod["spec"]["containers"][0]["ports"][0]["name"], port["targetPort"]);
    let objects = rendered(json!({})).await;
    for kind in ["Service", "ServiceMonitor", "PrometheusRule", "ConfigMap"] {
        assert_eq!(of_kind(&objects, kind).count(), 0, "{kind}");
    }
}

#[tokio::test]
async fn the_chart_ships_the_alerts_of_deploy_for_its_own_namespace() {
    let shipped: Value = serde_saphyr::from_str(&read("deploy/monitoring/rules.yaml")).expect("YAML");
    for runbooks in ["", RUNBOOKS] {
        let values = json!({"prometheusRule": {"create": true, "labels": {"release": "stack"}, "runbooks": runbooks}});
        let objects = rendered(values).await;
        let [rule] = &of_kind(&objects, "PrometheusRule").collect::<Vec<_>>()[..] else { panic!("one PrometheusRule") };
        assert_eq!(rule["metadata"]["labels"]["release"], "stack");
        assert_eq!(alerts(&rule["spec"]).count(), alerts(&shipped).count());
        for (here, there) in alerts(&rule["spec"]).zip(alerts(&shipped)) {
            let moved = |pointer| {
                text(there, pointer).replace("\"velero\"", "\"vault-ns\"").replace("-n velero", "-n vault-ns")
            };
            for pointer in ["/alert", "/expr", "/for", "/annotations/summary", "/annotations/description"] {
                assert_eq!(text(here, pointer), moved(pointer));
                assert!(!text(here, pointer).contains("velero "), "{here}");
            }
            assert!(text(here, "/expr").contains("namespace=\"vault-ns\""), "{here}");
            let section = format!("#{}", text(here, "/alert").to_lowercase());
            let (page, name) =
                if runbooks.is_empty() { ("docs/runbooks.md", "runbook") } else { (RUNBOOKS, "runbook_url") };
            assert_eq!(here["annotations"][name], format!("{page}{section}"));
        }
    }
    let refused = render(&json!({"prometheusRule": {"runbooks": "docs/runbooks.md"}}), true).await.unwrap_err();
    assert!(refused.contains("/prometheusRule/runbooks"), "{refused}");
}

#[tokio::test]
async fn the_chart_ships_the_dashboard_of_deploy_with_the_label_that_grafanas_sidecar_looks_for() {
    let objects = rendered(json!({"grafanaDashboard": {"create": true}})).await;
    let [map] = &of_kind(&objects, "ConfigMap").collect::<Vec<_>>()[..] else { panic!("one ConfigMap") };
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    assert_eq!(text(map, "/data/debugbundle.json"), read("deploy/monitoring/dashboard.json"));
    let dashboard: Value = serde_json::from_str(text(map, "/data/debugbundle.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_i64()).collect();
    assert_eq!(ids.len(), panels.len(), "an id for each panel");
}

#[test]
fn each_alert_has_its_runbook_and_its_row_in_the_docs() {
    let rules: Value = serde_saphyr::from_str(&read("deploy/monitoring/rules.yaml")).expect("YAML");
    let named: Vec<_> = alerts(&rules).map(|alert| text(alert, "/alert").to_owned()).collect();
    let (runbooks, metrics) = (read("docs/runbooks.md"), read("docs/metrics.md"));
    let sections: Vec<_> = runbooks.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let rows = metrics.lines().filter_map(|line| line.strip_prefix("| DebugBundle")?.split_once(" | "));
    let rows: Vec<_> = rows.map(|(name, rest)| (format!("DebugBundle{name}"), rest.split(' ').next())).collect();
    assert_eq!(named, sections);
    let severities = alerts(&rules).map(|alert| Some(text(alert, "/labels/severity")));
    assert_eq!(named.iter().cloned().zip(severities).collect::<Vec<_>>(), rows);
    for section in runbooks.split("\n## ").skip(1) {
        for part in ["**Means:**", "**Run", "\n    kubectl ", "**Do:**"] {
            assert!(section.contains(part), "{part} is not in {section}");
        }
    }
}

#[tokio::test]
async fn promtool_accepts_the_alerts_and_their_tests_pass() {
    let rules = file("deploy/monitoring/rules.yaml");
    let said = promtool(["check", "rules", "--lint=all", "--lint-fatal", &rules.display().to_string()], "").await;
    assert!(said.as_ref().is_ok_and(|said| said.contains("7 rules found")), "{said:?}");
    let tests = file("deploy/monitoring/rules.test.yaml");
    let said =
        promtool(["test", "rules", &tests.display().to_string()], "").await.unwrap_or_else(|said| panic!("{said}"));
    println!("{said}");
    let tested = read("deploy/monitoring/rules.test.yaml");
    let rules: Value = serde_saphyr::from_str(&read("deploy/monitoring/rules.yaml")).expect("YAML");
    for alert in alerts(&rules) {
        assert!(
            tested.contains(&format!("#{}", text(alert, "/alert").to_lowercase())),
            "{alert} never fires in a test"
        );
    }
}

/// The labels that an aggregation keeps, in their order, without the one of a histogram's buckets.
fn kept(expression: &str) -> Option<BTreeSet<&str>> {
    let (_, rest) = expression.split_once(" by (")?;
    Some(rest.split_once(')')?.0.split(", ").filter(|label| *label != "le").collect())
}

#[tokio::test]
async fn a_prometheus_that_scrapes_the_operator_answers_each_query_and_fires_with_commands_that_work() {
    with_namespace("prometheus", |context| async move {
        let values = json!({"prometheusRule": {"create": true}, "grafanaDashboard": {"create": true}});
        let objects = rendered(values).await;
        let rules = &of_kind(&objects, "PrometheusRule").next().expect("the alerts")["spec"];
        let address = free_address();
        let _operator = Operator::of(&context).automatic().args(["--http-address", &address.to_string()]).ready().await;
        let prometheus = Prometheus::of(&context, address, NAMESPACE, rules).await;

        // An automatic bundle that is stored and lacks the log; a request that has no place; one that waits for its store.
        server_pod(&context, LogScript::lines(["level=info msg=\"password=correct-horse-battery\""])).await;
        context.create_velero(restore("r1").in_progress().started(Timestamp::now())).await;
        let results = br#"{"errors":{"namespaces":{"shop":["exceeded quota: no room for shop-0"]}},"warnings":{}}"#;
        context.bucket.put_gzipped(&format!("{PREFIX}/restores/r1/restore-r1-results.gz"), results).await;
        context.end_velero("Restore", "r1", "PartiallyFailed").await;
        context.debug_bundle("nowhere", json!({"storageLocation": "not-there"})).await;
        let away = context.location("away", "away").config("s3Url", "http://127.0.0.1:1").phase("Available");
        context.create_velero(away).await;
        context.debug_bundle("waits", json!({"storageLocation": "away"})).await;

        let firing = async |alert: &str| {
            let wanted = format!("ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"}}");
            let found = until(LIMIT, &wanted, || async {
                let found = prometheus.query(&wanted).await?;
                found.into_iter().next().ok_or_else(|| "no sample".to_owned())
            });
            found.await["metric"].clone()
        };
        let automatic = firing("DebugBundleAutomatic").await;
        println!("{automatic}");
        assert_eq!((&automatic["trigger"], &automatic["cause"]), (&json!("PartiallyFailed"), &json!("results-error")));
        let not_stored = firing("DebugBundleNotStored").await;
        println!("{not_stored}");
        assert_eq!((&not_stored["trigger"], &not_stored["result"]), (&json!("Request"), &json!("LocationNotFound")));
        until(LIMIT, "a try to send a bundle failed", || async {
            let retries = prometheus.query("debugbundle_upload_retries_total").await?;
            if retries.is_empty() { Err("no sample".to_owned()) } else { Ok(()) }
        })
        .await;

        for alert in alerts(rules) {
            let found = prometheus.query(text(alert, "/expr")).await;
            let found = found.unwrap_or_else(|error| panic!("{alert}: {error}"));
            println!("{}: {} samples", text(alert, "/alert"), found.len());
        }
        let dashboard = &of_kind(&objects, "ConfigMap").next().expect("the dashboard")["data"]["debugbundle.json"];
        let dashboard: Value = serde_json::from_str(dashboard.as_str().expect("text")).expect("JSON");
        let panels = dashboard["panels"].as_array().expect("panels");
        let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
        for target in targets {
            let expression = text(target, "/expr").replace("$namespace", NAMESPACE).replace("$__rate_interval", "1m");
            let found = prometheus.query(&expression).await.unwrap_or_else(|error| panic!("{expression}: {error}"));
            println!("{expression}: {} samples", found.len());
            let labels =
                |sample: &Value| sample["metric"].as_object().expect("labels").keys().cloned().collect::<BTreeSet<_>>();
            let kept = kept(&expression).unwrap_or_default();
            let expected =
                |sample: &Value| kept.is_empty() || labels(sample).iter().map(String::as_str).eq(kept.iter().copied());
            assert!(!found.is_empty() && found.iter().all(expected), "{expression}: {found:?}");
        }

        let bundles = context.api::<debugbundle_crd::DebugBundle>().list(&ListParams::default()).await.expect("a list");
        let made = bundles.items.iter().map(ResourceExt::name_any).find(|name| name.starts_with("restore-r1-"));
        let made = made.expect("the automatic one");
        for alert in alerts(rules) {
            let command = text(alert, "/annotations/description").lines().last().expect("a command");
            let command =
                command.replace(NAMESPACE, &context.namespace).replace("{{ $labels.trigger }}", "PartiallyFailed");
            let command = command.replace("{{ $labels.result }}", "LocationNotFound");
            let command = command.replace("{{ $labels.reason }}", "QuotaExceeded");
            // As a shell reads it.
            let words = command.strip_prefix("kubectl ").expect("kubectl").replace('\'', "");
            let done = context.stand.kubectl(words.split(' ')).await;
            let said = String::from_utf8_lossy(&done.stdout);
            assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
            match text(alert, "/alert") {
                "DebugBundleAutomatic" => {
                    assert!(said.contains(&made) && !said.contains("nowhere"), "{command}: {said}");
                }
                "DebugBundleNotStored" => {
                    assert!(said.contains("nowhere") && !said.contains(&made), "{command}: {said}");
                }
                "DebugBundleUploadRetried" => assert!(said.contains("connection"), "{command}: {said}"),
                _ => {}
            }
        }
    })
    .await;
}
