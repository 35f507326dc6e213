//! A way to stores whose names only the cluster resolves: a port-forward through the API server to a ready pod of the
//! store's Service, with the user's own rights. Nothing listens on this machine.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use debugbundle_format::text::escape_for_terminal;
use futures::{FutureExt as _, future::BoxFuture};
use k8s_openapi::{
    api::core::v1::{Pod, Service},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{Api, Client, ResourceExt as _, api::ListParams};

use crate::{
    client::in_time,
    error::api_sentence,
    store::{Detour, Stream},
};

/// Most pods of a Service that are looked at.
const PODS: u32 = 100;
/// Timeout of a DNS lookup.
const LOOKUP: Duration = Duration::from_secs(5);

/// Opens connections to the Services of the cluster.
pub(crate) struct PortForward {
    client: Client,
    /// Velero's namespace: that of a Service without another one.
    namespace: String,
    /// Pods by host and port, for all but the first connection.
    found: Mutex<HashMap<(String, u16), PodPort>>,
    /// Whether a host that may be a Service is one, and has no address here.
    of_cluster: Mutex<HashMap<String, bool>>,
}

/// Where a Service's connections end.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PodPort {
    namespace: String,
    pod: String,
    port: u16,
}

/// The Service that a host names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ServiceName<'a> {
    namespace: &'a str,
    name: &'a str,
    /// Whether it cannot be a host outside the cluster.
    is_certain: bool,
}

impl fmt::Debug for PortForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortForward").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Detour for PortForward {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, Result<Option<Box<dyn Stream>>, String>> {
        self.open(host, port).boxed()
    }

    fn is_of_cluster<'a>(&'a self, host: &'a str) -> BoxFuture<'a, bool> {
        self.names_service(host).boxed()
    }
}

impl PortForward {
    /// With the rights of this client.
    pub(crate) fn new(client: Client, namespace: &str) -> Arc<Self> {
        Arc::new(Self {
            client,
            namespace: namespace.to_owned(),
            found: Mutex::default(),
            of_cluster: Mutex::default(),
        })
    }

    async fn open(&self, host: &str, port: u16) -> Result<Option<Box<dyn Stream>>, String> {
        let Some(service) = service_of(host, &self.namespace) else { return Ok(None) };
        let key = (host.to_owned(), port);
        let known = self.found().get(&key).cloned();
        if let Some(known) = known {
            match self.forwarded(&known).await {
                Ok(stream) => return Ok(Some(stream)),
                // Its pod may be gone.
                Err(_) => self.found().remove(&key),
            };
        }
        let Some(found) = self.pod_of(&service, port).await? else { return Ok(None) };
        let stream = self.forwarded(&found).await?;
        let PodPort { namespace, pod, port } = &found;
        say(&format!(
            "{host} resolves only inside the cluster: reading by a port-forward to pod {namespace}/{pod}, port {port}"
        ));
        self.found().insert(key, found);
        Ok(Some(stream))
    }

    /// Whether the host has the name of a Service; a name that could be another host's must be that of an existing
    /// Service, and have no address here.
    async fn names_service(&self, host: &str) -> bool {
        let Some(service) = service_of(host, &self.namespace) else { return false };
        let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
        if labels.ends_with(&["svc"]) || labels.ends_with(&["svc", "cluster", "local"]) {
            return true;
        }
        let known = self.of_cluster().get(host).copied();
        if let Some(known) = known {
            return known;
        }
        let here = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((host, 0))).await;
        let is_known_here = here.is_ok_and(|found| found.is_ok_and(|mut found| found.next().is_some()));
        let services: Api<Service> = Api::namespaced(self.client.clone(), service.namespace);
        let found = !is_known_here && matches!(in_time(services.get_opt(service.name)).await, Ok(Some(_)));
        self.of_cluster().insert(host.to_owned(), found);
        found
    }

    fn of_cluster(&self) -> std::sync::MutexGuard<'_, HashMap<String, bool>> {
        self.of_cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self) -> std::sync::MutexGuard<'_, HashMap<(String, u16), PodPort>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A ready pod behind the Service, and its port; `None` if there is no such Service and the host may be another.
    async fn pod_of(&self, service: &ServiceName<'_>, port: u16) -> Result<Option<PodPort>, String> {
        let ServiceName { namespace, name, is_certain } = *service;
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let found = match in_time(services.get_opt(name)).await {
            Ok(Some(found)) => found,
            Ok(None) if is_certain => return Err(format!("there is no Service {namespace}/{name}")),
            Err(error) if is_certain => return Err(api_sentence(&error)),
            Ok(None) | Err(_) => return Ok(None),
        };
        let target = target_port(&found, port)?;
        let selector = selector(&found)?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let listed = in_time(pods.list(&ListParams::default().labels(&selector).limit(PODS))).await;
        let mut ready: Vec<Pod> = listed.map_err(|error| api_sentence(&error))?.items;
        ready.retain(is_ready);
        ready.sort_by_key(Pod::name_any);
        let of = |pod: &Pod| Some((pod.name_any(), container_port(pod, &target)?));
        let (pod, port) = ready
            .iter()
            .find_map(of)
            .ok_or_else(|| format!("no pod of the Service {namespace}/{name} is ready and has the port {port}"))?;
        Ok(Some(PodPort { namespace: namespace.to_owned(), pod, port }))
    }

    async fn forwarded(&self, to: &PodPort) -> Result<Box<dyn Stream>, String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &to.namespace);
        let whole = |why: String| format!("the port-forward to pod {}/{} failed: {why}", to.namespace, to.pod);
        let mut forwarder =
            in_time(pods.portforward(&to.pod, &[to.port])).await.map_err(|error| whole(api_sentence(&error)))?;
        let stream = forwarder.take_stream(to.port).ok_or_else(|| whole("it has no stream".to_owned()))?;
        if let Some(error) = forwarder.take_error(to.port) {
            let place = to.clone();
            // The stream only ends; the kubelet's words arrive beside it.
            tokio::spawn(async move {
                if let Some(why) = error.await {
                    say(&format!("the port-forward to pod {}/{} failed: {why}", place.namespace, place.pod));
                }
            });
        }
        Ok(Box::new(stream))
    }
}

fn say(text: &str) {
    eprintln!("{}", escape_for_terminal(text));
}

/// `minio.velero.svc`, the same with the cluster's domain or with a bucket in front, or the short `minio` and
/// `minio.velero`.
fn service_of<'a>(host: &'a str, own: &'a str) -> Option<ServiceName<'a>> {
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    if host.parse::<std::net::IpAddr>().is_ok() || labels.iter().any(|label| label.is_empty()) {
        return None;
    }
    if let Some(at) = labels.iter().rposition(|label| *label == "svc").filter(|at| *at >= 2) {
        return Some(ServiceName { name: labels[at - 2], namespace: labels[at - 1], is_certain: true });
    }
    match labels[..] {
        ["localhost"] => None,
        [name] => Some(ServiceName { name, namespace: own, is_certain: false }),
        [name, namespace] => Some(ServiceName { name, namespace, is_certain: false }),
        _ => None,
    }
}

/// The port of the pods behind this port of the Service.
fn target_port(service: &Service, port: u16) -> Result<IntOrString, String> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let own = i32::from(port);
    if let Some(found) = ports.iter().find(|one| one.port == own) {
        return Ok(found.target_port.clone().unwrap_or(IntOrString::Int(own)));
    }
    // Behind a headless Service clients reach every port of the pods.
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        return Ok(IntOrString::Int(own));
    }
    let has: Vec<String> = ports.iter().map(|one| one.port.to_string()).collect();
    let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
    Err(format!("the Service {} has no port {port}; its ports: {has}", service.name_any()))
}

fn selector(service: &Service) -> Result<String, String> {
    let labels = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
    if labels.is_empty() {
        return Err(format!("the Service {} has no selector, so its pods are not known", service.name_any()));
    }
    Ok(labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

fn container_port(pod: &Pod, target: &IntOrString) -> Option<u16> {
    let name = match target {
        IntOrString::Int(port) => return u16::try_from(*port).ok(),
        IntOrString::String(name) => name,
    };
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let found = ports.find(|port| port.name.as_ref() == Some(name))?;
    u16::try_from(found.container_port).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_host_names_a_service_if_it_could_be_one() {
        for (host, expected) in [
            ("minio.velero.svc", Some(("velero", "minio", true))),
            ("minio.velero.svc.cluster.local", Some(("velero", "minio", true))),
            ("minio.store.svc.corp.example.", Some(("store", "minio", true))),
            ("bucket.minio.velero.svc", Some(("velero", "minio", true))),
            ("minio", Some(("own", "minio", false))),
            ("minio.store", Some(("store", "minio", false))),
            ("velero.svc", Some(("svc", "velero", false))),
            ("s3.eu-1.example.com", None),
            ("svc.example.com", None),
            ("localhost", None),
            ("10.0.0.7", None),
            ("::1", None),
            ("", None),
            ("a..svc", None),
        ] {
            let found = service_of(host, "own").map(|found| (found.namespace, found.name, found.is_certain));
            assert_eq!(found, expected, "{host}");
        }
    }

    #[test]
    fn a_port_of_a_service_leads_to_a_port_of_its_pods() {
        let service = |spec: serde_json::Value| -> Service {
            serde_json::from_value(json!({"metadata": {"name": "minio"}, "spec": spec})).expect("a Service")
        };
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "minio-0"}, "spec": {"containers": [
            {"name": "a"}, {"name": "b", "ports": [{"containerPort": 1}, {"name": "api", "containerPort": 9000}]}]}}))
        .expect("a pod");
        let port = |service: &Service, port: u16| {
            target_port(service, port).and_then(|to| container_port(&pod, &to).ok_or_else(|| "no such port".to_owned()))
        };
        let named = service(json!({"ports": [{"port": 80, "targetPort": "api"}, {"port": 81, "targetPort": "web"}]}));
        assert_eq!(port(&named, 80), Ok(9000));
        assert_eq!(port(&named, 81), Err("no such port".to_owned()));
        assert_eq!(port(&named, 9000), Err("the Service minio has no port 9000; its ports: 80, 81".to_owned()));
        assert_eq!(port(&service(json!({"ports": [{"port": 9000}]})), 9000), Ok(9000));
        assert_eq!(port(&service(json!({"clusterIP": "None"})), 9000), Ok(9000));
        assert_eq!(selector(&service(json!({"selector": {"a": "b", "c": "d"}}))), Ok("a=b,c=d".to_owned()));
        assert!(selector(&service(json!({}))).is_err_and(|why| why.contains("has no selector")));
    }

    #[test]
    fn only_a_pod_that_is_ready_and_stays_is_taken() {
        let pod = |ready: &str, deleted: Option<&str>| -> Pod {
            let status =
                json!({"conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": ready}]});
            let metadata = json!({"name": "a", "deletionTimestamp": deleted});
            serde_json::from_value(json!({"metadata": metadata, "status": status})).expect("a pod")
        };
        assert!(is_ready(&pod("True", None)));
        assert!(!is_ready(&pod("False", None)) && !is_ready(&pod("True", Some("2026-03-01T00:00:00Z"))));
    }
}
