//! `delete`: deletes DebugBundles, and says what happens to their stored objects. The operator deletes the objects:
//! `controller::deleted`.

use std::io::Write;

use debugbundle_crd::{DebugBundle, Phase};
use kube::{
    Api, Client,
    api::{DeleteParams, Preconditions},
};

use super::{
    args::Delete,
    exit::{CliError, Exit},
};
use crate::observed::is_restored;

/// Deletes each of them that exists; the first error decides the exit code.
pub(crate) async fn run(
    args: &Delete,
    namespace: &str,
    client: Client,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let api: Api<DebugBundle> = Api::namespaced(client, namespace);
    let mut failed = None;
    for name in &args.names {
        match delete(&api, name).await {
            Ok(fate) => {
                writeln!(out, "debugbundle.debugbundle.io/{name} deleted; {fate}").map_err(CliError::stdout)?;
            }
            Err(error) => {
                if let Some(earlier) = failed.replace(error) {
                    eprintln!("error: {earlier}");
                }
            }
        }
    }
    failed.map_or(Ok(Exit::Done), Err)
}

/// Deletes one, and returns what happens to its object.
async fn delete(api: &Api<DebugBundle>, name: &str) -> Result<String, CliError> {
    let bundle = api.get(name).await?;
    // Another one of the same name may have been created since.
    let only_it = Preconditions { uid: bundle.metadata.uid.clone(), resource_version: None };
    api.delete(name, &DeleteParams { preconditions: Some(only_it), ..DeleteParams::default() }).await?;
    Ok(fate(&bundle))
}

fn fate(bundle: &DebugBundle) -> String {
    let status = bundle.status.as_ref();
    if is_restored(bundle) {
        return "it was a copy that Velero restored: the stored object belongs to another one, and stays".to_owned();
    }
    match status.and_then(|status| Some((status.bundle.as_ref()?, status.phase))) {
        Some((stored, phase)) => {
            let begun = if phase == Some(Phase::Uploading) { "ends the upload and deletes" } else { "deletes" };
            format!(
                "the operator {begun} its stored object, at the latest after its next start: {}: {}/{}",
                stored.storage_location, stored.bucket, stored.key
            )
        }
        None if status.is_some_and(|status| status.phase == Some(Phase::Collecting)) => {
            "nothing was stored yet, and the operator ends its work on it".to_owned()
        }
        None => "nothing was stored for it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::super::{
        args::{Cli, Command},
        display::tests::{bundle, stored},
        stand::{Stand, json as answer},
    };
    use super::*;

    #[tokio::test]
    async fn issue_34_all_that_exist_are_deleted_and_each_says_what_becomes_of_its_object() {
        let stand = Stand::serve(|asked| {
            if asked.target.ends_with("/gone") {
                let details = json!({"name": "gone", "kind": "debugbundles"});
                let status = json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound",
                    "message": "debugbundles \"gone\" not found", "details": details});
                return answer(404, &status);
            }
            let status = if asked.target.ends_with("/new") { json!(null) } else { stored() };
            answer(200, &json!(bundle(status)))
        })
        .await;
        let words = ["kubectl-debugbundle", "delete", "gone", "why", "new"];
        let Command::Delete(args) = Cli::try_parse_from(words).unwrap().command else { panic!("another command") };
        let mut out = Vec::new();
        let error = run(&args, "velero-2", stand.client(), &mut out).await.unwrap_err();
        assert_eq!(error.exit(), Exit::NotFound);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "debugbundle.debugbundle.io/why deleted; the operator deletes its stored object, at the latest after its next \
             start: default: b/plugins/debugbundle/restore-r1/x.tar.gz\ndebugbundle.debugbundle.io/new deleted; nothing was \
             stored for it\n"
        );
        let deleted: Vec<_> = stand.asked().into_iter().filter(|asked| asked.method == "DELETE").collect();
        assert_eq!(deleted.len(), 2);
        assert!(deleted.iter().all(|asked| asked.body.contains("0f3c9d11-6f0e-4a55-9c1c-2b8f6f1f7f10")), "by UID");
    }

    #[test]
    fn issue_34_a_restored_copy_leaves_the_object_and_an_upload_is_ended() {
        let mut copy = bundle(stored());
        copy.metadata.labels = Some([("velero.io/restore-name".to_owned(), "r1".to_owned())].into());
        assert!(fate(&copy).ends_with("belongs to another one, and stays"), "{}", fate(&copy));
        let mut status = stored();
        status["phase"] = json!("Uploading");
        assert!(fate(&bundle(status)).starts_with("the operator ends the upload and deletes"));
        assert!(fate(&bundle(json!({"phase": "Collecting"}))).starts_with("nothing was stored yet"));
    }
}
