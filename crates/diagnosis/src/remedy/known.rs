//! Texts of Kubernetes, Velero and the stores that name what to change. Most are rows of the catalogue. A text has a
//! function here if its remedy depends on more than the words in it.

use serde_json::Value;

use crate::graph::{Id, text};
use crate::kind::Kind;
use crate::kinds;
use crate::reason::RootReason;
use crate::texts::{is_name, item};

use super::command::Kubectl;
use super::{Advice, Case, catalogue, not_on, short};

type Known = fn(&str, &Case<'_>) -> Option<Advice>;

/// What to do about a text; `None` if it is not known.
pub(super) fn advice(text: &str, case: &Case<'_>) -> Option<Advice> {
    const OF_ALL: [Known; 5] = [quota, forbidden, no_space, no_secret, catalogue::of_all];
    const OF_VELERO: [Known; 6] = [no_agent, catalogue::of_velero, limit, store, panic, interrupted];
    let of_all = OF_ALL.iter().find_map(|known| known(text, case));
    // What a program of somebody else writes is not about Velero's own objects.
    let is_of_velero = case.last.kind != Kind::Pod || case.last.namespace == case.velero();
    of_all.or_else(|| OF_VELERO.iter().filter(|_| is_of_velero).find_map(|known| known(text, case)))
}

/// The words between two others.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(words, _)| words)
}

/// A valid name between two other texts.
fn name<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    between(text, before, after).filter(|name| is_name(name))
}

/// The namespace that a text is about.
pub(super) fn namespace<'a>(text: &'a str, case: &Case<'a>) -> Option<&'a str> {
    if let Some((_, namespace, _)) = item(text) {
        return Some(namespace);
    }
    // `pkg/backup/item_backupper.go`.
    if let Some(namespace) = name(text, "namespace=", ",") {
        return Some(namespace);
    }
    // Movers are made in Velero's namespace, beside the data objects.
    let last = case.last;
    let is_about_itself = matches!(last.kind, Kind::Backup | Kind::Restore);
    (!is_about_itself && !last.namespace.is_empty()).then_some(last.namespace.as_str())
}

/// `exceeded quota: tight, requested: pods=1, used: pods=4, limited: pods=4`.
fn quota(text: &str, case: &Case<'_>) -> Option<Advice> {
    let quota = name(text, "exceeded quota: ", ",")?;
    let limited =
        text.split_once("limited: ").map_or("", |(_, rest)| rest).split([' ', ';']).next().unwrap_or_default();
    let limited: Vec<&str> = limited.split(',').filter_map(|one| Some(one.split_once('=')?.0)).collect();
    let is_known = !limited.is_empty() && limited.iter().all(|one| one.split('/').all(is_name));
    let what = if is_known { format!(" ({})", limited.join(", ")) } else { String::new() };
    let Some(namespace) = namespace(text, case) else {
        return Advice::new(
            format!("raise spec.hard{what} of ResourceQuota {quota}, or free some of it in its namespace"),
            [Kubectl::of_cluster()
                .ours("get resourcequota --all-namespaces --field-selector")
                .joined("metadata.name=", quota)],
        );
    };
    Advice::new(
        format!(
            "raise spec.hard{what} of ResourceQuota {namespace}/{quota}, or free some of it in namespace {namespace}"
        ),
        [Kubectl::within(namespace).ours("describe resourcequota").name(quota)],
    )
}

/// `User "system:serviceaccount:velero:velero" cannot create resource "x" in API group "g" …`.
fn forbidden(text: &str, _: &Case<'_>) -> Option<Advice> {
    let account = between(text, "User \"system:serviceaccount:", "\"")?;
    let (namespace, account) =
        account.split_once(':').filter(|(namespace, name)| is_name(namespace) && is_name(name))?;
    let verb = name(text, "\" cannot ", " resource ")?;
    let resource = name(text, "resource \"", "\"")?;
    let group = name(text, "API group \"", "\"");
    let full = group.map_or_else(|| resource.to_owned(), |group| format!("{resource}.{group}"));
    let within = name(text, "in the namespace \"", "\"");
    let place = within.map_or("in the cluster".to_owned(), |within| format!("in namespace {within}"));
    Advice::new(
        format!("allow ServiceAccount {namespace}/{account} to {verb} {full} {place}, with a Role and its binding"),
        [Kubectl::within(within.unwrap_or_default())
            .ours("auth can-i")
            .name(verb)
            .name(&full)
            .joined("--as=system:serviceaccount:", namespace)
            .and(":", account)],
    )
}

/// `pkg/nodeagent/node_agent.go`.
fn no_agent(text: &str, case: &Case<'_>) -> Option<Advice> {
    let (_, node) = text.split_once("daemonset pod not found in running state in node ")?;
    not_on(node.split([' ', ':', ',', '"']).next().unwrap_or_default(), case.velero())
}

fn no_space(text: &str, case: &Case<'_>) -> Option<Advice> {
    let RootReason::Container(trouble) = &case.root.reason else { return None };
    let node = case.of_object("/spec/nodeName");
    if !text.contains("no space left on device") || node.is_empty() {
        return None;
    }
    Advice::new(
        format!(
            "make room on the disk of node {node}, or in the volume that container {} of {} writes to",
            trouble.container,
            case.pod()
        ),
        [Kubectl::of_cluster().ours("describe node").name(node)],
    )
}

/// `secrets "x" not found`, of a kubelet, or `Secret "x" not found`, of Velero.
fn no_secret(text: &str, case: &Case<'_>) -> Option<Advice> {
    let (kind, plural, name) =
        [("Secret", "secret"), ("ConfigMap", "configmap")].into_iter().find_map(|(kind, plural)| {
            let found = [kind, plural].into_iter().find_map(|word| {
                name(text, &format!("{word} \""), "\" not found")
                    .or_else(|| name(text, &format!("{word}s \""), "\" not found"))
            });
            Some((kind, plural, found?))
        })?;
    let last = case.last;
    let (namespace, by) = match last.kind {
        Kind::BackupStorageLocation => (&last.namespace, format!("spec.credential of {}", short(last))),
        Kind::Pod => (&last.namespace, format!("{} in {}", case.pod(), case.workload())),
        _ => return None,
    };
    let all = Kubectl::within(namespace).ours(if plural == "secret" { "get secrets" } else { "get configmaps" });
    Advice::new(format!("create {kind} {namespace}/{name}, or correct the name of it in {by}"), [case.read(), all])
}

/// Codes of S3, Azure and its login, and Google that say that the key is not the right one.
const KEY_CODES: [&str; 11] = [
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "InvalidClientTokenId",
    "AuthenticationFailed",
    // Unknown client, wrong secret, ended secret.
    "AADSTS700016",
    "AADSTS7000215",
    "AADSTS7000222",
    "invalid_grant",
    "invalid_client",
];

/// Texts that say that there is no such bucket or container.
const NO_BUCKET: [&str; 4] =
    ["NoSuchBucket", "ContainerNotFound", "storage: bucket doesn't exist", "The specified bucket does not exist"];

/// The location that a text of a store is about.
pub(super) fn location(case: &Case<'_>) -> Option<Id> {
    let of_name = |name: &str| Id::new(Kind::BackupStorageLocation, case.velero(), name);
    if case.last.kind == Kind::BackupStorageLocation {
        return Some(case.last.clone());
    }
    let way = case.root.way.iter().rev().filter_map(|step| case.graph.object(&step.id));
    let named = way.map(|object| text(&object["spec"]["backupStorageLocation"])).find(|name| !name.is_empty());
    if let Some(name) = named {
        return Some(of_name(name));
    }
    let last = case.graph.object(case.last)?;
    let backup = match case.last.kind {
        Kind::Backup => last,
        Kind::Restore => {
            let name = text(&last["spec"]["backupName"]);
            case.graph.object(&Id::new(Kind::Backup, case.velero(), name))?
        }
        _ => return None,
    };
    kinds::location_of(backup, &case.view).map(Id::of)
}

/// What a store answers about its location.
fn store(text: &str, case: &Case<'_>) -> Option<Advice> {
    let id = location(case)?;
    let is_about_it = matches!(case.last.kind, Kind::BackupStorageLocation | Kind::BackupRepository);
    let spec = case.graph.object(&id).map(|location| &location["spec"]);
    let field = |pointer: &str| spec.and_then(|spec| spec.pointer(pointer)?.as_str()).filter(|text| is_name(text));
    let short = short(&id);
    let read =
        Kubectl::within(&id.namespace).ours("get backupstoragelocations.velero.io").name(&id.name).ours("-o yaml");
    let bucket = field("/objectStorage/bucket").map_or("its bucket".to_owned(), |name| format!("bucket {name}"));
    let sentence = if is_about_it && spec.is_some_and(|spec| names_an_ignored_file(spec, case)) {
        format!(
            "move config.credentialsFile of {short} to spec.credential, a Secret and its key: since 1.19 Velero ignores \
             the config key, and uses the credential it was installed with"
        )
    } else if KEY_CODES.iter().any(|code| text.contains(code)) {
        match field("/credential/name") {
            None if spec.is_none_or(|spec| spec["credential"].is_object()) => {
                format!("correct the key in the Secret that spec.credential of {short} names")
            }
            Some(secret) => {
                format!("correct the key in Secret {}/{secret}, which spec.credential of {short} names", id.namespace)
            }
            None => format!(
                "correct the key in the Secret that Velero was installed with (cloud-credentials by default): spec.credential of \
                 {short} names none"
            ),
        }
    } else if text.contains("AccessDenied") {
        let action = between(text, "operation error S3: ", ",")
            .filter(|word| word.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let action = action.map_or("read and write".to_owned(), |action| format!("s3:{action}"));
        format!("allow {action} on {bucket} to the credential of {short}")
    } else if let Some(action) = denied_by_google(text) {
        format!("allow {action} on {bucket} to the service account of {short}")
    } else if text.contains("AuthorizationPermissionMismatch") {
        format!(
            "give the identity of {short} the role Storage Blob Data Contributor on container {}",
            bucket_name(&bucket)
        )
    } else if text.contains("AuthorizationFailure") {
        format!("allow the network of Velero's pod in the firewall of {}", account(field("/config/storageAccount")))
    } else if text.contains("KeyBasedAuthenticationNotPermitted") {
        format!(
            "set spec.config.useAAD of {short} to true and give it an identity, or allow account keys in {}",
            account(field("/config/storageAccount"))
        )
    } else if is_about_it && ["SERVICE_DISABLED", "accessNotConfigured"].iter().any(|code| text.contains(code)) {
        format!("enable the Cloud Storage API in the project of the service account of {short}")
    } else if NO_BUCKET.iter().any(|words| text.contains(words)) {
        format!("correct spec.objectStorage.bucket of {short}, or create {bucket} in the store")
    } else if text.contains("AuthorizationHeaderMalformed") || text.contains("PermanentRedirect") {
        format!("correct spec.config.region of {short}: the bucket is in another one")
    } else if is_about_it && text.contains("x509: certificate signed by unknown authority") {
        format!("put the certificate of the store's authority into spec.objectStorage.caCert of {short}")
    } else if is_about_it
        && ["no such host", "connection refused", "i/o timeout"].iter().any(|words| text.contains(words))
    {
        format!("make the store reachable from Velero's pod, or correct its address in spec.config of {short}")
    } else {
        return None;
    };
    Advice::new(sentence, [read])
}

/// The permission of Google's storage that a text says is lacking, such as `storage.objects.list`.
fn denied_by_google(text: &str) -> Option<&str> {
    let action = between(text, "does not have ", " access to")?;
    let sound = action.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'.');
    (sound && action.starts_with("storage.")).then_some(action)
}

fn bucket_name(bucket: &str) -> &str {
    bucket.strip_prefix("bucket ").unwrap_or(bucket)
}

fn account(name: Option<&str>) -> String {
    name.map_or("its storage account".to_owned(), |name| format!("storage account {name}"))
}

/// Whether a location names its credential by the config key that Velero ignores since 1.19
/// (`pkg/persistence/object_store.go`). Of a server whose version its image does not say nothing is said.
fn names_an_ignored_file(spec: &Value, case: &Case<'_>) -> bool {
    let names_a_file = !text(&spec["config"]["credentialsFile"]).is_empty() && !spec["credential"].is_object();
    names_a_file && kinds::server_version(&case.view).is_some_and(|version| version >= (1, 19))
}

/// A limit of snapshots that the storage has.
fn limit(text: &str, case: &Case<'_>) -> Option<Advice> {
    let last = case.last;
    let is_limit = ["limit", "quota", "Limit", "Quota"].iter().any(|word| text.contains(word));
    if !is_limit || !matches!(last.kind, Kind::VolumeSnapshot | Kind::VolumeSnapshotContent) {
        return None;
    }
    Advice::new(
        format!(
            "raise the limit in the storage that refuses {last}, or remove snapshots there that nobody needs: what a snapshot \
             holds is gone with it"
        ),
        [case.read()],
    )
}

/// A program of Velero that ended by a bug.
fn panic(text: &str, case: &Case<'_>) -> Option<Advice> {
    let RootReason::Container(trouble) = &case.root.reason else { return None };
    let workload = case.workload();
    if !["panic: ", "fatal error: "].iter().any(|word| text.starts_with(word)) {
        return None;
    }
    Advice::new(
        format!(
            "this is a bug of Velero or of a plugin: report the stack in the log of container {}, or let {workload} run another \
             version of what the stack names",
            trouble.container
        ),
        [],
    )
}

/// Velero's server ended while it ran the target, and nothing is known of that.
fn interrupted(words: &str, case: &Case<'_>) -> Option<Advice> {
    if !words.contains("during the server starting") {
        return None;
    }
    let server = kinds::server_of(None, &case.view)?;
    Advice::new(
        format!("find out why {server} was restarted in the meantime: its Events and its pods may still say so"),
        [
            Kubectl::within(&server.namespace).ours("describe deployment").name(&server.name),
            Kubectl::within(&server.namespace).ours("get pods -o wide"),
        ],
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::remedy::of_error;
    use crate::{Graph, Id};

    /// Sentence and commands for an error of Restore `r1`, or of Backup `b1`.
    fn of(kind: &str, error: &str) -> Option<(String, Vec<String>)> {
        let objects: Vec<Value> = vec![
            json!({"kind": kind, "metadata": {"namespace": "velero", "name": "t"}, "spec": {"storageLocation": "east"}}),
            json!({"kind": "BackupStorageLocation", "metadata": {"namespace": "velero", "name": "east"},
                "spec": {"objectStorage": {"bucket": "b-1"}, "credential": {"name": "cloud-east", "key": "cloud"}}}),
        ];
        let mut graph = Graph::new("velero", jiff::Timestamp::UNIX_EPOCH);
        for object in &objects {
            graph.add(object);
        }
        let found = of_error(error, &Id::of(&objects[0]), &graph.whole())?;
        Some((found.sentence, found.commands.iter().map(ToString::to_string).collect()))
    }

    fn check(kind: &str, error: &str, sentence: &str, first: &str) {
        let (found, commands) = of(kind, error).unwrap_or_else(|| panic!("nothing for {error}"));
        assert!(found.contains(sentence), "{error}: {found}");
        assert_eq!(commands[0], first, "{error}");
    }

    #[test]
    fn a_text_that_names_what_to_change_leads_there() {
        for (error, sentence, first) in [
            (
                "error restoring pods/shop/p: pods \"p\" is forbidden: exceeded quota: q, requested: requests.cpu=1,pods=1, used: pods=1, limited: requests.cpu=1,pods=1",
                "raise spec.hard (requests.cpu, pods) of ResourceQuota shop/q",
                "kubectl -n shop describe resourcequota q",
            ),
            (
                "pods \"p\" is forbidden: exceeded quota: q, requested: pods=1",
                "raise spec.hard of ResourceQuota q",
                "kubectl get resourcequota --all-namespaces --field-selector metadata.name=q",
            ),
            (
                "error restoring pods/shop/p: Internal error occurred: failed calling webhook \"w.example.com\": failed to call webhook: Post \"https://guard.policy.svc:443/v?timeout=10s\": no endpoints available",
                "make Service policy/guard answer, which is behind webhook w.example.com (its configuration was not read)",
                "kubectl -n policy get endpoints guard",
            ),
            (
                "failed calling webhook \"w.example.com\": Post \"https://10.0.0.1/v\": EOF",
                "make the program behind webhook w.example.com answer (its configuration was not read)",
                "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations -o 'custom-columns=IN:.metadata.name,WEBHOOKS:.webhooks[*].name'",
            ),
            (
                "roles.rbac.authorization.k8s.io is forbidden: User \"system:serviceaccount:velero:server\" cannot create resource \"roles\" in API group \"rbac.authorization.k8s.io\" in the namespace \"shop\"",
                "allow ServiceAccount velero/server to create roles.rbac.authorization.k8s.io in namespace shop",
                "kubectl -n shop auth can-i create roles.rbac.authorization.k8s.io --as=system:serviceaccount:velero:server",
            ),
            (
                "error restoring pods/shop/p: pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": x",
                "label pod-security.kubernetes.io/enforce of namespace shop",
                "kubectl get namespace shop --show-labels",
            ),
            (
                "node-agent pod is not running in node n1: daemonset pod not found in running state in node n1",
                "DaemonSet node-agent in namespace velero have a running pod on node n1",
                "kubectl -n velero get pods -o wide --field-selector spec.nodeName=n1",
            ),
            ("daemonset not found", "velero install --use-node-agent", "kubectl -n velero get daemonsets"),
            (
                "error restoring widgets.example.com/shop/w: no matches for kind \"Widget\" in version \"example.com/v1\"",
                "install the CustomResourceDefinition that serves Widget in example.com/v1: ",
                "kubectl get customresourcedefinitions",
            ),
        ] {
            check("Restore", error, sentence, first);
        }
    }

    #[test]
    fn an_answer_of_the_store_leads_to_the_field_of_its_location() {
        for (error, sentence) in [
            (
                "api error SignatureDoesNotMatch: x",
                "the key in Secret velero/cloud-east, which spec.credential of BackupStorageLocation east names",
            ),
            (
                "operation error S3: PutObject, https response error StatusCode: 403, api error AccessDenied: x",
                "allow s3:PutObject on bucket b-1",
            ),
            ("NoSuchBucket: x", "spec.objectStorage.bucket of BackupStorageLocation east"),
            ("AuthorizationHeaderMalformed: x", "spec.config.region of BackupStorageLocation east"),
            ("GET https://a.blob.core.windows.net/b-1: ContainerNotFound: x", "spec.objectStorage.bucket of Backup"),
            ("GET https://a.blob.core.windows.net/b-1: AuthenticationFailed: x", "the key in Secret velero/cloud-east"),
            (
                "ClientSecretCredential authentication failed: AADSTS7000222: ended",
                "the key in Secret velero/cloud-east",
            ),
            (
                "GET https://a.blob.core.windows.net/b-1: AuthorizationPermissionMismatch: x",
                "give the identity of BackupStorageLocation east the role Storage Blob Data Contributor on container b-1",
            ),
            (
                "GET https://a.blob.core.windows.net/b-1: AuthorizationFailure: x",
                "allow the network of Velero's pod in the firewall of its storage account",
            ),
            (
                "googleapi: Error 403: v@p.iam.gserviceaccount.com does not have storage.objects.list access to the Google \
                 Cloud Storage bucket., forbidden",
                "allow storage.objects.list on bucket b-1 to the service account of BackupStorageLocation east",
            ),
            ("storage: bucket doesn't exist", "correct spec.objectStorage.bucket of BackupStorageLocation east"),
        ] {
            check("Backup", error, sentence, "kubectl -n velero get backupstoragelocations.velero.io east -o yaml");
        }
    }

    #[test]
    fn without_a_valid_name_or_a_known_text_nothing_is_said() {
        for error in [
            "",
            "boom",
            "exceeded quota: $(id), requested: pods=1",
            "admission webhook \"a b\" denied the request: x",
            "failed calling webhook \"--all\": x",
            "User \"jane\" cannot create resource \"pods\" in API group \"\"",
            "User \"system:serviceaccount:velero:-x\" cannot create resource \"pods\" in API group \"\"",
            "daemonset pod not found in running state in node ;id",
            "no matches for kind \"A;B\" in version \"v1\"",
            "dial tcp: lookup db: no such host",
        ] {
            assert_eq!(of("Restore", error), None, "{error}");
            assert_eq!(of("Backup", error), None, "{error}");
        }
    }
}
