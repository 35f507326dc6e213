//! The chart as helm renders it: it grants the same rights as `deploy/`, and no value makes it grant a forbidden right.

use std::collections::{BTreeMap, BTreeSet};

use debugbundle_operator::access::admission;
use debugbundle_operator::access::rules::{RULES, Role};
use debugbundle_operator::access::shipped::role_files;
use serde_json::{Value, json};

use crate::support::chart::{IMAGE, NAMESPACE, chart, of_kind, render, rendered, template, text, with_image};

/// Rules of each role of the operator, by its name.
fn granted(objects: &[Value]) -> BTreeMap<String, Value> {
    let roles = of_kind(objects, "Role").chain(of_kind(objects, "ClusterRole"));
    let operators = roles.filter(|role| Role::ALL.iter().any(|one| one.name() == text(role, "/metadata/name")));
    operators.map(|role| (text(role, "/metadata/name").to_owned(), role["rules"].clone())).collect()
}

/// Kind, namespace and role of each binding; checks the bound subjects on the way.
fn bound(objects: &[Value]) -> BTreeSet<(String, String, String)> {
    let bindings = of_kind(objects, "RoleBinding").chain(of_kind(objects, "ClusterRoleBinding"));
    let bindings = bindings.map(|binding| {
        let subject = json!([{"kind": "ServiceAccount", "name": "debugbundle-operator", "namespace": NAMESPACE}]);
        assert_eq!(binding["subjects"], subject, "{binding}");
        let pointers = ["/kind", "/metadata/namespace", "/roleRef/name"];
        let [kind, namespace, role] = pointers.map(|pointer| text(binding, pointer).to_owned());
        (kind, namespace, role)
    });
    bindings.collect()
}

fn binding(kind: &str, namespace: &str, role: Role) -> (String, String, String) {
    (kind.to_owned(), namespace.to_owned(), role.name().to_owned())
}

#[tokio::test]
async fn sec_r32_the_chart_grants_and_binds_what_deploy_does() {
    let deployed: BTreeMap<String, Value> = role_files()
        .iter()
        // The one difference: the chart knows the name of Velero's namespace.
        .map(|(_, text)| text.replace("resourceNames: [velero]", &format!("resourceNames: [{NAMESPACE}]")))
        .map(|text| serde_saphyr::from_str::<Value>(&text).expect("YAML"))
        .map(|role| (role["metadata"]["name"].as_str().unwrap().to_owned(), role["rules"].clone()))
        .collect();
    let objects = rendered(json!({})).await;
    assert_eq!(granted(&objects), deployed);
    let role = binding("RoleBinding", NAMESPACE, Role::Operator);
    let wide = [Role::CauseTrail, Role::NamespaceRead].map(|role| binding("ClusterRoleBinding", "", role));
    let [trail, read] = wide;
    let definition = binding("ClusterRoleBinding", "", Role::Definition);
    assert_eq!(bound(&objects), BTreeSet::from([role.clone(), definition.clone(), trail.clone(), read.clone()]));

    let base = rendered(json!({"access": "namespaced"})).await;
    assert_eq!(granted(&base), deployed);
    let always = BTreeSet::from([role.clone(), definition.clone()]);
    assert_eq!(bound(&base), always, "the base install binds the Role, and the right to get the definition");
    let some = rendered(
        json!({"access": "namespaced", "namespaces": ["shop"], "applicationLogs": {"namespaces": ["shop", "till"]}}),
    );
    let local = |namespace, role| binding("RoleBinding", namespace, role);
    let wanted = [
        role.clone(),
        definition.clone(),
        local("shop", Role::NamespaceRead),
        local("shop", Role::NamespaceLogs),
        local("till", Role::NamespaceLogs),
    ];
    assert_eq!(bound(&some.await), wanted.into());
    let logs = rendered(json!({"applicationLogs": {"namespaces": ["shop"]}})).await;
    assert_eq!(bound(&logs), BTreeSet::from([role, definition, trail, read, local("shop", Role::NamespaceLogs)]));
}

#[tokio::test]
async fn sec_r33_with_no_values_is_there_a_wildcard_an_empty_list_or_a_verb_beyond_the_table() {
    for values in [
        json!({}),
        json!({"access": "namespaced", "namespaces": ["shop"], "humanRoles": {"create": false}}),
        json!({"secrets": {"defaults": false, "names": ["vault"]}}),
        json!({"clusterRoles": {"create": false}, "applicationLogs": {"namespaces": ["shop"]}}),
    ] {
        let objects = rendered(values).await;
        for (role, rules) in granted(&objects) {
            for rule in rules.as_array().expect("rules") {
                let whole = rule.to_string();
                assert!(!whole.contains('*') && !whole.contains("[]"), "{role}: {rule}");
                if role == "debugbundle-operator" && rule["resources"] == json!(["namespaces"]) {
                    assert_eq!(rule["resourceNames"], json!([NAMESPACE]), "Velero's, and no other");
                }
                let words = |key: &str| rule[key].as_array().into_iter().flatten().filter_map(Value::as_str);
                for (resource, verb) in words("resources").flat_map(|one| words("verbs").map(move |verb| (one, verb))) {
                    let known = RULES.iter().any(|known| {
                        known.role.name() == role
                            && words("apiGroups").all(|group| group == known.group)
                            && known.resources.contains(&resource)
                            && known.verbs.contains(&verb)
                            && known.names.is_empty() == rule["resourceNames"].is_null()
                    });
                    assert!(known, "{role}: {verb} {resource} is not in the table");
                }
            }
        }
    }
}

#[tokio::test]
async fn sec_r13_the_chart_fails_rather_than_render_an_empty_list_of_secrets() {
    let names = |objects: &[Value]| -> Value {
        let rules = granted(objects).remove("debugbundle-operator").unwrap();
        let of_secrets = |rule: &&Value| rule["resources"] == json!(["secrets"]);
        rules.as_array().unwrap().iter().find(of_secrets).unwrap()["resourceNames"].clone()
    };
    let shipped =
        ["cloud-credentials", "cloud-credentials-azure", "cloud-credentials-gcp", "velero", "velero-repo-credentials"];
    assert_eq!(names(&rendered(json!({})).await), json!(shipped));
    let mut added = shipped.to_vec();
    added.insert(0, "a-key");
    assert_eq!(names(&rendered(json!({"secrets": {"names": ["a-key"]}})).await), json!(added));
    let own = json!({"secrets": {"defaults": false, "names": ["a-key"]}});
    assert_eq!(names(&rendered(own).await), json!(["a-key"]));
    for (values, said) in [
        (json!({"defaults": false}), "no name is left, and an empty list would mean every Secret"),
        (json!({"defaults": false, "names": []}), "no name is left, and an empty list would mean every Secret"),
        (json!({"names": [""]}), "secrets.names: a name is empty"),
    ] {
        let values = json!({"secrets": values});
        let refused = render(&values, true).await.expect_err("the schema refuses it");
        assert!(refused.contains("/secrets"), "{values}: {refused}");
        let refused = render(&values, false).await.expect_err("so does the template");
        assert!(refused.contains(said), "{values}: {refused}");
    }
}

#[tokio::test]
async fn sec_r15_extra_rules_are_for_reading_and_name_what_they_are_about() {
    let rule = |group: &str, resource: &str, verb: &str| json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]});
    let with = |change: Value| {
        let mut rule = rule("a.example", "things", "get");
        for (key, value) in change.as_object().unwrap() {
            rule[key] = value.clone();
        }
        rule
    };
    let kept = json!([
        rule("oadp.openshift.io", "dataprotectionapplications", "get"),
        rule("", "services", "list"),
        with(json!({"resourceNames": ["one"]}))
    ]);
    let rules = granted(&rendered(json!({"extraRules": kept})).await).remove("debugbundle-operator").unwrap();
    assert!(rules.as_array().unwrap().ends_with(kept.as_array().unwrap()), "{rules:#}");
    for bad in [
        rule("a.example", "things", "watch"),
        rule("a.example", "things", "create"),
        rule("a.example", "things", "*"),
        rule("*", "things", "get"),
        rule("a.example", "*", "get"),
        rule("", "secrets", "get"),
        rule("", "pods/exec", "get"),
        with(json!({"resourceNames": []})),
        with(json!({"resourceNames": [""]})),
        with(json!({"resources": []})),
        with(json!({"verbs": []})),
        with(json!({"nonResourceURLs": ["*"]})),
        json!({"apiGroups": [""], "verbs": ["get"]}),
    ] {
        let values = json!({"extraRules": [bad]});
        let refused = render(&values, true).await.expect_err(&values.to_string());
        assert!(refused.contains("/extraRules/0"), "the schema: {values}: {refused}");
        let refused = render(&values, false).await.expect_err(&values.to_string());
        assert!(refused.contains("extraRules: "), "the template: {values}: {refused}");
    }
}

#[tokio::test]
async fn sec_r16_nothing_of_the_chart_is_aggregated_into_other_roles() {
    let objects = rendered(json!({})).await;
    let people: BTreeSet<&str> = of_kind(&objects, "Role").map(|role| text(role, "/metadata/name")).collect();
    assert_eq!(people, BTreeSet::from(["debugbundle-editor", "debugbundle-operator", "debugbundle-viewer"]));
    for object in &objects {
        let labels = object["metadata"]["labels"].to_string();
        assert!(!labels.contains("aggregate-to"), "{object}");
        assert!(object["aggregationRule"].is_null(), "{object}");
    }
}

#[tokio::test]
async fn sec_p5_a_network_policy_lets_out_what_is_needed_and_nothing_in() {
    assert_eq!(of_kind(&rendered(json!({})).await, "NetworkPolicy").count(), 0, "it is off by default");
    let minio = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "minio"}}}]);
    let objects = rendered(json!({"networkPolicy": {
        "enabled": true,
        "apiServer": {"cidrs": ["10.0.0.1/32"], "ports": [6443]},
        "store": {"to": minio, "ports": [9000]},
    }}))
    .await;
    let [policy] = &of_kind(&objects, "NetworkPolicy").collect::<Vec<_>>()[..] else { panic!("one policy") };
    assert_eq!(text(policy, "/metadata/namespace"), NAMESPACE);
    let tcp = |port: u16| json!({"protocol": "TCP", "port": port});
    let wanted = json!({
        "podSelector": policy["spec"]["podSelector"],
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [],
        "egress": [
            {"ports": [{"protocol": "UDP", "port": 53}, tcp(53), {"protocol": "UDP", "port": 5353}, tcp(5353)]},
            {"ports": [tcp(6443)], "to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]},
            {"ports": [tcp(9000)], "to": minio},
        ],
    });
    assert_eq!(policy["spec"], wanted);
    let from = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]);
    let scraped = rendered(json!({"networkPolicy": {"enabled": true, "metrics": {"from": from}}})).await;
    let ingress = &of_kind(&scraped, "NetworkPolicy").next().expect("a policy")["spec"]["ingress"];
    assert_eq!(*ingress, json!([{"ports": [{"protocol": "TCP", "port": "http"}], "from": from}]));
    let deployment = of_kind(&objects, "Deployment").next().expect("the operator's");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let selected = policy["spec"]["podSelector"]["matchLabels"].as_object().expect("labels");
    assert!(!selected.is_empty(), "it is about the operator's pod alone");
    for (name, value) in selected {
        assert_eq!(&labels[name], value, "{name}: it selects the operator's pod");
    }
}

#[tokio::test]
async fn sec_u1_the_chart_hands_on_for_how_long_a_url_may_be_signed() {
    let minutes = async |values| {
        let objects = rendered(values).await;
        let deployment = of_kind(&objects, "Deployment").next().expect("the operator's");
        let args = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().expect("flags");
        let given = args.iter().filter_map(|arg| arg.as_str()?.strip_prefix("--max-url-ttl-minutes="));
        given.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(minutes(json!({})).await, ["10080"]);
    assert_eq!(minutes(json!({"downloadUrl": {"maxTtlMinutes": 60}})).await, ["60"]);
    for refused in [json!(0), json!(10_081), json!("60")] {
        let error = render(&json!({"downloadUrl": {"maxTtlMinutes": refused}}), true).await.unwrap_err();
        assert!(error.contains("maxTtlMinutes"), "{error}");
    }
}

#[tokio::test]
async fn sec_d4_the_chart_binds_the_policies_of_deploy_to_its_own_namespace() {
    let deployed: Vec<Value> = serde_saphyr::from_multiple(&admission::files()[0].1).expect("YAML");
    let objects = rendered(json!({})).await;
    let policies: Vec<&Value> = of_kind(&objects, "ValidatingAdmissionPolicy").collect();
    let bindings: Vec<&Value> = of_kind(&objects, "ValidatingAdmissionPolicyBinding").collect();
    assert_eq!((policies.len(), bindings.len()), (deployed.len(), deployed.len()));
    for (number, wanted) in deployed.iter().enumerate() {
        let name = format!("{}-{NAMESPACE}", text(wanted, "/metadata/name"));
        assert_eq!((text(policies[number], "/metadata/name"), &policies[number]["spec"]), (&*name, &wanted["spec"]));
        let here = json!({"policyName": name, "validationActions": ["Deny"], "matchResources": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}}});
        assert_eq!((text(bindings[number], "/metadata/name"), &bindings[number]["spec"]), (&*name, &here));
    }

    let without = rendered(json!({"admissionPolicy": {"create": false}})).await;
    assert!(!without.iter().any(|object| text(object, "/kind").starts_with("ValidatingAdmission")));
    // A cluster whose kinds are known but do not include this one.
    let refused = template(&with_image(&json!({})), &["--api-versions", "v1/Pod"])
        .await
        .expect_err("it is not left out in silence");
    assert!(refused.contains("does not serve ValidatingAdmissionPolicy"), "{refused}");
    let kind = "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy";
    let served = template(&with_image(&json!({})), &["--api-versions", "v1/Pod", "--api-versions", kind])
        .await
        .expect("it is served");
    assert_eq!(of_kind(&served, "ValidatingAdmissionPolicy").count(), deployed.len());
}

#[tokio::test]
async fn sec_p7_the_chart_demands_an_image_and_says_how_to_get_one() {
    for (values, flags) in [
        (json!({}), &[][..]),
        (json!({"image": {"tag": "1.2.3"}}), &[]),
        (json!({"image": {"repository": ""}}), &["--skip-schema-validation"]),
    ] {
        let refused = template(&values, flags).await.expect_err("no image");
        let said = "image.repository is not set: no image is published, so build one as docs/operations.md#the-image says, \
            push it to your registry, and set image.repository to its name there";
        assert!(refused.contains(said), "{refused}");
    }
    let image = async |values: Value| {
        let objects = template(&values, &[]).await.unwrap_or_else(|error| panic!("{values}: {error}"));
        let deployment = of_kind(&objects, "Deployment").next().expect("the operator's");
        text(deployment, "/spec/template/spec/containers/0/image").to_owned()
    };
    assert_eq!(image(json!({"image": {"repository": IMAGE, "tag": "1.2.3"}})).await, format!("{IMAGE}:1.2.3"));
    let digest = format!("sha256:{}", "0".repeat(64));
    assert_eq!(image(json!({"image": {"repository": IMAGE, "digest": digest}})).await, format!("{IMAGE}@{digest}"));
}

#[tokio::test]
async fn sec_d10_the_chart_ships_the_quota_of_deploy_where_it_is_asked_for() {
    const COUNTED: &str = "count/debugbundles.debugbundle.io";
    let deployed: Value = serde_saphyr::from_str(include_str!("../../deploy/quota.yaml")).expect("YAML");
    assert_eq!(deployed["spec"], json!({"hard": {COUNTED: "200"}}));
    for (values, most) in [
        (json!({}), None),
        (json!({"quota": {"debugBundles": 7}}), None),
        (json!({"quota": {"create": true}}), Some("200")),
        (json!({"quota": {"create": true, "debugBundles": 7}}), Some("7")),
        (json!({"quota": {"create": true, "debugBundles": 1_000_000}}), Some("1000000")),
    ] {
        let objects = rendered(values).await;
        let quotas: Vec<_> = of_kind(&objects, "ResourceQuota")
            .map(|quota| {
                assert_eq!(quota["metadata"]["name"], deployed["metadata"]["name"]);
                assert_eq!(text(quota, "/metadata/namespace"), NAMESPACE);
                quota["spec"].clone()
            })
            .collect();
        let wanted: Vec<_> = most.map(|most| json!({"hard": {COUNTED: most}})).into_iter().collect();
        assert_eq!(quotas, wanted);
    }
    for refused in [json!(0), json!("many")] {
        let error = render(&json!({"quota": {"debugBundles": refused}}), true).await.unwrap_err();
        assert!(error.contains("/quota/debugBundles"), "{error}");
    }
}

#[tokio::test]
async fn two_replicas_roll_and_do_not_share_a_claim() {
    let of_operator = async |values: Value| {
        let objects = rendered(values).await;
        let spec = &of_kind(&objects, "Deployment").next().expect("the operator's")["spec"];
        (spec["replicas"].clone(), spec["strategy"].clone(), spec["template"]["spec"]["volumes"][0].clone())
    };
    let deployed: Value = serde_saphyr::from_str(include_str!("../../deploy/deployment.yaml")).expect("YAML");
    let spool = deployed["spec"]["template"]["spec"]["volumes"][0].clone();
    let one = (json!(1), json!({"type": "Recreate"}), spool.clone());
    assert_eq!(of_operator(json!({})).await, one);
    assert_eq!((&deployed["spec"]["replicas"], &deployed["spec"]["strategy"]), (&one.0, &one.1));
    assert_eq!(of_operator(json!({"replicas": 2})).await, (json!(2), json!({"type": "RollingUpdate"}), spool));
    let claim = json!({"persistentVolumeClaim": "big"});
    let volume = json!({"name": "spool", "persistentVolumeClaim": {"claimName": "big"}});
    assert_eq!(of_operator(json!({"spool": claim})).await, (one.0, one.1, volume));
    let both = render(&json!({"replicas": 2, "spool": claim}), true).await.unwrap_err();
    assert!(both.contains("spool.persistentVolumeClaim is for one replica"), "{both}");
    for refused in [json!(0), json!(3), json!("2")] {
        let error = render(&json!({"replicas": refused}), true).await.unwrap_err();
        assert!(error.contains("replicas"), "{error}");
    }
}

#[tokio::test]
async fn a_second_installation_with_the_values_of_the_readme_shares_no_object_with_the_first() {
    let readme = std::fs::read_to_string(chart().join("README.md")).expect("it can be read");
    let section = readme.split("## A second installation").nth(1).expect("a section");
    let values = section.split("```yaml").nth(1).and_then(|rest| rest.split("```").next()).expect("values");
    let values: Value = serde_saphyr::from_str(values).expect("YAML");
    let shared = |objects: &[Value]| -> BTreeSet<(String, String)> {
        let in_no_namespace = objects.iter().filter(|object| text(object, "/metadata/namespace").is_empty());
        in_no_namespace
            .map(|object| (text(object, "/kind").to_owned(), text(object, "/metadata/name").to_owned()))
            .collect()
    };
    let (first, second) = (shared(&rendered(json!({})).await), shared(&rendered(values).await));
    // Names of the cluster's objects that belong to one installation end with its namespace.
    let fixed: Vec<_> = second.iter().filter(|(_, name)| !name.ends_with(NAMESPACE)).collect();
    assert!(fixed.is_empty(), "{fixed:?}");
    assert!(first.len() > second.len() && !second.is_empty(), "{first:?} {second:?}");
}
