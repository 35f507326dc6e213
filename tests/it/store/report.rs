//! `velero/locations/<name>.json`: the report on working locations and their content.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use harness::silent_server::SilentServer;
use harness::{
    Operator,
    s3_proxy::{Certificate, S3Proxy},
    with_namespace,
};
use serde_json::{Value, json};

use crate::support::store::ended;

fn verdict<'a>(report: &'a Value, step: &str) -> &'a Value {
    report["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .find(|verdict| verdict["step"] == step)
        .expect("each step is told")
}

#[tokio::test]
async fn a_bundle_of_the_installation_tells_of_every_location() {
    with_namespace("locations", |context| async move {
        let certificate = Certificate::of(&["127.0.0.1"]);
        let proxy = S3Proxy::with_tls(&context.stand.s3.endpoint(), &certificate).await;
        let tls = context.location("tls", "team-a/nested").config("s3Url", proxy.endpoint()).read_only();
        context.create_velero(tls.merged(&json!({"objectStorage": {"caCert": STANDARD.encode(&certificate.authority)}}))).await;
        for key in ["team-a/backups/b/velero-backup.json", "team-a/lost+found/x", "team-a/loose-object"] {
            context.bucket.put(key, "{}").await;
        }
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("all", json!({})).await;
        let end = ended(&context, "all").await;
        assert!(end.stored(), "{end:?}");
        let unpacked = context.download(end.status()).await;

        let default = unpacked.yaml("velero/locations/default.json");
        assert_eq!((&default["usedFor"], &default["reachable"]), (&json!(["upload"]), &json!(true)), "{default:#}");
        for step in ["configuration", "credential", "dns", "connection", "tls", "answer", "clock", "identity", "bucket"] {
            assert_eq!(verdict(&default, step)["state"], "ok", "{step}: {default:#}");
        }
        assert_eq!(verdict(&default, "permission")["state"], "ok", "{default:#}");
        // Only the layout is wrong: the folder that is not Velero's would make the location Unavailable.
        assert_eq!(default["failedAt"], "layout");
        let folders = json!([{"name": "backups", "valid": true}, {"name": "lost+found", "valid": false}]);
        assert_eq!(default["folders"], folders);
        assert!(verdict(&default, "layout")["remedy"].is_string());
        assert_eq!(
            default["sharedWith"],
            json!([{"location": "tls", "prefix": "team-a/nested", "sameEndpoint": false, "overlaps": true}])
        );
        assert_eq!(
            default["secretNames"],
            json!([{"name": "cloud-credentials", "usedFor": "credential", "wantedKey": "cloud", "exists": true, "keyNames": ["cloud"]}])
        );
        assert_eq!(default["location"]["veleroPhase"], "Available");
        assert!(default["clockAheadSeconds"].as_i64().is_some_and(|seconds| seconds.abs() < 60), "{default:#}");

        let tls = unpacked.yaml("velero/locations/tls.json");
        assert_eq!((&tls["failedAt"], &tls["location"]["accessMode"]), (&Value::Null, &json!("ReadOnly")), "{tls:#}");
        assert_eq!(tls["tls"]["verified"], true);
        let shown = &tls["tls"]["certificate"];
        assert_eq!(shown["issuer"], "CN=stand-ca", "{tls:#}");
        assert!(tls["tls"]["daysLeft"].as_i64().is_some_and(|days| days > 0), "{tls:#}");
        // One bounded listing, and no write.
        let asked = proxy.seen();
        assert!(asked.iter().all(|seen| matches!(seen.method.as_str(), "GET" | "HEAD")), "{asked:?}");
        let listings: Vec<_> = asked.iter().filter(|seen| seen.query.contains("list-type=2")).collect();
        assert!(listings.len() == 1 && listings[0].query.contains("max-keys=1000"), "{listings:?}");
        assert!(listings[0].query.contains("delimiter=%2F"), "{listings:?}");
        assert_eq!(unpacked.find(&[&context.stand.s3.root().secret]), [""; 0]);
        drop(operator);
    })
    .await;
}

#[tokio::test]
async fn a_store_that_takes_connections_and_says_nothing_costs_bounded_time() {
    with_namespace("silent", |context| async move {
        let silent = SilentServer::start().await;
        context.create_velero(context.location("silent", "silent").config("s3Url", silent.url())).await;
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("b", json!({"storageLocation": "default"})).await;
        let end = ended(&context, "b").await;
        assert!(end.stored(), "{end:?}");
        let unpacked = context.download(end.status()).await;
        let report = unpacked.yaml("velero/locations/silent.json");
        assert_eq!((&report["failedAt"], &report["reachable"]), (&json!("answer"), &json!(false)), "{report:#}");
        assert_eq!(verdict(&report, "answer")["text"], "no answer within 10 s");
        assert_eq!(verdict(&report, "identity")["state"], "notReached");
        assert_eq!(unpacked.yaml("velero/locations/default.json")["failedAt"], Value::Null);
        assert!(unpacked.manifest["timings"]["collect"].as_u64().is_some_and(|ms| ms < 30_000));
        drop(operator);
    })
    .await;
}
