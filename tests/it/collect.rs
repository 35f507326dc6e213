//! Inventory, plan and collection on real servers: the content of each entry, and the report on each missing item.

use debugbundle_crd::{DebugBundleSpec, TargetKind};
use debugbundle_format::{
    StoreFile,
    manifest::{MissingCode, MissingSeverity},
};
use futures::StreamExt as _;
use harness::{
    LogScript, pod,
    velero_objects::{backup, pod_volume_backup, pod_volume_restore},
    with_namespace,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, ServiceAccount},
};
use serde_json::{Value, json};

use crate::support::{
    collection::{CollectionRun, Files, a_restore, about_the_restore, log_path},
    workloads::{workload, workload_pod},
};

#[tokio::test]
async fn all_that_velero_debug_collects_is_there_and_more() {
    with_namespace("parity", |context| async move {
        let restore = a_restore(&context, "PartiallyFailed").await;
        let shop = context.workload_namespace("shop").await;
        let node = context.node("n").await;
        context
            .pod(
                pod("velero-1")
                    .on_node(&node)
                    .labelled("deploy", "velero")
                    .with_init("plugin")
                    .with_container("velero")
                    .restarted(1)
                    .with_ephemeral("vet"),
            )
            .await;
        context.pod(pod("bystander").on_node(&node).with_container("a").with_container("b")).await;
        context.log(
            "velero-1",
            "velero",
            LogScript::lines([
                "one",
                "error restore=regrow",
                "GET https://s3/b/k?X-Amz-Signature=0a1b2c3d4e5f60718293",
            ]),
        );
        context.previous_log("velero-1", "velero", LogScript::lines(["panic: out of luck"]));
        for (pod, container) in [("velero-1", "plugin"), ("velero-1", "vet"), ("bystander", "a"), ("bystander", "b")] {
            context.log(pod, container, LogScript::lines([format!("I am {container}")]));
        }
        context.pod_in(&shop, pod("shop-0").on_node(&node).with_container("app").with_volume("data")).await;
        let data = pod_volume_restore("regrow-x1").of(&restore).of_pod(&shop, "shop-0").from_namespace(&shop);
        context.create_velero(data.without_progress()).await;
        let files = Files::default()
            .with(TargetKind::Restore, StoreFile::Log, b"time=now level=error msg=\"no room\"\n")
            .with(
                TargetKind::Restore,
                StoreFile::Results,
                br#"{"errors":{"namespaces":{"shop":["no room"]}},"warnings":{}}"#,
            )
            .with(TargetKind::Restore, StoreFile::ItemOperations, b"[]\n")
            .with(TargetKind::Restore, StoreFile::VolumeInfo, b"[]\n")
            .with(TargetKind::Restore, StoreFile::ResourceList, b"{}\n")
            .with(TargetKind::Backup, StoreFile::Log, b"backup log\n")
            .with(TargetKind::Backup, StoreFile::Results, b"not json");
        let got = CollectionRun { files, ..CollectionRun::default() }.of(&context, &about_the_restore()).await;
        got.is_complete();

        let space = &context.namespace;
        assert_eq!(got.names_in(space, "velero.io/restores"), ["regrow"]);
        assert_eq!(got.names_in(space, "velero.io/backups"), ["seed"]);
        assert_eq!(got.names_in(space, "velero.io/podvolumerestores"), ["regrow-x1"]);
        assert_eq!(got.names_in(space, "velero.io/backupstoragelocations"), ["default"]);
        assert_eq!(got.names_in(space, "core/pods"), ["velero-1", "bystander"]);
        assert_eq!(got.names_in(space, "apps/deployments"), ["velero"]);
        assert_eq!(got.names_in(&shop, "core/pods"), ["shop-0"]);
        assert_eq!(got.names("cluster-scoped-resources/core/nodes.yaml"), std::slice::from_ref(&node));
        let empty = format!("namespaces/{space}/velero.io/datauploads.yaml");
        assert!(got.collected.empty.contains(&empty), "v2alpha1 was asked for: {:?}", got.collected.empty);
        let pods = got.yaml(&format!("namespaces/{space}/core/pods.yaml"));
        assert!(pods["items"].as_array().unwrap().iter().all(|pod| pod["kind"] == "Pod" && pod["apiVersion"] == "v1"));
        assert!(pods["items"][0]["metadata"]["managedFields"].is_null());
        assert_eq!(got.yaml(&format!("namespaces/{space}/{space}.yaml"))["kind"], "Namespace");
        let crd = "cluster-scoped-resources/apiextensions.k8s.io/customresourcedefinitions/restores.velero.io.yaml";
        assert_eq!(got.yaml(crd)["spec"]["names"]["kind"], "Restore");
        assert!(got.yaml("aggregated-discovery-apis.yaml")["items"].as_array().unwrap().len() > 5);

        let server = got.text(&log_path(&context, "velero-1", "velero", "current.log"));
        assert!(server.contains("Z one\n") && server.contains("restore=regrow"), "{server}");
        assert!(!server.contains("0a1b2c3d4e5f60718293"), "{server}");
        assert!(got.text(&log_path(&context, "velero-1", "velero", "previous.log")).contains("out of luck"));
        for (pod, container) in [("velero-1", "plugin"), ("velero-1", "vet"), ("bystander", "a"), ("bystander", "b")] {
            let text = got.text(&log_path(&context, pod, container, "current.log"));
            assert!(text.ends_with(&format!("I am {container}\n")), "{text}");
        }

        assert!(got.text("velero/restores/regrow/restore.log").contains("no room"));
        assert!(!got.has("velero/restores/regrow/restore.from-server.log"), "the store has the log");
        assert_eq!(got.text("velero/backups/seed/backup.log"), "backup log\n");
        let broken = got.missing("velero/backups/seed/results.json");
        assert_eq!((broken.code, broken.severity), (MissingCode::Corrupt, MissingSeverity::Error));
        assert_eq!(got.text("velero/backups/seed/results.json.partial"), "not json");
        assert_eq!(got.missing("velero/backups/seed/volumeinfo.json").code, MissingCode::NotFound);

        assert_eq!(got.text("version").lines().next(), Some("debugbundle"));
        assert_eq!(got.text("timestamp").lines().count(), 2);
        let versions: Value = serde_json::from_str(&got.text("velero/version.json")).unwrap();
        assert_eq!(versions["server"]["version"], "v1.18.3");
        assert!(versions["kubernetes"]["gitVersion"].is_string());

        let evidence = &got.collected.evidence;
        assert_eq!(evidence.results.as_ref().unwrap().errors.texts, ["no room"]);
        assert_eq!(evidence.target.as_ref().unwrap()["metadata"]["name"], "regrow");
        assert_eq!(evidence.of_kind("PodVolumeRestore").count(), 1);
        assert_eq!(got.snapshot.namespaces.involved[0].name, "shop-0");
    })
    .await;
}

#[tokio::test]
async fn a_restore_that_runs_has_its_lines_of_the_servers_log() {
    with_namespace("running", |context| async move {
        a_restore(&context, "InProgress").await;
        let node = context.node("n").await;
        context.pod(pod("velero-1").on_node(&node).labelled("deploy", "velero").with_container("velero")).await;
        let space = context.namespace.clone();
        let lines = [
            "msg=\"Starting Velero server v1.18.9 (abc123)\"".to_owned(),
            format!("msg=mine restore={space}/regrow"),
            "msg=other restore=elsewhere".to_owned(),
            "msg=mine restore=regrow".to_owned(),
        ];
        context.log("velero-1", "velero", LogScript::lines(lines));
        let got = CollectionRun::default().of(&context, &about_the_restore()).await;
        got.is_complete();
        let text = got.text("velero/restores/regrow/restore.from-server.log");
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().all(|line| line.contains("msg=mine")));
        let log = got.missing("velero/restores/regrow/restore.log");
        assert_eq!((log.code, log.severity), (MissingCode::NeverWritten, MissingSeverity::Note));
        let versions: Value = serde_json::from_str(&got.text("velero/version.json")).unwrap();
        assert_eq!(
            (&versions["server"]["version"], &versions["server"]["commit"]),
            (&json!("v1.18.9"), &json!("abc123"))
        );
    })
    .await;
}

#[tokio::test]
async fn sec_b3_a_thousand_objects_come_in_pages_and_all_of_them() {
    with_namespace("pages", |context| async move {
        let made: Vec<_> = futures::stream::iter(0..1100)
            .map(|n| context.create_velero(backup(&format!("b{n:04}"))))
            .buffer_unordered(16)
            .collect()
            .await;
        let got = CollectionRun::default().of(&context, &DebugBundleSpec::installation()).await;
        let path = format!("namespaces/{}/velero.io/backups.yaml", context.namespace);
        let names = got.names(&path);
        assert_eq!(names.len(), made.len());
        assert!(names.is_sorted());
        assert_eq!(got.entry(&path).source.items, Some(1100));
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_is_gone_or_too_large_is_reported_and_the_applied_configuration_is_left_out() {
    with_namespace("large", |context| async move {
        let shop = context.workload_namespace("shop").await;
        let target = context.create_velero(backup("harvest").of_namespaces([&shop]).completed()).await;
        context.create_velero(pod_volume_backup("pvb-1").of(&target).of_pod(&shop, "pod-0").failed()).await;
        let applied = json!({"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "yes"});
        let mut embedded = workload("embedded", None);
        embedded["spec"]["template"]["metadata"]["annotations"] = applied.clone();
        embedded["metadata"]["annotations"] = applied;
        context.create_in::<Deployment>(&context.namespace, embedded).await;
        let mut large = workload_pod("large").owned_by("apps/v1", "DaemonSet", "x").ready().manifest();
        large["spec"].as_object_mut().unwrap().remove("nodeName");
        large["spec"]["containers"][0]["env"] = json!([{"name": "LONG", "value": "\"".repeat(1_300_000)}]);
        context.create_in::<ServiceAccount>(&context.namespace, json!({"metadata": {"name": "sa-large"}})).await;
        context.create_in::<Pod>(&context.namespace, large).await;
        context.pod(pod("small")).await;

        let got = CollectionRun::default().of(&context, &DebugBundleSpec::about(TargetKind::Backup, "harvest")).await;
        got.is_complete();
        let gone = got.missing(&format!("namespaces/{shop}/core/pods/pod-0"));
        assert_eq!((gone.code, gone.severity), (MissingCode::Gone, MissingSeverity::Note));
        let space = &context.namespace;
        assert_eq!(got.names_in(space, "core/pods"), ["small"]);
        let large = got.missing(&format!("namespaces/{space}/core/pods/large"));
        assert_eq!((large.code, large.severity), (MissingCode::TooLarge, MissingSeverity::Error));
        let deployments = got.text(&format!("namespaces/{space}/apps/deployments.yaml"));
        assert!(deployments.contains("kept: \"yes\"") && !deployments.contains("last-applied"), "{deployments}");
        assert!(!deployments.contains("managedFields"));
    })
    .await;
}
