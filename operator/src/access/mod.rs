//! The permission map: rights are checked before reading, and a missing right is reported with the shipped rule that
//! would grant it. Nothing is granted or impersonated here: every question is about the caller itself.
//!
//! One SelfSubjectAccessReview is sent for each distinct right. A SelfSubjectRulesReview would be one question for each
//! namespace, but its list may be incomplete when RBAC is not the only authorizer (its own `incomplete` says so), and
//! nothing may be left out because an incomplete list does not name it.

pub mod admission;
pub mod rules;
pub mod shipped;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use debugbundle_format::manifest::{Missing, MissingCode, MissingSeverity, Need, Permission};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::{Api, Client, api::PostParams};
use tokio::time::{Instant, timeout_at};

use crate::{
    cluster::{ApiKind, bounded},
    discovery::Snapshot,
    plan::{Item, ItemSource, Plan, extra_rule, further_rule},
};
use rules::{Role, rule_for};

/// Reviews sent at once.
const AT_ONCE: usize = 8;
/// How long an answer is reused.
const KEPT: Duration = Duration::from_mins(1);
/// Time for all reviews of a bundle; an item without an answer by then is read anyway.
const ALL: Duration = Duration::from_secs(30);
/// Longest `why` (bytes).
const WHY: usize = 512;

/// Asks what its own client may do, and keeps the answers for a minute.
#[derive(Debug, Default)]
pub struct Access {
    kept: Mutex<BTreeMap<Need, (Instant, bool)>>,
}

impl Access {
    /// Whether each of `needs` is granted, as answered at `since` or later. A need without an answer is absent: the
    /// review was refused or failed, or an authorizer was not sure; then only trying shows it.
    pub async fn check(
        &self,
        client: &Client,
        needs: BTreeSet<Need>,
        since: Instant,
        deadline: Instant,
    ) -> BTreeMap<Need, bool> {
        let now = Instant::now();
        let deadline = deadline.min(now + ALL);
        let mut answers = BTreeMap::new();
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.retain(|_, (at, _)| now.duration_since(*at) < KEPT);
            let known = |need: &Need| kept.get(need).filter(|(at, _)| *at >= since).map(|(_, answer)| *answer);
            answers.extend(needs.iter().filter_map(|need| Some((need.clone(), known(need)?))));
        }
        let refused = AtomicBool::new(false);
        let open: Vec<Need> = needs.into_iter().filter(|need| !answers.contains_key(need)).collect();
        let asked = stream::iter(open)
            .map(|need| {
                let refused = &refused;
                async move {
                    if refused.load(Ordering::Relaxed) {
                        return None;
                    }
                    match timeout_at(deadline, review(client, &need)).await {
                        Ok(Ok(answer)) => answer.map(|answer| (need, answer)),
                        Ok(Err(error)) => {
                            tracing::warn!(error = %bounded(&error.to_string(), WHY), "Permissions cannot be checked");
                            refused.store(true, Ordering::Relaxed);
                            None
                        }
                        Err(_) => None,
                    }
                }
            })
            .buffer_unordered(AT_ONCE)
            .filter_map(async |answer| answer)
            .collect::<BTreeMap<Need, bool>>()
            .await;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(asked.iter().map(|(need, answer)| (need.clone(), (now, *answer))));
        answers.extend(asked);
        answers
    }
}

/// `None`: neither yes nor no.
async fn review(client: &Client, need: &Need) -> Result<Option<bool>, kube::Error> {
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(ResourceAttributes {
            verb: filled(&need.verb),
            group: filled(&need.group),
            resource: filled(&need.resource),
            subresource: filled(&need.subresource),
            namespace: filled(&need.namespace),
            // The Role grants `get` of a namespace by its name.
            name: filled(&need.namespace).filter(|_| need.resource == "namespaces"),
            ..ResourceAttributes::default()
        }),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let question = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &question).await?;
    Ok(answer.status.as_ref().and_then(meaning))
}

fn meaning(status: &SubjectAccessReviewStatus) -> Option<bool> {
    match status {
        SubjectAccessReviewStatus { allowed: true, .. } => Some(true),
        SubjectAccessReviewStatus { denied: Some(true), .. } => Some(false),
        // An authorizer did not decide, and the others know of no permission: it may decide the next time.
        SubjectAccessReviewStatus { evaluation_error: Some(error), .. } if !error.is_empty() => None,
        SubjectAccessReviewStatus { .. } => Some(false),
    }
}

/// The right that reading an item needs; `None` if no right on a resource covers it.
pub fn need_of(item: &Item) -> Option<Need> {
    let pods = || ApiKind::namespaced("", "v1", "pods", "Pod");
    match &item.source {
        ItemSource::List { kind, namespace, .. } => Some(need("list", kind, "", namespace.as_deref())),
        ItemSource::Named { kind, objects, .. } => {
            Some(need("get", kind, "", objects.first().map(|one| one.namespace.as_str())))
        }
        // The right to get a Namespace is checked in that namespace.
        ItemSource::Object { kind, name, .. } if kind.group.is_empty() && kind.plural == "namespaces" => {
            Some(need("get", kind, "", Some(name)))
        }
        ItemSource::Object { kind, namespace, .. } => Some(need("get", kind, "", namespace.as_deref())),
        ItemSource::PodLog { namespace, .. } => Some(need("get", &pods(), "log", Some(namespace))),
        ItemSource::Store { .. } | ItemSource::Discovery { .. } => None,
    }
}

/// A right on a kind; no namespace, or an empty one, means the whole cluster.
pub fn need(verb: &str, kind: &ApiKind, subresource: &str, namespace: Option<&str>) -> Need {
    Need {
        verb: verb.to_owned(),
        group: kind.group.clone(),
        resource: kind.plural.clone(),
        subresource: subresource.to_owned(),
        namespace: namespace.unwrap_or_default().to_owned(),
    }
}

/// The distinct rights that a plan needs.
pub fn needs(plan: &Plan) -> BTreeSet<Need> {
    plan.items.iter().filter_map(need_of).collect()
}

/// Removes the items that would be refused from the plan, and reports them as missing.
pub fn without_denied(plan: &mut Plan, answers: &BTreeMap<Need, bool>, read_scope: &ReadScope) {
    let Plan { items, missing, .. } = plan;
    let why = "permission check: the API server would refuse this request";
    let mut closed = BTreeSet::new();
    items.retain(|item| match need_of(item) {
        Some(need) if answers.get(&need) == Some(&false) => {
            match item.source.application(&read_scope.velero) {
                // An application's logs are reported once per namespace, not container by container.
                Some(namespace) => {
                    if closed.insert(namespace.to_owned()) {
                        let (what, path) =
                            (format!("logs of pods in {namespace}"), format!("namespaces/{namespace}/pods"));
                        missing.push(read_scope.forbidden(&what, &path, why, need));
                    }
                }
                None => missing.push(read_scope.forbidden(&item.what, item.path.as_str(), why, need)),
            }
            false
        }
        _ => true,
    });
}

/// `permissions[]` of the manifest: the answers, corrected where a read was refused in spite of a yes.
pub fn permissions(answers: &BTreeMap<Need, bool>, missing: &[Missing], velero: &str) -> Vec<Permission> {
    let mut all = answers.clone();
    let refused = missing.iter().filter(|missing| missing.code == MissingCode::Forbidden);
    all.extend(refused.filter_map(|missing| Some((missing.need.clone()?, false))));
    all.into_iter()
        .map(|(need, allowed)| {
            let rule = rule_for(&need, velero);
            let Need { verb, group, resource, subresource, namespace } = need;
            let needed_for = rule.map_or("objects beyond the shipped roles", |rule| rule.reason).to_owned();
            let rule = rule.map(|rule| rule.id.to_owned()).unwrap_or_default();
            Permission { verb, group, resource, subresource, namespace, allowed, needed_for, rule }
        })
        .collect()
}

/// Velero's namespace, and what else the operator is meant to read.
#[derive(Clone, Debug)]
pub struct ReadScope {
    velero: String,
    cluster_read: bool,
    namespaces: BTreeSet<String>,
}

impl ReadScope {
    /// The scope of the run that took this snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        let listed: Vec<&str> = snapshot.scope.namespaces.iter().flatten().map(String::as_str).collect();
        Self::new(&snapshot.installation.namespace, snapshot.scope.cluster_read, &listed)
    }

    /// `cluster_read`: everything beyond Velero's namespace is to be read; if not, only `namespaces` are.
    pub fn new(velero: &str, cluster_read: bool, namespaces: &[&str]) -> Self {
        let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
        Self { velero: velero.to_owned(), cluster_read, namespaces }
    }

    /// Something that cannot be read without `need`. It is a note if the right is not shipped or is switched off.
    pub fn forbidden(&self, what: &str, path: &str, why: &str, need: Need) -> Missing {
        let rule = rule_for(&need, &self.velero);
        let (expected, cure) = match rule.map(|rule| rule.role) {
            None => {
                let extra = if need.namespace == self.velero {
                    extra_rule(&need.group, &need.resource)
                } else {
                    further_rule(&need.group, &need.resource, &need.namespace)
                };
                (false, extra.unwrap_or_else(|| "no shipped role grants this".to_owned()))
            }
            Some(Role::Operator) => {
                let id = rule.map(|rule| rule.id).unwrap_or_default();
                (true, format!("grant the operator rule {id} of its Role in namespace {}", self.velero))
            }
            Some(trail @ (Role::CauseTrail | Role::Definition)) => {
                (self.cluster_read, format!("bind ClusterRole {}", trail.name()))
            }
            Some(local @ (Role::NamespaceRead | Role::NamespaceLogs)) => {
                let listed = need.namespace != self.velero && self.namespaces.contains(&need.namespace);
                let expected = local == Role::NamespaceRead && (self.cluster_read || listed);
                let place = match need.namespace.as_str() {
                    "" => "for the whole cluster".to_owned(),
                    namespace => format!("in namespace {namespace}"),
                };
                (expected, format!("bind ClusterRole {} {place}", local.name()))
            }
        };
        Missing {
            what: what.to_owned(),
            path: path.to_owned(),
            code: MissingCode::Forbidden,
            severity: if expected { MissingSeverity::Error } else { MissingSeverity::Note },
            why: bounded(why, WHY),
            rule: rule.map(|rule| rule.id.to_owned()),
            cure,
            need: Some(need),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Bodies, LogLimits, Priority, TimeWindow, Want};
    use debugbundle_format::BundlePath;

    fn item(path: &str, source: ItemSource) -> Item {
        let path = BundlePath::new(path.split('/'));
        Item { what: format!("what lies at {path}"), path, source, priority: Priority::P3, node: None }
    }

    fn events(namespace: &str) -> ItemSource {
        let kind = ApiKind::namespaced("", "v1", "events", "Event");
        ItemSource::List { kind, namespace: Some(namespace.to_owned()), want: Want::All }
    }

    fn namespace(name: &str) -> ItemSource {
        let kind = ApiKind::cluster("", "v1", "namespaces", "Namespace");
        ItemSource::Object { kind, namespace: None, name: name.to_owned() }
    }

    fn read_scope(cluster_read: bool, namespaces: &[&str]) -> ReadScope {
        ReadScope::new("vault-ns", cluster_read, namespaces)
    }

    fn plan() -> Plan {
        Plan {
            items: vec![
                item("a", events("vault-ns")),
                item("b", events("shop")),
                item("c", namespace("shop")),
                item("d", ItemSource::Discovery { path: "/api" }),
                item("e", events("shop")),
            ],
            logs: LogLimits { window: TimeWindow::default(), tail_lines: None },
            missing: Vec::new(),
            config_maps: Bodies::default(),
        }
    }

    #[test]
    fn each_right_is_asked_for_once_and_that_on_a_namespace_in_it() {
        let asked: Vec<_> =
            needs(&plan()).into_iter().map(|n| format!("{} {} in {}", n.verb, n.resource, n.namespace)).collect();
        assert_eq!(asked, ["get namespaces in shop", "list events in shop", "list events in vault-ns"]);
    }

    #[test]
    fn what_would_be_refused_is_taken_out_and_told_and_what_is_not_known_stays() {
        let mut plan = plan();
        let [no, yes] = ["shop", "vault-ns"].map(|place| need_of(&item("x", events(place))).unwrap());
        let answers = BTreeMap::from([(no.clone(), false), (yes, true)]);
        without_denied(&mut plan, &answers, &read_scope(true, &[]));
        let left: Vec<_> = plan.items.iter().map(|item| item.path.as_str()).collect();
        assert_eq!(left, ["a", "c", "d"], "of the Namespace there is no answer");
        let told: Vec<_> = plan.missing.iter().map(|m| (m.path.as_str(), m.severity, m.rule.as_deref())).collect();
        assert_eq!(told, [("b", MissingSeverity::Error, Some("R24")), ("e", MissingSeverity::Error, Some("R24"))]);
        assert_eq!(plan.missing[0].cure, "bind ClusterRole debugbundle-namespace-read in namespace shop");
        assert_eq!(plan.missing[0].need.as_ref(), Some(&no));
        let everywhere = need_of(&item("x", events(""))).unwrap();
        let cure = read_scope(true, &[]).forbidden("x", "x", "403 Forbidden", everywhere).cure;
        assert_eq!(cure, "bind ClusterRole debugbundle-namespace-read for the whole cluster");
    }

    #[test]
    fn a_refusal_in_spite_of_a_yes_wins() {
        let asked = need_of(&item("x", events("shop"))).unwrap();
        let answers = BTreeMap::from([(asked.clone(), true)]);
        let [before] = &permissions(&answers, &[], "vault-ns")[..] else { panic!("one") };
        assert_eq!((before.allowed, before.rule.as_str()), (true, "R24"));
        assert!(before.needed_for.contains("events"), "{before:?}");
        let refused = read_scope(true, &[]).forbidden("events", "x", "403 Forbidden", asked);
        let [after] = &permissions(&answers, &[refused], "vault-ns")[..] else { panic!("one") };
        assert!(!after.allowed);
    }

    #[test]
    fn what_is_switched_off_or_not_shipped_is_a_note_and_what_is_switched_on_an_error() {
        let severity = |read_scope: ReadScope, need: &Need| read_scope.forbidden("x", "p", "no", need.clone()).severity;
        let shop = need_of(&item("x", events("shop"))).unwrap();
        assert_eq!(severity(read_scope(true, &[]), &shop), MissingSeverity::Error);
        assert_eq!(severity(read_scope(false, &[]), &shop), MissingSeverity::Note);
        assert_eq!(severity(read_scope(false, &["vault-ns", "shop"]), &shop), MissingSeverity::Error);
        let own = need_of(&item("x", namespace("vault-ns"))).unwrap();
        assert_eq!(severity(read_scope(false, &[]), &own), MissingSeverity::Error);
        let nodes = need("list", &ApiKind::cluster("", "v1", "nodes", "Node"), "", None);
        assert_eq!(severity(read_scope(true, &[]), &nodes), MissingSeverity::Error);
        assert_eq!(severity(read_scope(false, &["shop"]), &nodes), MissingSeverity::Note);
        let pods = ApiKind::namespaced("", "v1", "pods", "Pod");
        assert_eq!(severity(read_scope(true, &[]), &need("get", &pods, "log", Some("shop"))), MissingSeverity::Note);
        let own_logs = need("get", &pods, "log", Some("vault-ns"));
        assert_eq!(severity(read_scope(false, &[]), &own_logs), MissingSeverity::Error);
        let secrets = ApiKind::namespaced("", "v1", "secrets", "Secret");
        let lost = read_scope(true, &[]).forbidden("x", "p", "no", need("list", &secrets, "", Some("vault-ns")));
        assert_eq!(
            (lost.severity, lost.rule, lost.cure.as_str()),
            (MissingSeverity::Note, None, "no shipped role grants this")
        );
    }

    #[test]
    fn an_authorizer_that_is_not_sure_says_neither_yes_nor_no() {
        let status = SubjectAccessReviewStatus::default;
        assert_eq!(meaning(&SubjectAccessReviewStatus { allowed: true, ..status() }), Some(true));
        assert_eq!(meaning(&status()), Some(false));
        let unsure = Some("the webhook does not answer".to_owned());
        assert_eq!(meaning(&SubjectAccessReviewStatus { evaluation_error: unsure.clone(), ..status() }), None);
        let denied = SubjectAccessReviewStatus { evaluation_error: unsure, denied: Some(true), ..status() };
        assert_eq!(meaning(&denied), Some(false));
    }
}
