//! An account's requests to the API server, call by call, compared with the table of shipped permissions.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use debugbundle_format::manifest::Need;
use debugbundle_operator::access::rules::{RULES, Role, Rule, rule_for};
use serde_json::Value;

use crate::{Context, TestCluster};

/// Verb, API group and resource with its subresource, of a role.
pub type Right = (&'static str, String, String, String);

/// A call, from the audit log.
#[derive(Clone, Debug)]
pub struct Call {
    /// The right that it needs; the empty namespace is the whole cluster.
    pub need: Need,
    /// Name of the object, empty for lists.
    pub name: String,
}

impl TestCluster {
    /// All calls of a user that needed a right on a resource.
    pub fn calls(&self, user: &str) -> Vec<Call> {
        self.audited(user).iter().filter_map(Call::read).collect()
    }
}

impl Call {
    fn read(event: &Value) -> Option<Self> {
        let object = event["objectRef"].as_object()?;
        let field = |name| object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let need = Need {
            verb: event["verb"].as_str()?.to_owned(),
            group: field("apiGroup"),
            resource: field("resource"),
            subresource: field("subresource"),
            namespace: field("namespace"),
        };
        // Every account may review its own rights.
        let about_itself = need.group == "authorization.k8s.io" && need.resource.starts_with("selfsubject");
        (!about_itself && !need.resource.is_empty()).then(|| Self { need, name: field("name") })
    }

    fn resource(&self) -> String {
        let Need { resource, subresource, .. } = &self.need;
        if subresource.is_empty() { resource.clone() } else { format!("{resource}/{subresource}") }
    }

    /// The matching right of the table, with `velero` as Velero's namespace.
    pub fn right(&self, velero: &str) -> Option<Right> {
        let of_definition = |rule: &&Rule| rule.role == Role::Definition && rule.names.contains(&self.name.as_str());
        let rule = RULES.iter().find(of_definition).or_else(|| rule_for(&self.need, velero))?;
        Some((rule.role.name(), self.need.verb.clone(), self.need.group.clone(), self.resource()))
    }
}

/// All rights of the table.
pub fn all_rights() -> BTreeSet<Right> {
    let mut all = BTreeSet::new();
    for rule in RULES {
        for (resource, verb) in rule.resources.iter().flat_map(|one| rule.verbs.iter().map(move |verb| (one, verb))) {
            all.insert((rule.role.name(), (*verb).to_owned(), rule.group.to_owned(), (*resource).to_owned()));
        }
    }
    all
}

impl Context {
    /// From now on, calls of that account include the test's own, which reads without a permission review first.
    pub fn reads_directly(&self) {
        self.read_directly.store(true, Ordering::Relaxed);
    }

    /// Calls of the operators' account that no shipped rule grants, whatever their result.
    pub fn beyond_the_table(&self) -> BTreeSet<String> {
        let Some(account) = self.shipped.get() else { return BTreeSet::new() };
        if self.read_directly.load(Ordering::Relaxed) {
            return BTreeSet::new();
        }
        let calls = self.stand.calls(&account.user).into_iter();
        let further = self.further.lock().expect("nobody panicked").clone();
        let beyond = calls.filter(|call| !further.contains(&call.need.group) && call.right(&self.namespace).is_none());
        beyond.map(|call| format!("{:?} {}", call.need, call.name)).collect()
    }
}
