//! The kinds that the tests use: Velero's thirteen and our committed two, which every stand has, and others that a test
//! requests.

use std::time::Duration;

use debugbundle_operator::discovery::DISCOVERY;
use futures::future::try_join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Client, ResourceExt,
    api::{Api, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    stand::Fault,
    tools::{self, Tool},
    until,
};

const OURS: &str = include_str!("../../deploy/crd.yaml");

/// The vSphere plugin's kinds as it installs them: vmware-tanzu/velero-plugin-for-vsphere 9b5b0af6,
/// `pkg/generated/crds/manifests` (Apache-2.0), without descriptions.
const VSPHERE: &str = include_str!("definitions/vsphere.jsonl");
/// OADP's own kinds: openshift/oadp-operator b3e7f02d, `config/crd/bases` (Apache-2.0), without descriptions.
const OADP: &str = include_str!("definitions/oadp.jsonl");

/// Kinds of the operator that installs OADP, without their schemas, which are long and irrelevant here.
const OLM: [(&str, &str, &str); 2] = [
    ("clusterserviceversions", "ClusterServiceVersion", "Namespaced"),
    ("subscriptions", "Subscription", "Namespaced"),
];

/// The kinds of the snapshot controller, without their schemas. A cluster may lack them, so only tests about them
/// install them.
const SNAPSHOTS: [(&str, &str, &str); 3] = [
    ("volumesnapshots", "VolumeSnapshot", "Namespaced"),
    ("volumesnapshotcontents", "VolumeSnapshotContent", "Cluster"),
    ("volumesnapshotclasses", "VolumeSnapshotClass", "Cluster"),
];
/// The same for snapshots of several volumes at once.
const GROUP_SNAPSHOTS: [(&str, &str, &str); 3] = [
    ("volumegroupsnapshots", "VolumeGroupSnapshot", "Namespaced"),
    ("volumegroupsnapshotcontents", "VolumeGroupSnapshotContent", "Cluster"),
    ("volumegroupsnapshotclasses", "VolumeGroupSnapshotClass", "Cluster"),
];

pub(crate) async fn install(client: &Client) -> Result<(), Fault> {
    let mut definitions = veleros().await?;
    definitions.extend(serde_saphyr::from_multiple::<Value>(OURS)?);
    apply(client, &definitions).await
}

impl crate::TestCluster {
    /// Installs the kinds of OADP, of the operator that installs it, and of the vSphere plugin.
    pub async fn flavours_kinds(&self) {
        let read = |line| serde_json::from_str(line).expect("a definition in each line");
        let mut definitions: Vec<Value> = VSPHERE.lines().chain(OADP.lines()).map(read).collect();
        definitions.extend(OLM.map(|row| open("operators.coreos.com", "v1alpha1", row)));
        apply(&self.client().await, &definitions).await.expect("the kinds can be installed");
    }
}

impl crate::Context {
    /// Installs the kinds of the snapshot controller on the stand, if they are not there yet.
    pub async fn snapshot_kinds(&self) {
        self.approved("snapshot.storage.k8s.io", "v1", SNAPSHOTS).await;
    }

    /// The same for snapshots of several volumes at once, in the version that Velero 1.18 uses.
    pub async fn group_snapshot_kinds(&self) {
        self.approved("groupsnapshot.storage.k8s.io", "v1beta2", GROUP_SNAPSHOTS).await;
    }

    async fn approved(&self, group: &str, version: &str, rows: [(&str, &str, &str); 3]) {
        let definitions = rows.map(|row| {
            let mut definition = open(group, version, row);
            definition["metadata"]["annotations"] = json!({
                "api-approved.kubernetes.io": "https://github.com/kubernetes-csi/external-snapshotter/pull/814"});
            definition
        });
        apply(&self.client, &definitions).await.expect("the kinds can be installed");
    }
}

/// A definition that accepts every object: group, version, and (plural, kind, scope).
fn open(group: &str, version: &str, (plural, kind, scope): (&str, &str, &str)) -> Value {
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": scope,
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind},
            "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": anything}}]}})
}

/// Applies definitions and waits until their kinds are served.
async fn apply(client: &Client, definitions: &[Value]) -> Result<(), Fault> {
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
    until(Duration::from_secs(30), "the kinds are served", || async {
        let request = http::Request::get("/apis").header(http::header::ACCEPT, DISCOVERY).body(Vec::new());
        let served = client.request_text(request.expect("a request")).await.map_err(|error| error.to_string())?;
        let lists = |plural: &&str| served.contains(&format!("\"resource\":\"{plural}\""));
        let plurals = definitions.iter().filter_map(|definition| definition["spec"]["names"]["plural"].as_str());
        let waiting: Vec<&str> = plurals.filter(|plural| !lists(plural)).collect();
        if waiting.is_empty() { Ok(()) } else { Err(waiting.join(", ")) }
    })
    .await;
    Ok(())
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
