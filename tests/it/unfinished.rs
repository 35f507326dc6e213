//! A target that did not end and whose spec does not show where it stopped, because it covers all namespaces.

use harness::{
    Context, Operator,
    bundle::{Unpacked, spec_about},
    velero_objects::{backup, restore},
    with_namespace,
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use crate::support::workloads::{claim, workload_pod};

async fn pod_of(context: &Context, place: &str, restore: &str) {
    context.create_in::<Pod>(place, workload_pod("oven").restored_by(restore)).await;
}

/// The reason why a namespace is looked into.
fn why<'a>(bundle: &'a Unpacked, place: &str) -> Option<&'a Value> {
    let all = bundle.manifest["namespaces"].as_array().unwrap();
    all.iter().find(|one| one["name"] == place).map(|one| &one["why"])
}

fn looked_into(bundle: &Unpacked, place: &str) -> bool {
    bundle.paths().any(|path| path.starts_with(&format!("namespaces/{place}/")))
}

/// The note about namespaces that the spec does not name.
fn told(bundle: &Unpacked) -> Option<String> {
    let missing = bundle.manifest["missing"].as_array().unwrap();
    let told = missing.iter().find(|one| one["what"] == "namespaces that the target's spec does not name")?;
    let (code, severity, cure) = (&told["code"], &told["severity"], &told["cure"]);
    assert_eq!((code, severity), (&json!("NotLooked"), &json!("note")), "{told}");
    assert_eq!(cure, "name them in spec.namespaces");
    Some(told["why"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_restore_of_the_whole_cluster_under_way_leads_to_where_it_made_something_and_says_what_is_not_looked_into() {
    with_namespace("whole", |context| async move {
        let mut places = Vec::new();
        for name in ["shop", "barn", "calm"] {
            places.push(context.workload_namespace(name).await);
        }
        let [shop, barn, calm] = &places[..] else { panic!("three") };
        let regrow = format!("{}-regrow", context.namespace);
        pod_of(&context, shop, &regrow).await;
        pod_of(&context, calm, "another").await;
        let mut flour = claim("flour", None);
        flour["metadata"]["labels"] = json!({"velero.io/restore-name": regrow});
        context.create_in::<PersistentVolumeClaim>(barn, flour).await;
        context.create_velero(backup("seed").of_namespaces(["*"]).completed()).await;
        context.create_velero(restore(&regrow).in_progress()).await;
        let account = context.shipped_account().await;
        let everywhere = || context.stand.times(&account.user, ("list", "pods"), "", 200);
        let before = everywhere();

        let _operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let (_, bundle) = context.bundle("hung", spec_about("Restore", &regrow)).await;
        assert_eq!(bundle.names_in(shop, "core/pods"), ["oven"]);
        assert_eq!(bundle.names_in(barn, "core/persistentvolumeclaims"), ["flour"]);
        assert!(!looked_into(&bundle, calm));
        let made = json!(format!("objects that Restore {regrow} created"));
        assert_eq!((why(&bundle, shop), why(&bundle, barn), why(&bundle, calm)), (Some(&made), Some(&made), None));
        assert!(told(&bundle).is_some_and(|why| why.contains("in which the target created a pod or claim")));
        assert_eq!(everywhere(), before + 1);
    })
    .await;
}
