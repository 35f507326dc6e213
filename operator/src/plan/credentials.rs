//! Kinds that exist to hold credentials: no bundle reads them, whichever group serves them and whatever a table says.
//! `redact` masks credentials in other kinds, and drops a Secret that is embedded in another object.

use crate::cluster::ApiKind;

/// Parts of plurals and kinds, in lower case: Secrets and what is made into one (SealedSecret, ExternalSecret,
/// SecretStore, SecretProviderClass, VaultStaticSecret …), OpenShift's CredentialsRequest, OAuthClient and its tokens,
/// requests for certificates, Helm's releases with their values.
const WORDS: [&str; 10] = [
    "apikey",
    "certificatesigningrequest",
    "credential",
    "helmrelease",
    "kubeconfig",
    "oauth",
    "password",
    "privatekey",
    "secret",
    "token",
];

/// Whether it is such a kind, by its name in any group: rather one too many than one too few.
pub(super) fn holds(kind: &ApiKind) -> bool {
    named(&kind.plural) || named(&kind.kind)
}

/// The same by plural or kind alone.
pub(super) fn named(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        discovery::{
            Looked, NamespaceCandidate, Relevance,
            fixture::{snapshot, target},
        },
        plan::{Bodies, Plan, extra_rule, further_rule, plan},
    };

    /// Plural and kind, as the projects that define them name them.
    const NEVER: [(&str, &str); 16] = [
        ("secrets", "Secret"),
        ("certificatesigningrequests", "CertificateSigningRequest"),
        ("sealedsecrets", "SealedSecret"),
        ("externalsecrets", "ExternalSecret"),
        ("clusterexternalsecrets", "ClusterExternalSecret"),
        ("secretstores", "SecretStore"),
        ("clustersecretstores", "ClusterSecretStore"),
        ("pushsecrets", "PushSecret"),
        ("secretproviderclasses", "SecretProviderClass"),
        ("vaultdynamicsecrets", "VaultDynamicSecret"),
        ("credentialsrequests", "CredentialsRequest"),
        ("oauthaccesstokens", "OAuthAccessToken"),
        ("oauthclients", "OAuthClient"),
        ("helmreleases", "HelmRelease"),
        // From a row of the tables that ends in `*`.
        ("nonadminsecrets", "NonAdminSecret"),
        ("virtualmachinecredentials", "VirtualMachineCredential"),
    ];
    const GROUPS: [&str; 9] = [
        "velero.io",
        "oadp.openshift.io",
        "operators.coreos.com",
        "datamover.cnsdp.vmware.com",
        "backupdriver.cnsdp.vmware.com",
        "snapshot.storage.k8s.io",
        "storage.k8s.io",
        "config.openshift.io",
        "apiregistration.k8s.io",
    ];

    fn asked(plan: &Plan) -> Vec<&ApiKind> {
        plan.items.iter().filter_map(|item| item.source.kind()).collect()
    }

    #[test]
    fn sec_x2_kinds_that_hold_credentials_are_asked_for_in_no_group_and_that_is_told() {
        let mut snapshot = snapshot();
        snapshot.target.object = Some(target(debugbundle_crd::TargetKind::Restore, "Failed"));
        let why = "podvolumerestores harvest-1".into();
        snapshot.namespaces.candidates = vec![NamespaceCandidate {
            namespace: "shop".into(),
            why,
            relevance: Relevance::Trouble,
            whole: true,
            looked: Looked::Yes,
        }];
        let kinds = NEVER.into_iter().chain([("nonadminbackups", "NonAdminBackup")]);
        for (group, namespaced) in GROUPS.into_iter().flat_map(|group| [(group, true), (group, false)]) {
            let all: Vec<Value> = kinds
                .clone()
                .map(
                    |(plural, kind)| json!({"name": plural, "kind": kind, "namespaced": namespaced, "verbs": ["list"]}),
                )
                .collect();
            snapshot.installation.served.add_resource_list(group, "v1", &json!({"resources": all}));
        }
        let plan = plan(&debugbundle_crd::DebugBundleSpec::installation(), &snapshot, jiff::Timestamp::UNIX_EPOCH);
        let asked = asked(&plan);
        assert!(asked.len() > 30, "{asked:?}");
        for kind in &asked {
            assert!(!NEVER.iter().any(|(plural, name)| kind.plural == *plural || kind.kind == *name), "{kind:?}");
        }
        // Another kind from the same row is read.
        assert!(asked.iter().any(|kind| kind.plural == "nonadminbackups"));
        for path in
            ["namespaces/keep/velero.io/secretstores.yaml", "namespaces/shop/oadp.openshift.io/nonadminsecrets.yaml"]
        {
            let told: Vec<_> = plan.missing.iter().filter(|missing| missing.path == path).collect();
            assert!(matches!(&told[..], [one] if one.why.contains("never requested")), "{path}: {told:?}");
        }
    }

    #[test]
    fn sec_x2_no_cure_names_such_a_kind() {
        for (group, (plural, _)) in GROUPS.into_iter().flat_map(|group| NEVER.into_iter().map(move |row| (group, row)))
        {
            assert_eq!(extra_rule(group, plural), None, "{group}/{plural}");
            assert_eq!(further_rule(group, plural, "shop"), None, "{group}/{plural}");
            assert_eq!(further_rule(group, plural, ""), None, "{group}/{plural}");
        }
    }

    #[test]
    fn sec_x2_of_helms_releases_only_the_keys_are_kept() {
        let mut snapshot = snapshot();
        snapshot.installation.served = crate::discovery::Served::default();
        let plan = plan(&debugbundle_crd::DebugBundleSpec::installation(), &snapshot, jiff::Timestamp::UNIX_EPOCH);
        let bodies: &Bodies = &plan.config_maps;
        let map = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
        let plugin = json!({"velero.io/plugin-config": ""});
        assert!(bodies.of(&map("mine", plugin.clone())), "the plugin's own is kept");
        let mut helms = plugin.clone();
        helms["owner"] = "helm".into();
        assert!(!bodies.of(&map("mine", helms)), "by its label");
        assert!(!bodies.of(&map("sh.helm.release.v1.velero.v3", plugin)), "by its name");
    }
}
