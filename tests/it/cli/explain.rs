//! `explain`: on a live cluster, without a bundle; `scenes` compares its line with the bundle's for each scene.

use std::process::Stdio;

use debugbundle_crd::DebugBundle;
use harness::bundle::unpack;
use harness::scene::Scene;
use harness::shipped::BoundRoles;
use harness::{Operator, Velero, with_namespace};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::bundles::{status, until_ended};
use crate::support::user::{User, finish};

/// The story behind this project, as a scene.
const STORY: &str = "restore-multi-attach";

fn scene(name: &str) -> Scene {
    Scene::all().into_iter().find(|scene| scene.name == name).expect("a scene")
}

/// The kinds of the objects from the target to the cause.
fn kinds(machine: &Value) -> Vec<&str> {
    let tree = machine["tree"].as_array().expect("a tree").iter();
    tree.map(|step| step["object"].as_str().expect("a name").split('/').next().unwrap_or_default()).collect()
}

#[tokio::test]
async fn issue_34_the_cause_is_on_the_screen_without_a_bundle_and_without_the_operator() {
    with_namespace("cli-explain", |context| async move {
        let loaded = scene(STORY).load(&context).await;
        let user = User::of(&context);
        let ran = user.line("explain --restore r1").await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
        let text = loaded.plain(&ran.out);
        let beginning = "Restore r1 is InProgress for … min: 12 of 12 items, 0 of 1 volumes\n\nCause (certain):\n  \
                         PodVolumeRestore r1-7xk2p waits for pod shop/db-0 (Init:0/1 for … min): its volume pv-1 is attached \
                         to node b, where pod shop/db-old still runs\n";
        assert!(text.starts_with(beginning), "{text}");
        for line in [
            "\n  Restore velero/r1 (InProgress for … min)\n  └─ PodVolumeRestore velero/r1-7xk2p: no bytes are moved yet\n     └─ Pod shop/db-0 \
             (Init:0/1 for … min)\n        └─ VolumeAttachment ",
            "\nLooked at: ",
            "create --restore r1\n",
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
        assert!(!text.contains("Not read:"), "{text}");
        let machine = user.line("explain --restore r1 -o json").await;
        let machine: Value = serde_json::from_str(&machine.out).expect("JSON");
        assert_eq!((&machine["phase"], &machine["confidence"]), (&json!("InProgress"), &json!("certain")), "{machine}");
        assert_eq!(kinds(&machine), ["Restore", "PodVolumeRestore", "Pod", "VolumeAttachment"], "{machine}");
        assert_eq!(machine["progress"]["volumes"], json!([0, 1]), "{machine}");

        let nobody = user.line("explain --backup nobody").await;
        assert_eq!((nobody.code, nobody.out.as_str()), (4, ""), "{nobody:?}");
        assert!(nobody.err.starts_with("error: there is no Backup nobody in namespace "), "{nobody:?}");
    })
    .await;
}

#[tokio::test]
async fn issue_34_volumes_that_the_backup_skipped_are_worth_knowing_and_no_cause() {
    with_namespace("cli-explain-skipped", |context| async move {
        let loaded = scene("well-restore-of-skipped-volumes").load(&context).await;
        let user = User::of(&context);
        let ran = user.line("explain --restore r1").await;
        let text = loaded.plain(&ran.out);
        assert!(ran.code == 0 && text.contains("No failure was found: "), "{ran:?}");
        let known = "\nWorth knowing:\n  Backup seed has no data of PersistentVolumeClaim shop/";
        assert!(text.contains(known) && !text.contains("Not read:"), "{text}");
        let machine = user.line("explain --restore r1 -o json").await;
        let machine: Value = serde_json::from_str(&machine.out).expect("JSON");
        let ids: Vec<_> = machine["findings"].as_array().expect("findings").iter().map(|one| &one["id"]).collect();
        assert_eq!(ids, ["volume-not-protected", "volume-excluded"], "{machine}");
        assert_eq!(machine["cause"], Value::Null, "{machine}");
    })
    .await;
}

#[tokio::test]
async fn issue_34_without_rights_explain_says_what_was_not_read_and_promises_nothing() {
    with_namespace("cli-explain-rights", |context| async move {
        scene(STORY).load(&context).await;
        let account = context.account_bound_to(BoundRoles::Base).await;
        let user = User::with(&context, "limited", &account.kubeconfig);
        let ran = user.line("explain --restore r1").await;
        assert!(ran.code == 0 && !ran.out.contains("Cause"), "{ran:?}");
        assert!(ran.out.contains("\nNo failure was found in what could be read.\n"), "{ran:?}");
        let pod = format!(
            "\nNot read:  Pod {}-shop/db-0 could not be read: the API server answered 403: ",
            context.namespace
        );
        assert!(ran.out.contains(&pod), "{ran:?}");
    })
    .await;
}

#[tokio::test]
async fn issue_34_the_cause_of_an_earlier_bundle_is_shown_when_its_objects_are_gone() {
    with_namespace("cli-explain-earlier", |context| async move {
        scene("backup-mover-out-of-memory").load(&context).await;
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("why", json!({"target": {"kind": "Backup", "name": "b1"}})).await;
        let cause = status(&until_ended(&context, "why").await).cause.expect("a cause");
        drop(operator);
        assert!(cause.contains("OOMKilled"), "{cause}");
        let user = User::of(&context);
        let same = user.line("explain --backup b1").await;
        assert!(
            same.out.contains(" by DebugBundle why (certain):\n") && same.out.contains("Now:  the same."),
            "{same:?}"
        );
        let pods = context.api::<Pod>();
        pods.delete("b1-m2c4d", &DeleteParams::default().grace_period(0)).await.unwrap();
        let gone = user.line("explain --backup b1").await;
        let beginning = cause.split('…').next().unwrap();
        assert!(gone.out.contains(beginning) && gone.out.contains("\nNow:\n"), "{gone:?}");
        let live = user.line("explain --backup b1 --live").await;
        assert!(!live.out.contains("OOMKilled") && !live.out.contains("DebugBundle why"), "{live:?}");
        assert!(!live.out.contains("(certain)"), "what the pod said is gone: {live:?}");
        // A bundle about an earlier Backup of this name is not shown.
        let backups = context.velero_api("Backup");
        let mut again = backups.get("b1").await.unwrap();
        backups.delete("b1", &DeleteParams::default()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        again.metadata.resource_version = None;
        again.metadata.uid = None;
        backups.create(&kube::api::PostParams::default(), &again).await.unwrap();
        let other = user.line("explain --backup b1").await;
        assert!(!other.out.contains("DebugBundle why"), "{other:?}");
        assert!(context.api::<DebugBundle>().get_opt("why").await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn issue_34_without_a_target_explain_names_the_part_of_velero_that_is_in_trouble() {
    with_namespace("cli-explain-part", |context| async move {
        let loaded = scene("installation-node-agent-not-ready").load(&context).await;
        let user = User::of(&context);
        let ran = user.line("explain").await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
        let text = loaded.plain(&ran.out);
        let beginning = "Velero in namespace velero: server 1 of 1 ready, node-agent 2 of 3 ready, 1 location available, \
                         no repository\n\nCause (certain):\n  DaemonSet node-agent is ready on 2 of 3 nodes: pod \
                         velero/node-agent-c5x2m (Running): container node-agent is in CrashLoopBackOff: ended with exit \
                         code 1: ";
        assert!(text.starts_with(beginning), "{text}");
        for line in [
            "\n  DaemonSet velero/node-agent (ready on 2 of 3 nodes)\n  └─ Pod velero/node-agent-c5x2m (Running): container ",
            "\nLooked at: BackupStorageLocation 1, DaemonSet 1, Deployment 1, Node 1, Pod 1\n",
            " create\n",
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
        let machine = user.line("explain -o json").await;
        let machine: Value = serde_json::from_str(&machine.out).expect("JSON");
        assert_eq!((&machine["target"], &machine["phase"]), (&Value::Null, &Value::Null), "{machine}");
        let parts = json!({"server": [1, 1], "nodeAgent": [2, 3], "locations": [1, 1], "repositories": [0, 0], "waiting": null});
        assert_eq!(machine["parts"], parts, "{machine}");
        assert_eq!(kinds(&machine), ["DaemonSet", "Pod"], "{machine}");
        let watched = user.line("explain --watch").await;
        assert!(watched.code == 2 && watched.err.contains("--restore"), "{watched:?}");

        let account = context.stand.service_account(&context.namespace, "stranger").await;
        let ran = User::with(&context, "stranger", &account.kubeconfig).line("explain").await;
        let beginning = "server not read, node-agent not read, locations not read, repositories not read\n\n\
                         No failure was found in what could be read.\n";
        assert!(ran.code == 0 && ran.out.contains(beginning), "{ran:?}");
    })
    .await;
}

#[tokio::test]
async fn issue_34_what_waits_for_a_server_that_is_not_ready_is_counted() {
    with_namespace("cli-explain-waits", |context| async move {
        let loaded = scene("installation-server-crash-loop").load(&context).await;
        let ran = User::of(&context).line("explain").await;
        let text = loaded.plain(&ran.out);
        let beginning = "Velero in namespace velero: server 0 of 1 ready, node-agent 1 of 1 ready, 1 location available, no \
                         repository, 2 Backups and 1 Restore wait\n\nCause (certain):\n  no pod of Velero's server is ready: \
                         pod velero/velero-7c9 (Running): ";
        assert!(text.starts_with(beginning), "{text}");
    })
    .await;
}

#[tokio::test]
async fn issue_34_of_a_well_installation_explain_and_a_bundle_say_what_was_counted() {
    with_namespace("cli-explain-well", |context| async move {
        let loaded = scene("well-installation").load(&context).await;
        let parts = "server 1 of 1 ready, node-agent 2 of 3 ready, 2 locations available, 2 repositories ready";
        let ran = User::of(&context).line("explain").await;
        let beginning = format!("Velero in namespace velero: {parts}\n\nNo failure was found.\n\nLooked at: ");
        assert!(loaded.plain(&ran.out).starts_with(&beginning), "{ran:?}");
        let _operator = Operator::of(&context).ready().await;
        let (_, bundle) = context.bundle("all", json!({"storageLocation": "default"})).await;
        let summary = bundle.file("summary.md");
        assert_eq!(summary.lines().next(), Some(format!("No failure was found: {parts}.").as_str()), "{summary}");
    })
    .await;
}

#[tokio::test]
async fn issue_34_watching_shows_progress_and_ends_with_the_restore() {
    with_namespace("cli-explain-watch", |context| async move {
        scene("well-restore-under-way").load(&context).await;
        let user = User::of(&context);
        let mut command = user.command(["explain", "--restore", "r1", "--watch"]).await;
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = lines.next_line().await.unwrap().expect("a line");
        assert!(first.starts_with("Restore r1 is InProgress"), "{first}");
        let progress = json!({"status": {"progress": {"itemsRestored": 21, "totalItems": 21}}});
        context.patch_velero("Restore", "r1", progress).await;
        let next = lines.next_line().await.unwrap().expect("a line");
        assert!(next.contains("21 of 21 items"), "{next}");
        context.end_velero("Restore", "r1", "Completed").await;
        let mut rest = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            rest += &line;
            rest.push('\n');
        }
        assert!(
            rest.contains("Restore r1 is Completed\n\nNo failure was found: 0 of 1 pods run, 1 claim is bound."),
            "{rest}"
        );
        let ran = finish(child, &command).await;
        assert_eq!(ran.code, 0, "{ran:?}");
    })
    .await;
}

/// All controllers of Velero except the one that answers download requests: a scene must stay as it is.
const ONLY_DOWNLOADS: &str = "--disable-controllers=backup,backup-operations,backup-deletion,backup-finalizer,backup-sync,\
    backup-queue,schedule,gc,restore,restore-operations,restore-finalizer,backup-repo,server-status-request";

#[tokio::test]
async fn issue_36_a_bundle_of_velero_debug_is_explained_and_what_it_lacks_is_said() {
    with_namespace("cli-explain-file", |context| async move {
        let velero = Velero::of(&context).flag(ONLY_DOWNLOADS).start().await;
        scene("restore-quota").load(&context).await;
        let user = User::of(&context);
        let file = user.path("ticket.tar.gz").to_string_lossy().into_owned();
        velero.cli(["debug", "--restore", "r1", "--output", &file]).await;
        let ran = user.line("explain ticket.tar.gz").await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
        assert!(ran.out.starts_with("ticket.tar.gz, a bundle of velero debug, of 20"), "{ran:?}");
        let cause = "\nCause (likely):\n  error restoring configmaps/";
        assert!(ran.out.contains(cause) && ran.out.contains("exceeded quota: tight"), "{ran:?}");
        let lacks =
            format!("\nNot read:  ResourceQuota objects of namespace {}-shop: not in the file\n", context.namespace);
        assert!(ran.out.contains(&lacks) && !ran.out.contains("Keep the evidence"), "{ran:?}");

        let page = user.line("explain ticket.tar.gz --report why.html").await;
        let written = std::fs::read_to_string(user.path("why.html")).expect("the page");
        assert!(page.code == 0 && written.contains("exceeded quota"), "{page:?}");
        let again = user.line("explain ticket.tar.gz --report why.html").await;
        assert!(again.code == 1 && again.err.contains("cannot write why.html: "), "{again:?}");
        let other = user.line("explain ticket.tar.gz --restore r2").await;
        assert!(
            other.code == 4 && other.err.ends_with("ticket.tar.gz contains no Restore r2; it contains: r1\n"),
            "{other:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn issue_36_a_tree_of_oc_adm_inspect_is_explained_and_its_secrets_are_not_shown() {
    with_namespace("cli-explain-tree", |context| async move {
        let loaded = scene(STORY).load(&context).await;
        let user = User::of(&context);
        let live = user.line("explain --restore r1 -o json").await;
        let live: Value = serde_json::from_str(&live.out).expect("JSON");
        let ran = user.line("collect --restore r1 -o why.tar.gz").await;
        assert!(matches!(ran.code, 0 | 3), "{ran:?}");
        let (_, files) = unpack(&std::fs::read(user.path("why.tar.gz")).expect("the bundle"));
        for (path, body) in files {
            if path.starts_with("namespaces/") || path.starts_with("cluster-scoped-resources/") {
                let file = user.path("tree/quay-io-image").join(path);
                std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
                std::fs::write(file, body).expect("written");
            }
        }
        let ran = user.line("explain tree --restore r1 -o json").await;
        let said: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        let plain = |said: &Value| loaded.plain(said["cause"].as_str().expect("a cause"));
        assert_eq!(plain(&said), plain(&live));

        // A tree that nobody redacted: what a maintainer gets.
        let velero = &context.namespace;
        let folder = user.path("hostile/namespaces").join(velero).join("velero.io");
        std::fs::create_dir_all(&folder).expect("made");
        let restore = json!({"apiVersion": "velero.io/v1", "kind": "RestoreList", "items": [{
            "metadata": {"name": "r1", "namespace": velero},
            "spec": {"backupName": "b1"},
            "status": {"phase": "Failed", "failureReason": "login with password=hunter2-x7-secret \u{1b}[31m failed"},
        }]});
        std::fs::write(folder.join("restores.yaml"), restore.to_string()).expect("written");
        std::fs::write(folder.join("backups.yaml"), "a: &a [1]\nb: [*a, *a]\n- not yaml").expect("written");
        std::os::unix::fs::symlink("/etc", folder.join("etc")).expect("a link");
        let ran = user.line("explain hostile --restore r1").await;
        assert!(ran.code == 0 && ran.out.contains("password=[REDACTED:"), "{ran:?}");
        assert!(!ran.out.contains("hunter2") && !ran.out.contains('\u{1b}'), "{ran:?}");
        assert!(ran.out.contains("velero.io/backups.yaml could not be read: it is neither JSON nor YAML"), "{ran:?}");

        let nothing = user.line("explain nothing.tar.gz").await;
        assert!(nothing.code == 4 && nothing.err == "error: nothing.tar.gz not found\n", "{nothing:?}");
        std::fs::create_dir(user.path("empty")).expect("made");
        let unknown = user.line("explain empty").await;
        assert!(
            unknown.code == 1 && unknown.err.starts_with("error: empty is none of: a debug bundle, "),
            "{unknown:?}"
        );
        let mixed = user.line("explain tree --restore r1 --watch").await;
        assert_eq!(mixed.code, 2, "{mixed:?}");
    })
    .await;
}
