//! What an on-call gets: the chart's ServiceMonitor, alerts and dashboard.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::support::chart::{NAMESPACE, of_kind, render, rendered, text};

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
