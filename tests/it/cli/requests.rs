//! `create`, `list`, `get` and completion: their requests to the API server and their output.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use debugbundle_crd::DebugBundle;
use harness::{Operator, with_namespace};
use kube::api::ListParams;
use serde_json::Value;
use tokio::process::Command;

use crate::support::bundles::until_nothing_is_stored;
use crate::support::user::{User, a_restore, finish, kubectl, patch_status, stored};
use harness::context::PREFIX;
use harness::operator::program;
use serde_json::json;

#[tokio::test]
async fn creating_and_waiting_ends_with_what_became_of_the_bundle() {
    with_namespace("cli-create", |context| async move {
        a_restore(&context).await;
        let _operator = Operator::of(&context).ready().await;
        let user = User::of(&context);

        let done = user.line("create --restore regrow --name whole --wait --wait-timeout 2m").await;
        assert_eq!(done.code, 0, "{done:?}");
        assert!(
            done.out.starts_with("debugbundle.debugbundle.io/whole created\nPhase:            Completed"),
            "{done:?}"
        );
        assert!(done.out.contains("Cause:            exceeded quota: no room for shop-0\n"), "{done:?}");
        assert!(done.out.contains(&format!("kubectl debugbundle -n {} cat whole summary.md\n", context.namespace)));
        assert!(!done.out.contains("Missing:"), "{done:?}");
        let steps: Vec<_> = done.err.lines().collect();
        assert!(steps.iter().any(|step| step.starts_with("Collecting")), "the steps, a line each: {done:?}");
        let uploading: Vec<_> = steps.iter().filter(|step| step.starts_with("Uploading")).collect();
        let of_upload = ["Uploading", "Uploading: sending", "Uploading: verifying"];
        assert!(uploading.iter().all(|step| of_upload.contains(step)), "not those of the collection: {done:?}");
        assert_eq!(steps.last(), Some(&"Completed"), "{done:?}");
        assert!(!done.err.contains(['\r', '\u{1b}']), "no bar where there is no terminal: {done:?}");

        context.bucket.delete(&format!("{PREFIX}/restores/regrow/restore-regrow-logs.gz")).await;
        let partly = user.line("create --restore regrow --name partly --wait --wait-timeout 2m").await;
        assert_eq!(partly.code, 3, "{partly:?}");
        assert!(partly.out.contains("\nPhase:            PartiallyFailed: "), "{partly:?}");
        assert!(partly.out.contains("Missing:          1 item; why: kubectl debugbundle "), "{partly:?}");

        let failed = user.line("create --restore regrow --storage-location nowhere --wait --wait-timeout 2m").await;
        assert_eq!(failed.code, 1, "{failed:?}");
        assert!(failed.out.contains("\nPhase:            Failed: ") && failed.out.contains("nowhere"), "{failed:?}");
        assert!(failed.out.starts_with("debugbundle.debugbundle.io/restore-regrow-"), "a name was made: {failed:?}");

        let nobody = user.line("create --restore nobody --wait --wait-timeout 2m").await;
        assert_eq!((nobody.code, nobody.out.as_str()), (4, ""), "nothing was created: {nobody:?}");
        assert!(nobody.err.starts_with("error: there is no Restore nobody in namespace cli-create-"), "{nobody:?}");

        let again = user.line("create --restore regrow --name whole").await;
        assert_eq!((again.code, again.out.as_str()), (1, ""), "{again:?}");
        assert!(again.err.contains("already exists"), "{again:?}");
    })
    .await;
}

#[tokio::test]
async fn waiting_without_an_operator_says_so_and_ends_in_time() {
    with_namespace("cli-alone", |context| async move {
        a_restore(&context).await;
        let user = User::of(&context);
        let ran = user.line("create --restore regrow --name lonely --wait --wait-timeout 22s").await;
        assert_eq!(ran.code, 5, "{ran:?}");
        assert!(ran.err.contains("no operator has picked it up yet"), "{ran:?}");
        assert!(ran.err.contains("lonely is New after 22s"), "{ran:?}");
        let bundles = context.api::<DebugBundle>().list(&ListParams::default()).await.unwrap();
        assert_eq!(bundles.items.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn on_a_terminal_waiting_shows_a_bar() {
    with_namespace("cli-bar", |context| async move {
        a_restore(&context).await;
        let _operator = Operator::of(&context).ready().await;
        let user = User::of(&context);
        let program = program("kubectl-debugbundle").await;
        let line = format!("{} create --restore regrow --name seen --wait", program.display());
        let mut command = Command::new("script");
        command.args(["-qefc", &line, "/dev/null"]).env("VELERO_NAMESPACE", &context.namespace).env("TERM", "xterm");
        user.at_home(&mut command);
        let child = command.spawn().expect("script can be run");
        let ran = finish(child, &command).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.contains('\r') && ran.out.contains('\u{1b}'), "it is drawn over: {ran:?}");
        assert!(ran.out.contains("Collecting") && ran.out.contains(" ["), "{ran:?}");
        assert!(!ran.out.contains("New [="), "nothing is done yet: {ran:?}");
        assert!(ran.out.contains("Phase:            Completed"), "{ran:?}");
    })
    .await;
}

#[tokio::test]
async fn the_list_and_the_story_say_what_happened_and_hide_the_url() {
    with_namespace("cli-get", |context| async move {
        let user = User::of(&context);
        let empty = user.line("list").await;
        assert_eq!((empty.code, empty.out.as_str()), (0, ""));
        assert!(empty.err.starts_with("No DebugBundles found in namespace cli-get-"), "{empty:?}");

        let (_operator, bundle) = stored(&context, "why", "OnCompletion").await;
        let url = bundle.status.as_ref().unwrap().download_url.clone().expect("a URL");
        let secret = url.split("X-Amz-Signature=").nth(1).unwrap().split('&').next().unwrap().to_owned();

        let list = user.line("list").await;
        assert!(list.out.starts_with("NAME   KIND      TARGET   TRIGGER   PHASE"), "{list:?}");
        assert!(list.out.lines().nth(1).unwrap().starts_with("why    Restore   regrow   Request   Completed"), "{list:?}");
        assert!(list.out.contains("exceeded quota: no room for shop-0"), "{list:?}");
        let wide = user.line("list -o wide").await;
        assert!(wide.out.contains("LOCATION") && wide.out.contains("default"), "{wide:?}");
        assert_eq!(user.line("list -o name --restore regrow").await.out, "debugbundle.debugbundle.io/why\n");
        assert_eq!(user.line("list -o name --backup regrow").await.out, "");

        assert_eq!(user.line("get --restore regrow -o json").await.out, user.line("get why -o json").await.out);
        assert_eq!(user.line("get --backup regrow").await.code, 4, "there is none");
        let story = user.line("get why").await;
        for part in [
            "Target:           Restore regrow\n",
            "Phase:            Completed: ",
            "Cause:            exceeded quota: no room for shop-0\n",
            "Missing:          nothing\n",
            "Confidence:       certain: each step to the cause was read\n",
            "\nFindings:\n  [error] the cause (results-error)\n",
            &format!("\nNext:\n  kubectl debugbundle -n {} cat why summary.md\n", context.namespace),
        ] {
            assert!(story.out.contains(part), "{part:?} is not in {}", story.out);
        }
        for line in ["get why", "get why -o json", "get why -o yaml", "list -o json", "list -o yaml", "list -o wide"] {
            let told = user.line(line).await;
            assert_eq!(told.code, 0, "{told:?}");
            assert!(!told.out.contains(&secret) && !told.err.contains(&secret), "{line}");
        }
        let shown: Value = serde_json::from_str(&user.line("get why -o json --url").await.out).unwrap();
        assert_eq!(shown["status"]["downloadURL"], url.as_str());

        patch_status(&context, "why", json!({"missing": 2, "conditions": [{"type": "Ready", "status": "True",
            "reason": "PartiallyCollected", "message": "stored; 2 items are missing", "lastTransitionTime": "2026-09-08T03:04:31Z"}]}))
        .await;
        let story = user.line("get why").await;
        let cure = format!("Missing:          2 items; why: kubectl debugbundle -n {} cat why --list\n", context.namespace);
        assert!(story.out.contains(&cure), "{story:?}");

        let nobody = user.line("get nobody").await;
        assert_eq!((nobody.code, nobody.out.as_str()), (4, ""), "{nobody:?}");

        let deleted = user.line("delete nobody why").await;
        assert_eq!(deleted.code, 4, "{deleted:?}");
        let object = &bundle.status.as_ref().and_then(|status| status.bundle.as_ref()).expect("it is stored").key;
        assert!(deleted.out.starts_with("debugbundle.debugbundle.io/why deleted; the operator deletes"), "{deleted:?}");
        assert!(deleted.out.contains(object.as_str()), "{deleted:?}");
        until_nothing_is_stored(&context).await;
    })
    .await;
}

#[tokio::test]
async fn kubectl_runs_it_as_a_plugin_and_completes_its_words() {
    with_namespace("cli-plugin", |context| async move {
        let user = User::of(&context);
        context.debug_bundle("night-owl", json!({})).await;
        context.debug_bundle("early-bird", json!({})).await;
        let space = context.namespace.as_str();

        let list = kubectl(&user, &["debugbundle", "list", "-n", space, "-o", "name"], &[]).await;
        assert_eq!(list.code, 0, "{list:?}");
        assert!(list.out.contains("debugbundle.debugbundle.io/night-owl\n"), "{list:?}");
        let usage = kubectl(&user, &["debugbundle", "get"], &[]).await;
        assert_eq!(usage.code, 2, "the exit code is the plugin's: {usage:?}");
        let found = kubectl(&user, &["plugin", "list"], &[]).await;
        assert!(found.out.contains("kubectl-debugbundle"), "{found:?}");

        let scripts = context.folder("bin");
        let answers = scripts.join("kubectl_complete-debugbundle");
        std::fs::write(&answers, user.line("completion kubectl").await.out).unwrap();
        std::fs::set_permissions(&answers, PermissionsExt::from_mode(0o755)).unwrap();
        for (words, expected) in [
            (vec!["debugbundle", "get", "-n", space, "night"], "night-owl\n:4\n"),
            (vec!["debugbundle", "dow"], "download\n:4\n"),
            (vec!["debugbundle", "create", "--url-policy", "N"], "Never\n:4\n"),
        ] {
            let asked = [vec!["__complete"], words].concat();
            let answer = kubectl(&user, &asked, &[&scripts]).await;
            assert_eq!((answer.code, answer.out.as_str()), (0, expected), "{asked:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn completion_scripts_are_what_their_shells_can_read() {
    with_namespace("cli-complete", |context| async move {
        let user = User::of(&context);
        for (shell, interpreter) in [("bash", Some("bash")), ("kubectl", Some("sh")), ("zsh", None), ("fish", None)] {
            let script = user.line(&format!("completion {shell}")).await;
            assert_eq!((script.code, script.err.as_str()), (0, ""));
            assert!(script.out.contains("debugbundle"), "{shell}");
            let Some(interpreter) = interpreter else { continue };
            let file = user.path(shell);
            std::fs::write(&file, &script.out).unwrap();
            let parsed = Command::new(interpreter).arg("-n").arg(&file).stdin(Stdio::null()).output().await.unwrap();
            assert!(parsed.status.success() && parsed.stderr.is_empty(), "{shell}: {parsed:?}");
        }
        let file = user.path("bash");
        let ask = format!(
            "source {} && COMP_WORDS=(kubectl-debugbundle create --url-policy '') COMP_CWORD=3 && \
             $(complete -p kubectl-debugbundle | sed 's/.*-F \\([^ ]*\\).*/\\1/') kubectl-debugbundle '' --url-policy && \
             echo ${{COMPREPLY[@]}}",
            file.display()
        );
        let answer = Command::new("bash").args(["-c", &ask]).stdin(Stdio::null()).output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "OnCompletion OnRequest Never", "{answer:?}");
    })
    .await;
}
