//! A ResourceQuota that is full is healthy, and refuses what would exceed it.

use serde_json::Value;

use super::Need;
use crate::graph::{Id, View, text};
use crate::kind::Kind;
use crate::leads;
use crate::reason::RootReason;
use crate::texts::{is_name, item};
use crate::walk::Relation;

/// The quota that refused an object, as Kubernetes' admission says it: `exceeded quota: tight, requested: pods=1, used:
/// pods=4, limited: pods=4` (`https://kubernetes.io/docs/concepts/policy/resource-quotas/`). The admission asks only
/// the quotas in the namespace of the object, so the name identifies one quota. Its refusal stays true if the quota has
/// room now.
pub(crate) fn refusing(error: &str, speaker: &Id, object: &Value, view: &View<'_>) -> Option<Need> {
    let (_, rest) = error.split_once("exceeded quota: ")?;
    let name = rest.split(',').next().filter(|name| is_name(name))?;
    let namespace = leads::namespace(error, speaker, object)?;
    let quota = view.list(Kind::ResourceQuota, namespace).find(|quota| quota["metadata"]["name"] == name)?;
    let refused = item(error).map_or(String::new(), |(resource, _, name)| format!("{resource} {name}: "));
    let words = format!("{refused}exceeded quota: {rest}{}", since(rest, &quota["status"]));
    let to = Id::new(Kind::ResourceQuota, namespace, name);
    Some(Need::no(to, words, RootReason::Said(error.to_owned())).by(Relation::Named))
}

/// What of the refusal has changed since: `; now 3 of 8 requests.cpu are used`.
fn since(refusal: &str, status: &Value) -> String {
    let part = |name: &str| {
        let after = refusal.split_once(name).map_or("", |(_, rest)| rest);
        after.split([' ', ';']).next().unwrap_or_default().trim_end_matches(',').to_owned()
    };
    let (used, limited) = (part("used: "), part("limited: "));
    let values = |all: &str, resource: &str| {
        all.split(',')
            .find_map(|one| one.split_once('=').filter(|(name, _)| *name == resource))
            .map(|(_, value)| value.to_owned())
    };
    let now = limited.split(',').filter_map(|one| {
        let (resource, limit) = one.split_once('=')?;
        let (hard, taken) = (text(&status["hard"][resource]), text(&status["used"][resource]));
        let is_same = hard == limit && values(&used, resource).as_deref() == Some(taken);
        let is_known = !hard.is_empty() && !taken.is_empty();
        (is_known && !is_same).then(|| format!("{taken} of {hard} {resource}"))
    });
    let now: Vec<String> = now.collect();
    if now.is_empty() { String::new() } else { format!("; now {} are used", now.join(" and ")) }
}
