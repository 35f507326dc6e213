//! The rules in force: the policy's, or the defaults.

use std::time::Duration;

use debugbundle_crd::{BundleTemplate, DebugBundlePolicySpec, Reason, Trigger};
use debugbundle_redact::UserRules;
use kube::core::{Selector, SelectorExt as _};

use super::watched::Watched;

/// What the policy says, with its selector parsed.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    spec: DebugBundlePolicySpec,
    selector: Selector,
    pub(super) stuck_after: Duration,
    pub(super) max_age: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self::of_spec(DebugBundlePolicySpec::default(), Selector::default())
    }
}

impl Rules {
    /// Reads a policy. Takes some time: the rules of its redaction are compiled.
    ///
    /// # Errors
    /// A sentence, if its selector is invalid, or if each DebugBundle of its template would end Failed.
    pub(super) fn of(spec: DebugBundlePolicySpec) -> Result<Self, String> {
        let selector = spec.selector.clone().map_or(Ok(Selector::default()), Selector::try_from);
        let selector = selector.map_err(|error| format!("spec.selector: {error}"))?;
        UserRules::compiled(&spec.template.redaction.rules).map_err(|error| format!("spec.template.{error}"))?;
        Ok(Self::of_spec(spec, selector))
    }

    fn of_spec(spec: DebugBundlePolicySpec, selector: Selector) -> Self {
        Self { stuck_after: spec.stuck_after(), max_age: spec.max_age(), selector, spec }
    }

    /// Why the policy or the target's label allows no DebugBundle; `None` if both allow it.
    pub(super) fn refusal(&self, target: &Watched, trigger: Trigger) -> Option<Reason> {
        let spec = &self.spec;
        let of_schedule = |names: &[String]| target.schedule.as_ref().is_some_and(|name| names.contains(name));
        let selected = spec.triggers.contains(&trigger)
            && spec.kinds.contains(&target.kind)
            && self.selector.matches(&target.labels)
            && (spec.schedules.is_empty() || of_schedule(&spec.schedules));
        if target.is_skipped() {
            Some(Reason::Skipped)
        } else if !selected {
            Some(Reason::NotSelected)
        } else {
            spec.suspend.then_some(Reason::Suspended)
        }
    }

    pub(super) fn rate_per_hour(&self) -> usize {
        usize::try_from(self.spec.rate_per_hour).unwrap_or(0)
    }

    pub(super) fn keep_per_target(&self) -> usize {
        usize::try_from(self.spec.keep_per_target).unwrap_or(1)
    }

    pub(super) fn keep_total(&self) -> usize {
        usize::try_from(self.spec.keep_total).unwrap_or(1)
    }

    pub(super) fn spec(&self) -> &DebugBundlePolicySpec {
        &self.spec
    }

    pub(super) fn template(&self) -> &BundleTemplate {
        &self.spec.template
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.spec.suspend
    }
}

#[cfg(test)]
mod tests {
    use debugbundle_crd::TargetKind;
    use serde_json::json;

    use super::{super::watched::tests::restore, *};

    fn rules(spec: serde_json::Value) -> Result<Rules, String> {
        Rules::of(serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn a_policy_selects_by_trigger_kind_labels_and_schedule() {
        let mut target = restore("Failed", "2026-11-23T03:07:00Z", None);
        target.labels.insert("team".into(), "shop".into());
        let refusal = |spec| rules(spec).unwrap().refusal(&target, Trigger::Failed);
        assert_eq!(refusal(json!({})), None);
        assert_eq!(refusal(json!({"triggers": ["Stuck"]})), Some(Reason::NotSelected));
        assert_eq!(refusal(json!({"kinds": ["Backup"]})), Some(Reason::NotSelected));
        assert_eq!(refusal(json!({"selector": {"matchLabels": {"team": "shop"}}})), None);
        assert_eq!(
            refusal(
                json!({"selector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["shop"]}]}})
            ),
            Some(Reason::NotSelected)
        );
        assert_eq!(refusal(json!({"schedules": ["nightly"]})), Some(Reason::NotSelected));
        assert_eq!(refusal(json!({"suspend": true})), Some(Reason::Suspended));
        let scheduled = Watched { kind: TargetKind::Backup, schedule: Some("nightly".into()), ..target.clone() };
        assert_eq!(rules(json!({"schedules": ["nightly"]})).unwrap().refusal(&scheduled, Trigger::Failed), None);
        let mut skipped = target.clone();
        skipped.labels.insert("debugbundle.io/skip".into(), "true".into());
        assert_eq!(Rules::default().refusal(&skipped, Trigger::Failed), Some(Reason::Skipped));
    }

    #[test]
    fn an_invalid_selector_is_a_sentence() {
        let bad = json!({"selector": {"matchExpressions": [{"key": "team", "operator": "Near", "values": ["shop"]}]}});
        let error = rules(bad).unwrap_err();
        assert!(error.starts_with("spec.selector: ") && error.contains("operator"), "{error}");
    }

    #[test]
    fn a_template_whose_bundles_would_all_fail_is_a_sentence() {
        let error = |redaction| rules(json!({"template": {"redaction": {"rules": redaction}}})).unwrap_err();
        let one = error(json!(["fine", "("]));
        assert!(one.starts_with("spec.template.redaction.rules[1]: "), "{one}");
        let large = error(json!(vec!["[a-zé]{200}\\w{200}"; 40]));
        assert!(large.starts_with("spec.template.redaction.rules"), "{large}");
    }
}
