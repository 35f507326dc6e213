//! The kinds that the tests speak of: Velero's thirteen, and ours as it is committed.
//! They are installed once per stand.

use std::time::Duration;

use debugbundle_operator::inventory::DISCOVERY;
use futures::future::try_join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::stand::Fault;
use crate::tools::{self, Tool};
use crate::until;

const OURS: &str = include_str!("../../deploy/crd.yaml");

pub(crate) async fn install(client: &Client) -> Result<(), Fault> {
    let mut definitions = veleros().await?;
    definitions.push(serde_saphyr::from_str(OURS)?);
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let apply = PatchParams::apply("harness").force();
    let applied = try_join_all(definitions.iter().map(|definition| {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        let patch = Patch::Apply(definition);
        let (api, apply) = (&api, &apply);
        async move { api.patch(name, apply, &patch).await }
    }));
    applied.await?;
    until(Duration::from_secs(30), "all CustomResourceDefinitions are established", || async {
        let all = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let waiting: Vec<_> =
            all.iter().filter(|definition| !is_established(definition)).map(ResourceExt::name_any).collect();
        if waiting.is_empty() { Ok(()) } else { Err(waiting.join(", ")) }
    })
    .await;
    Ok(())
}

/// The kinds of the snapshot controller, without their schemas: a cluster may have them or not, so that only a test that
/// is about them installs them.
const SNAPSHOTS: [(&str, &str, &str); 3] = [
    ("volumesnapshots", "VolumeSnapshot", "Namespaced"),
    ("volumesnapshotcontents", "VolumeSnapshotContent", "Cluster"),
    ("volumesnapshotclasses", "VolumeSnapshotClass", "Cluster"),
];

impl crate::Context {
    /// Installs the kinds of the snapshot controller on the stand, if they are not there yet.
    pub async fn snapshot_kinds(&self) {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for (plural, kind, scope) in SNAPSHOTS {
            let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
            let definition = json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{plural}.snapshot.storage.k8s.io"), "annotations": {
                    "api-approved.kubernetes.io": "https://github.com/kubernetes-csi/external-snapshotter/pull/814"}},
                "spec": {"group": "snapshot.storage.k8s.io", "scope": scope,
                    "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind},
                    "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": open}}]}});
            let name = definition["metadata"]["name"].as_str().unwrap_or_default();
            let apply = PatchParams::apply("harness").force();
            api.patch(name, &apply, &Patch::Apply(&definition)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            until(Duration::from_secs(30), &format!("{name} is established"), || async {
                let found = api.get(name).await.map_err(|error| error.to_string())?;
                if is_established(&found) { Ok(()) } else { Err(format!("{:?}", found.status)) }
            })
            .await;
        }
        until(Duration::from_secs(30), "the snapshot kinds are served", || async {
            let request = http::Request::get("/apis").header(http::header::ACCEPT, DISCOVERY).body(Vec::new());
            let served =
                self.client.request_text(request.expect("a request")).await.map_err(|error| error.to_string())?;
            let all = SNAPSHOTS.iter().all(|(plural, ..)| served.contains(&format!("\"resource\":\"{plural}\"")));
            if all { Ok(()) } else { Err("not all of them are listed".to_owned()) }
        })
        .await;
    }
}

async fn veleros() -> Result<Vec<Value>, Fault> {
    let velero = tools::path(Tool::Velero).await?;
    let output = tokio::process::Command::new(velero)
        .args(["install", "--crds-only", "--dry-run", "-o", "json"])
        .env_remove("KUBECONFIG")
        .output()
        .await?;
    if !output.status.success() {
        return Err(format!("velero install --crds-only: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let list: Value = serde_json::from_slice(&output.stdout)?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Established" && c.status == "True"))
}
