//! A Velero with missing kinds, beside dead APIs: the bundle contains the rest and reports the missing kinds. This test
//! takes kinds away, so all tests of this theme wait for it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context as Poller, Poll},
    time::Duration,
};

use debugbundle_crd::{DebugBundleSpec, Phase, TargetKind};
use debugbundle_format::manifest::{MissingCode, MissingSeverity};
use debugbundle_operator::{
    cluster::Cluster,
    discovery::{self, InventoryError, Scope},
};
use futures::future::BoxFuture;
use harness::{Context, Operator, bundle::spec_about, until, velero_objects::backup, with_namespace_on};
use http::{Request, Response, header};
use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Client, ResourceExt,
    api::{Api, DeleteParams, Patch, PatchParams},
    client::Body,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    bundles::{is_stored, keys, status, until_ended, until_logged},
    collection::CollectionRun,
    flavours::{KINDS_STAY, stand},
};

fn serves(groups: &Value, group: &str, plural: &str) -> bool {
    let groups = groups["items"].as_array().into_iter().flatten();
    let versions =
        groups.filter(|found| found["metadata"]["name"] == group).filter_map(|found| found["versions"].as_array());
    versions
        .flatten()
        .filter_map(|version| version["resources"].as_array())
        .flatten()
        .any(|kind| kind["resource"] == plural)
}

/// Waits until API discovery satisfies the test.
async fn until_served(client: &Client, test: impl Fn(&Value) -> bool) {
    until(Duration::from_mins(1), "discovery tells what is wanted", || async {
        let request = Request::get("/apis").header(header::ACCEPT, discovery::DISCOVERY).body(Vec::new());
        let served: Value = client.request(request.unwrap()).await.map_err(|error| error.to_string())?;
        if test(&served) { Ok(()) } else { Err(served.to_string().chars().take(400).collect::<String>()) }
    })
    .await;
}

/// A client from before aggregated discovery: it requests each group's versions one by one.
#[derive(Clone)]
struct OldFashioned(Client);

impl tower_service::Service<Request<Body>> for OldFashioned {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, kube::Error>>;

    fn poll_ready(&mut self, _: &mut Poller<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if request.headers().get(header::ACCEPT).is_some_and(|accept| accept == discovery::DISCOVERY) {
            request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
        }
        let client = self.0.clone();
        let sent: Pin<Box<_>> = Box::pin(async move { client.send(request).await });
        sent
    }
}

impl OldFashioned {
    fn client(context: &Context) -> Client {
        Client::new(Self(context.client.clone()), context.namespace.clone())
    }
}

/// Without the kind BackupStorageLocation there is no place in a store; the operator reports that, and `collect` still
/// works.
async fn without_locations(context: &Arc<Context>) {
    delete_definitions(context, &["backupstoragelocations.velero.io".to_owned()]).await;
    let _operator = Operator::of(context).ready().await;
    context.debug_bundle("no-place", spec_about("Backup", "seed")).await;
    let status = context.until_bundle_ended("no-place").await;
    assert_eq!(status.phase, Some(Phase::Failed), "{status:?}");
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!(ready.reason, "LocationNotFound");
    assert!(ready.message.contains("velero install --crds-only"), "{}", ready.message);

    let file = context.folder("here").join("here.tar.gz");
    let mut collect = tokio::process::Command::new(harness::operator::program("kubectl-debugbundle").await);
    collect.args(["--namespace", &context.namespace, "collect", "--backup", "seed", "-o"]).arg(&file);
    let ran = collect.env("KUBECONFIG", context.stand.kubeconfig()).output().await.unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    let (_, files) = harness::bundle::unpack(&std::fs::read(&file).unwrap_or_else(|error| panic!("{error}: {said}")));
    let backups = format!("namespaces/{}/velero.io/backups.yaml", context.namespace);
    assert!(String::from_utf8_lossy(&files[&backups]).contains("name: seed"), "{said}");
    let manifest = harness::schema::checked(&files["manifest.json"]);
    let locations = format!("namespaces/{}/velero.io/backupstoragelocations.yaml", context.namespace);
    let told = manifest["missing"].as_array().unwrap().iter().find(|missing| missing["path"] == locations);
    assert_eq!(told.unwrap_or_else(|| panic!("{manifest:#}"))["code"], "NotInstalled");
}

async fn delete_definitions(context: &Context, names: &[String]) {
    let definitions: Api<CustomResourceDefinition> = Api::all(context.client.clone());
    for name in names {
        definitions.delete(name, &DeleteParams::default()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let gone = |served: &Value| {
        !names.iter().filter_map(|name| name.split_once('.')).any(|(plural, group)| serves(served, group, plural))
    };
    until_served(&context.client, gone).await;
}

/// Registers an API whose backend does not exist.
async fn register_a_dead_api(context: &Context, group: &str, version: &str) -> String {
    let services: Api<APIService> = Api::all(context.client.clone());
    let name = format!("{version}.{group}");
    let service = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name},
        "spec": {"group": group, "version": version, "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": true, "service": {"name": "nobody", "namespace": context.namespace}}});
    services.patch(&name, &PatchParams::apply("harness").force(), &Patch::Apply(&service)).await.unwrap();
    name
}

/// One test, because each part changes what all other tests on the stand see.
#[tokio::test]
async fn velero_in_pieces_gives_what_is_left_and_velero_gone_is_said_so() {
    let _alone = KINDS_STAY.write().await;
    let stand = stand().await;
    with_namespace_on(stand, "pieces", |context| async move {
        context.create_velero(backup("seed")).await;
        let about = DebugBundleSpec::about(TargetKind::Backup, "seed");
        let file = |plural: &str| format!("namespaces/{}/velero.io/{plural}.yaml", context.namespace);

        let dead = [("metrics.k8s.io", "v1beta1"), ("config.openshift.io", "v1"), ("operators.coreos.com", "v9")];
        let mut registered = Vec::new();
        for (group, version) in dead {
            registered.push(register_a_dead_api(&context, group, version).await);
        }
        until_served(&context.client, |served| {
            served.to_string().matches(r#""freshness":"Stale""#).count() == dead.len()
        })
        .await;
        for client in [context.client.clone(), OldFashioned::client(&context)] {
            let got = CollectionRun { client: Some(client), ..CollectionRun::default() }.of(&context, &about).await;
            got.is_complete();
            let errors: Vec<_> = got.errors().into_iter().filter(|lost| !lost.path.starts_with("velero/")).collect();
            assert!(errors.is_empty(), "dead APIs cost nothing but themselves: {errors:#?}");
            assert!(
                got.snapshot.installation.served.is_stale("config.openshift.io"),
                "{:?}",
                got.snapshot.installation.served.stale
            );
            assert_eq!(got.names(&file("backups")), ["seed"]);
            let olm = format!("namespaces/{}/operators.coreos.com/subscriptions.yaml", context.namespace);
            assert!(got.collected.empty.contains(&olm), "the version that lives is asked: {:?}", got.collected.empty);
        }

        delete_definitions(&context, &["podvolumebackups.velero.io".to_owned(), "datauploads.velero.io".to_owned()])
            .await;
        for client in [context.client.clone(), OldFashioned::client(&context)] {
            let got = CollectionRun { client: Some(client), ..CollectionRun::default() }.of(&context, &about).await;
            got.is_complete();
            for plural in ["podvolumebackups", "datauploads"] {
                let gone = got.missing(&file(plural));
                assert_eq!((gone.code, gone.severity), (MissingCode::NotInstalled, MissingSeverity::Note), "{gone:?}");
            }
            assert_eq!(got.names(&file("backups")), ["seed"], "the rest is there");
            assert!(got.collected.empty.contains(&file("podvolumerestores")));
            let errors: Vec<_> = got.errors().into_iter().filter(|lost| !lost.path.starts_with("velero/")).collect();
            assert!(errors.is_empty(), "{errors:#?}");
        }

        without_locations(&context).await;

        let definitions: Api<CustomResourceDefinition> = Api::all(context.client.clone());
        let all = definitions.list(&kube::api::ListParams::default()).await.unwrap();
        let names: Vec<String> =
            all.iter().map(ResourceExt::name_any).filter(|name| name.ends_with(".velero.io")).collect();
        delete_definitions(&context, &names).await;
        for client in [context.client.clone(), OldFashioned::client(&context)] {
            let (cluster, scope) = (Cluster::new(client), Scope::everything());
            let soon = Instant::now() + Duration::from_secs(20);
            let taken = discovery::locate(&cluster, &context.namespace, about.target.as_ref(), &[], scope, soon).await;
            assert!(matches!(taken, Err(InventoryError::VeleroNotFound)), "{taken:?}");
        }

        let services: Api<APIService> = Api::all(context.client.clone());
        for name in registered {
            services.delete(&name, &DeleteParams::default()).await.unwrap();
        }
        context.stand.install_kinds().await;
        until_served(&context.client, |served| {
            serves(served, "velero.io", "backups") && !served.to_string().contains(r#""freshness":"Stale""#)
        })
        .await;
        without_debug_bundles(&context).await;
    })
    .await;
}

/// All DebugBundles go with their definition, their bundles stay in the store, and the operator waits for the definition.
async fn without_debug_bundles(context: &Arc<Context>) {
    let location = context.location("default", harness::context::PREFIX).spec("default", true);
    context.create_velero(location.phase("Available")).await;
    let operator = Operator::of(context).ready().await;
    context.debug_bundle("first", json!({})).await;
    let first = until_ended(context, "first").await;
    is_stored(context, &first).await;
    delete_definitions(context, &["debugbundles.debugbundle.io".to_owned()]).await;
    until_logged(&operator, "The installation is being removed; the stored bundle stays").await;
    context.stand.install_kinds().await;
    context.debug_bundle("second", json!({})).await;
    let second = until_ended(context, "second").await;
    is_stored(context, &second).await;
    let all = keys(context).await;
    assert!(all.len() == 2 && all.contains(&status(&first).bundle.unwrap().key), "{all:?}");
}
