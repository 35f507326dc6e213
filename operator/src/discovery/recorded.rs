//! An API server for unit tests: it answers reads from objects in memory, and records the requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
};

use http::{Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};

use crate::cluster::{ApiKind, Cluster};

/// Kinds in plural and singular.
type Names = &'static [(&'static str, &'static str)];

/// The served kinds: API version, namespaced kinds, cluster-scoped kinds.
const SERVED: [(&str, Names, Names); 8] = [
    (
        "v1",
        &[
            ("events", "Event"),
            ("persistentvolumeclaims", "PersistentVolumeClaim"),
            ("pods", "Pod"),
            ("resourcequotas", "ResourceQuota"),
            ("serviceaccounts", "ServiceAccount"),
        ],
        &[("nodes", "Node"), ("persistentvolumes", "PersistentVolume")],
    ),
    (
        "apps/v1",
        &[
            ("daemonsets", "DaemonSet"),
            ("deployments", "Deployment"),
            ("replicasets", "ReplicaSet"),
            ("statefulsets", "StatefulSet"),
        ],
        &[],
    ),
    ("batch/v1", &[("cronjobs", "CronJob"), ("jobs", "Job")], &[]),
    ("storage.k8s.io/v1", &[], &[("storageclasses", "StorageClass"), ("volumeattachments", "VolumeAttachment")]),
    (
        "snapshot.storage.k8s.io/v1",
        &[("volumesnapshots", "VolumeSnapshot")],
        &[("volumesnapshotclasses", "VolumeSnapshotClass"), ("volumesnapshotcontents", "VolumeSnapshotContent")],
    ),
    (
        "groupsnapshot.storage.k8s.io/v1beta2",
        &[("volumegroupsnapshots", "VolumeGroupSnapshot")],
        &[
            ("volumegroupsnapshotclasses", "VolumeGroupSnapshotClass"),
            ("volumegroupsnapshotcontents", "VolumeGroupSnapshotContent"),
        ],
    ),
    (
        "velero.io/v1",
        &[
            ("backuprepositories", "BackupRepository"),
            ("backups", "Backup"),
            ("backupstoragelocations", "BackupStorageLocation"),
            ("podvolumebackups", "PodVolumeBackup"),
            ("podvolumerestores", "PodVolumeRestore"),
            ("restores", "Restore"),
            ("schedules", "Schedule"),
            ("serverstatusrequests", "ServerStatusRequest"),
        ],
        &[],
    ),
    ("velero.io/v2alpha1", &[("datadownloads", "DataDownload"), ("datauploads", "DataUpload")], &[]),
];

/// Every kind that is served.
fn kinds() -> impl Iterator<Item = ApiKind> {
    SERVED.into_iter().flat_map(|(api_version, namespaced, cluster)| {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let namespaced = namespaced.iter().map(|(plural, kind)| ApiKind::namespaced(group, version, plural, kind));
        let cluster = cluster.iter().map(|(plural, kind)| ApiKind::cluster(group, version, plural, kind));
        namespaced.chain(cluster).collect::<Vec<_>>()
    })
}

/// The served kind of this name.
pub(super) fn kind(name: &str) -> ApiKind {
    kinds().find(|kind| kind.kind == name).unwrap_or_else(|| panic!("{name} is not served"))
}

/// The path of a kind's cluster-wide list, the namespace (empty: cluster-scoped), and the name.
type Key = (String, String, String);

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Value>,
    /// Groups that are not served.
    absent: BTreeSet<String>,
    /// Requests whose path begins with one of these texts are refused.
    forbidden: Vec<String>,
    requests: Vec<String>,
}

/// The API server.
#[derive(Clone, Default)]
pub(super) struct RecordedApi(Arc<Mutex<State>>);

impl RecordedApi {
    /// Creates or replaces an object, which contains its API version, kind and name.
    pub(super) fn put(&self, object: Value) {
        let metadata = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let list = kind(object["kind"].as_str().expect("a kind")).list_path(None);
        self.state().objects.insert((list, metadata("namespace"), metadata("name")), object);
    }

    /// The objects of a kind, of all namespaces if there is none, sorted by namespace and name.
    pub(super) fn list(&self, kind: &ApiKind, namespace: Option<&str>) -> Vec<Value> {
        self.state().list(&kind.list_path(None), namespace)
    }

    /// Stops serving this API group.
    pub(super) fn remove_group(&self, group: &str) {
        self.state().absent.insert(group.to_owned());
    }

    /// Refuses all requests whose path begins with this text.
    pub(super) fn forbid(&self, path: impl Into<String>) {
        self.state().forbidden.push(path.into());
    }

    /// The number of requests for this path, with any query.
    pub(super) fn times(&self, path: &str) -> usize {
        self.count(|request| request.split('?').next() == Some(path))
    }

    /// The number of requests whose path and query are `wanted`.
    pub(super) fn count(&self, wanted: impl Fn(&str) -> bool) -> usize {
        self.state().requests.iter().filter(|request| wanted(request)).count()
    }

    /// A reader of this API server.
    pub(super) fn cluster(&self) -> Cluster {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (code, answer) = api.state().answer(request.uri());
            let answer = Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
            async { Ok::<_, Infallible>(answer.expect("a response")) }
        });
        Cluster::new(kube::Client::new(service, "default"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panicked meanwhile")
    }
}

impl State {
    fn list(&self, list: &str, namespace: Option<&str>) -> Vec<Value> {
        let here = |key: &Key| key.0 == list && namespace.is_none_or(|namespace| key.1 == namespace);
        self.objects.iter().filter(|(key, _)| here(key)).map(|(_, object)| object.clone()).collect()
    }

    fn answer(&mut self, uri: &http::Uri) -> (StatusCode, Value) {
        self.requests.push(uri.to_string());
        let path = uri.path();
        let status = |code: StatusCode, reason: &str| {
            (
                code,
                json!({"kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": reason, "message": path}),
            )
        };
        if self.forbidden.iter().any(|forbidden| path.starts_with(forbidden)) {
            return status(StatusCode::FORBIDDEN, "Forbidden");
        }
        match path {
            "/version" => return (StatusCode::OK, json!({"gitVersion": "v1.33.0"})),
            "/apis" => return (StatusCode::OK, self.discovery()),
            _ => {}
        }
        let not_found = || status(StatusCode::NOT_FOUND, "NotFound");
        let Some((list, namespace, name)) = self.parse(path) else { return not_found() };
        match name {
            Some(name) => match self.objects.get(&(list, namespace.unwrap_or_default(), name)) {
                Some(object) => (StatusCode::OK, object.clone()),
                None => not_found(),
            },
            None => (StatusCode::OK, page(self.list(&list, namespace.as_deref()), uri.query().unwrap_or_default())),
        }
    }

    /// The path of the kind's cluster-wide list, the namespace and the name; `None` if no such kind is served.
    fn parse(&self, path: &str) -> Option<(String, Option<String>, Option<String>)> {
        kinds().filter(|kind| !self.absent.contains(&kind.group)).find_map(|kind| {
            let list = kind.list_path(None);
            let parts: Vec<&str> = path.strip_prefix(list.strip_suffix(&kind.plural)?)?.split('/').collect();
            let (namespace, plural, name) = match parts[..] {
                ["namespaces", namespace, plural] => (Some(namespace), plural, None),
                ["namespaces", namespace, plural, name] => (Some(namespace), plural, Some(name)),
                [plural] => (None, plural, None),
                [plural, name] => (None, plural, Some(name)),
                _ => return None,
            };
            (plural == kind.plural).then(|| (list, namespace.map(str::to_owned), name.map(str::to_owned)))
        })
    }

    /// Aggregated discovery of all groups but the core group.
    fn discovery(&self) -> Value {
        let mut groups: BTreeMap<String, BTreeMap<String, Vec<Value>>> = BTreeMap::new();
        for kind in kinds().filter(|kind| !kind.group.is_empty() && !self.absent.contains(&kind.group)) {
            let scope = if kind.namespaced { "Namespaced" } else { "Cluster" };
            let resource = json!({"resource": kind.plural, "responseKind": {"kind": kind.kind}, "scope": scope,
                "verbs": ["get", "list"]});
            groups.entry(kind.group).or_default().entry(kind.version).or_default().push(resource);
        }
        let version = |(version, resources): (String, Vec<Value>)| json!({"version": version, "resources": resources});
        let group = |(name, versions): (String, BTreeMap<String, Vec<Value>>)| json!({"metadata": {"name": name}, "versions": versions.into_iter().map(version).collect::<Vec<_>>()});
        json!({"kind": "APIGroupDiscoveryList", "items": groups.into_iter().map(group).collect::<Vec<_>>()})
    }
}

/// A page of a list; the continue token is the number of the items before it.
fn page(mut objects: Vec<Value>, query: &str) -> Value {
    let query: BTreeMap<_, _> = url::form_urlencoded::parse(query.as_bytes()).collect();
    if let Some(selector) = query.get("labelSelector") {
        objects.retain(|object| selects(selector, &object["metadata"]["labels"]));
    }
    let number = |key: &str| query.get(key).map(|text| text.parse::<usize>().expect("a number"));
    let from = number("continue").unwrap_or(0);
    let to = number("limit").map_or(objects.len(), |limit| objects.len().min(from + limit));
    let token = if to < objects.len() { to.to_string() } else { String::new() };
    json!({"metadata": {"resourceVersion": "1", "continue": token}, "items": objects[from..to]})
}

/// Whether labels match a selector of the forms `key=value` and `key in (value,value)`.
fn selects(selector: &str, labels: &Value) -> bool {
    let mut rest = selector;
    while !rest.is_empty() {
        let (key, values, after) = if let Some((key, after)) = rest.split_once(" in (")
            && !key.contains(['=', ','])
        {
            let (values, after) = after.split_once(')').expect("a set ends");
            (key, values, after.trim_start_matches(','))
        } else {
            let (requirement, after) = rest.split_once(',').unwrap_or((rest, ""));
            let (key, value) = requirement.split_once('=').expect("a requirement of equality");
            (key, value, after)
        };
        assert!(values.split(',').all(|value| value.len() <= 63), "no label is longer: {values}");
        if !labels[key].as_str().is_some_and(|label| values.split(',').any(|value| value == label)) {
            return false;
        }
        rest = after;
    }
    true
}

#[tokio::test]
async fn a_list_is_cut_into_pages_and_selected_by_labels_and_absent_and_forbidden_paths_are_refused() {
    let api = RecordedApi::default();
    for (name, app) in [("a", "web"), ("b", "db"), ("c", "web"), ("d", "cache")] {
        api.put(
            json!({"kind": "Pod", "metadata": {"namespace": "shop", "name": name, "labels": {"app": app, "of": "x"}}}),
        );
    }
    let answer = |uri: &str| api.state().answer(&uri.parse().expect("a path"));
    let names = |uri: &str| {
        let (code, list) = answer(uri);
        assert_eq!(code, StatusCode::OK, "{list}");
        let names = list["items"].as_array().expect("items").iter().map(|pod| pod["metadata"]["name"].as_str());
        (names.map(Option::unwrap).collect::<String>(), list["metadata"]["continue"].as_str().map(str::to_owned))
    };
    let list = "/api/v1/namespaces/shop/pods";
    assert_eq!(names(&format!("{list}?limit=3")), ("abc".to_owned(), Some("3".to_owned())));
    assert_eq!(names(&format!("{list}?limit=3&continue=3")), ("d".to_owned(), Some(String::new())));
    assert_eq!(names("/api/v1/pods?labelSelector=app%3Dweb").0, "ac");
    assert_eq!(names("/api/v1/pods?labelSelector=of%3Dx%2Capp%20in%20%28db%2Ccache%29").0, "bd");
    assert_eq!(names("/api/v1/namespaces/other/pods").0, "");
    assert_eq!(answer(&format!("{list}/a")).1["metadata"]["labels"]["app"], "web");
    assert_eq!(answer(&format!("{list}/e")).0, StatusCode::NOT_FOUND);
    api.forbid(list);
    assert_eq!(answer(list).0, StatusCode::FORBIDDEN);
    api.remove_group("batch");
    assert_eq!(answer("/apis/batch/v1/jobs").0, StatusCode::NOT_FOUND);
    assert_eq!(api.times(list), 3);
}
