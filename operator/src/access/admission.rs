//! The shipped admission policies: the creator of a DebugBundle must be allowed to read what it will contain, and only the
//! operator sets the labels by which it knows its own DebugBundles. The API server checks its caller before it stores the
//! object; the operator takes no part in that.

use std::fmt::Write as _;

use debugbundle_crd::{SCHEDULE_LABEL, TARGET_KIND_LABEL, TARGET_NAME_LABEL, TARGET_UID_LABEL, TRIGGER_LABEL};

use super::shipped::MEND;

/// The most namespaces in `spec.namespaces`, as in the CustomResourceDefinition.
pub const NAMESPACES: usize = 32;

/// Checks in one expression. Each costs 350 000 of the 1 000 000 units that an expression may cost (`PerCallLimit` in
/// k8s.io/apiserver `pkg/apis/cel`), so that a third check would refuse every request.
const IN_EXPRESSION: usize = 2;
/// Namespaces in one policy, whose expressions together may cost 10 000 000 units (`RuntimeCELCostBudget`, same place).
const IN_POLICY: usize = 16;

/// The names of the policies, and of their bindings.
pub const NAMES: [&str; NAMESPACES / IN_POLICY] = ["debugbundle-requester", "debugbundle-requester-further"];

/// The name of the policy for DebugBundlePolicies, and of its binding.
pub const AUTHOR: &str = "debugbundle-policy-author";

/// The name of the policy for the operator's labels, and of its binding.
pub const LABELS: &str = "debugbundle-operator-labels";

/// The labels of a DebugBundle that the operator created by itself.
const OPERATORS: [&str; 5] = [TRIGGER_LABEL, TARGET_KIND_LABEL, TARGET_NAME_LABEL, TARGET_UID_LABEL, SCHEDULE_LABEL];

const HEAD: &str = "\
# The creator of a DebugBundle needs permission to get pods/log in its namespace, and in each namespace of
# spec.namespaces: the operator reads with its own permissions. The author of a DebugBundlePolicy needs the same
# permission in its namespace: for a policy the operator creates DebugBundles itself. Only the operator sets the labels
# of the DebugBundles that it creates itself. The API server checks this (docs/permissions.md).
# One check costs 350 000 of the 1 000 000 units that an expression may cost: hence two in each, and two policies.
";
const BINDINGS: &str = "\
# Binds the policies in every namespace, so that they apply in any namespace that an overlay sets. No operator reads
# DebugBundles in other namespaces. Without this file the policies apply nowhere.
";

/// Path from the repository's root and text of both files.
pub fn files() -> [(String, String); 2] {
    let by = format!("# Written by `{MEND}` from operator/src/access/admission.rs; change it there.\n");
    let mut policies: Vec<String> = (0..NAMES.len()).map(policy).collect();
    policies.extend([policy_author(), operators_labels()]);
    let bindings: Vec<String> = NAMES.into_iter().chain([AUTHOR, LABELS]).map(binding).collect();
    [
        ("deploy/admission/policies.yaml".to_owned(), format!("{HEAD}{by}{}", policies.join("---\n"))),
        ("deploy/admission/bindings.yaml".to_owned(), format!("{BINDINGS}{by}{}", bindings.join("---\n"))),
    ]
}

fn binding(name: &str) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata:\n  name: {name}\n\
         spec:\n  policyName: {name}\n  validationActions: [Deny]\n"
    )
}

fn policy(number: usize) -> String {
    let mut text = format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata:\n  name: {}\nspec:\n  \
         failurePolicy: Fail\n  matchConstraints:\n    resourceRules:\n    - apiGroups: [debugbundle.io]\n      \
         apiVersions: [\"*\"]\n      operations: [CREATE]\n      resources: [debugbundles]\n  variables:\n  - name: ns\n    \
         expression: \"has(object.spec.namespaces) ? object.spec.namespaces : []\"\n  validations:\n",
        NAMES[number]
    );
    if number == 0 {
        text += &own_namespace();
    }
    let first = number * IN_POLICY;
    (first..first + IN_POLICY).step_by(IN_EXPRESSION).for_each(|index| text += &pair(index));
    text
}

/// A DebugBundlePolicy names no namespaces, so only its own namespace is checked.
fn policy_author() -> String {
    let head = format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata:\n  name: {AUTHOR}\nspec:\n  \
         failurePolicy: Fail\n  matchConstraints:\n    resourceRules:\n    - apiGroups: [debugbundle.io]\n      \
         apiVersions: [\"*\"]\n      operations: [CREATE, UPDATE]\n      resources: [debugbundlepolicies]\n  validations:\n"
    );
    let refusal = validation(
        &[allowed("request.namespace")],
        "'for a DebugBundlePolicy the operator collects logs of pods: to write one in namespace ' + request.namespace + ' \
         you need permission to get pods/log there'",
        "for a DebugBundlePolicy the operator collects logs of pods: to write one you need permission to get pods/log in \
         its namespace",
    );
    head + &refusal
}

/// The operator is known by its right to patch the status of DebugBundles: no other shipped role has it. Labels that stay as
/// they are need no right.
fn operators_labels() -> String {
    let quoted: Vec<String> = OPERATORS.iter().map(|label| format!("'{label}'")).collect();
    let head = format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata:\n  name: {LABELS}\nspec:\n  \
         failurePolicy: Fail\n  matchConstraints:\n    resourceRules:\n    - apiGroups: [debugbundle.io]\n      \
         apiVersions: [\"*\"]\n      operations: [CREATE, UPDATE]\n      resources: [debugbundles]\n  variables:\n  - name: labels\n    \
         expression: \"has(object.metadata.labels) ? object.metadata.labels : {{}}\"\n  - name: before\n    \
         expression: \"oldObject != null && has(oldObject.metadata.labels) ? oldObject.metadata.labels : {{}}\"\n  validations:\n"
    );
    let same = "(label in variables.labels ? variables.labels[label] : '') ==";
    let refusal = validation(
        &[
            format!("[{}].all(label,", quoted.join(", ")),
            same.to_owned(),
            "(label in variables.before ? variables.before[label] : '')) ||".to_owned(),
            "authorizer.group('debugbundle.io').resource('debugbundles').subresource('status')".to_owned(),
            ".namespace(request.namespace).check('patch').allowed()".to_owned(),
        ],
        &format!("'{LABELS_REFUSED}'"),
        LABELS_REFUSED,
    );
    head + &refusal
}

const LABELS_REFUSED: &str = "only the operator sets the labels debugbundle.io/trigger, target-kind, target-name, \
                              target-uid and schedule: leave them out, or as they are";

/// CEL that checks the right to read pods' logs in a namespace, the most sensitive data of a bundle.
fn allowed(namespace: &str) -> String {
    format!("authorizer.group('').resource('pods').subresource('log').namespace({namespace}).check('get').allowed()")
}

fn own_namespace() -> String {
    validation(
        &[allowed("request.namespace")],
        "'a DebugBundle contains logs of pods: to create one in namespace ' + request.namespace + ' you need \
         permission to get pods/log there'",
        "a DebugBundle contains logs of pods: to create one you need permission to get pods/log in its namespace",
    )
}

/// The validation of the namespaces at `index` and at the next place of the list.
fn pair(index: usize) -> String {
    let (one, two) = (format!("variables.ns[{index}]"), format!("variables.ns[{}]", index + 1));
    let next = index + 1;
    validation(
        &[
            format!("size(variables.ns) <= {index} ||"),
            format!("({} &&", allowed(&one)),
            format!("(size(variables.ns) <= {next} ||"),
            format!("{}))", allowed(&two)),
        ],
        &format!(
            "'spec.namespaces: to list a namespace you need permission to get pods/log in it; you lack it in ' + {one} \
             + (size(variables.ns) > {next} ? ' or ' + {two} : '')"
        ),
        "spec.namespaces: to list a namespace you need permission to get pods/log in it",
    )
}

/// `message` is used if the message's expression fails.
fn validation(lines: &[String], expression: &str, message: &str) -> String {
    let mut text = "  - expression: >-\n".to_owned();
    for line in lines {
        let _ = writeln!(text, "      {line}");
    }
    let _ = writeln!(text, "    messageExpression: >-\n      {expression}");
    let _ = writeln!(text, "    message: \"{message}\"\n    reason: Forbidden");
    text
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use serde_json::{Value, json};

    use super::*;

    fn text(path: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn read(file: usize) -> Vec<Value> {
        serde_saphyr::from_multiple(&files()[file].1).unwrap()
    }

    #[test]
    fn sec_d4_the_policies_that_are_committed_are_those_written_here() {
        for (path, wanted) in files() {
            assert!(text(&path) == wanted, "{path} is not as it is written; mend it with: {MEND}");
        }
    }

    #[test]
    fn sec_d4_each_namespace_that_can_be_named_is_checked_once_and_no_expression_checks_three() {
        let crds: Vec<Value> = serde_saphyr::from_multiple(&text("deploy/crd.yaml")).unwrap();
        let crd = &crds[0];
        let named = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/namespaces/maxItems";
        assert_eq!(crd.pointer(named), Some(&json!(NAMESPACES)));
        let mut checked = BTreeMap::<String, usize>::new();
        let of_requests = |policy: &&Value| NAMES.iter().any(|name| policy["metadata"]["name"] == *name);
        for policy in read(0).iter().filter(of_requests) {
            let validations = policy["spec"]["validations"].as_array().unwrap();
            let mut checks = 0;
            for validation in validations {
                let expression = validation["expression"].as_str().unwrap();
                let places = expression.split(".namespace(").skip(1).map(|rest| rest.split_once(')').unwrap().0);
                let before = checks;
                for place in places {
                    *checked.entry(place.to_owned()).or_default() += 1;
                    checks += 1;
                }
                assert_eq!(expression.matches(".check('get')").count(), checks - before, "{expression}");
                assert!((1..=IN_EXPRESSION).contains(&(checks - before)), "{expression}");
            }
            assert!(checks * 350_000 < 10_000_000, "{checks}");
            assert_eq!(policy["spec"]["failurePolicy"], "Fail");
        }
        let mut wanted: BTreeMap<String, usize> = (0..NAMESPACES).map(|n| (format!("variables.ns[{n}]"), 1)).collect();
        wanted.insert("request.namespace".to_owned(), 1);
        assert_eq!(checked, wanted);
    }

    #[test]
    fn sec_d4_each_policy_is_bound_and_refuses() {
        let bound: Vec<_> = read(1).iter().map(|binding| binding["spec"].clone()).collect();
        let names: Vec<_> = NAMES.into_iter().chain([AUTHOR, LABELS]).collect();
        let deny = |name: &&str| json!({"policyName": name, "validationActions": ["Deny"]});
        assert_eq!(bound, names.iter().map(deny).collect::<Vec<_>>());
        let written: Vec<_> = read(0).iter().map(|policy| policy["metadata"]["name"].clone()).collect();
        assert_eq!(written, names);
    }
}
