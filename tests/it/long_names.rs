//! Names longer than a label allows: objects of such a Restore or Schedule are found by the label that Velero derives
//! from the name.

use debugbundle_crd::{DebugBundleSpec, TargetKind};
use harness::{
    velero_objects::{backup, pod_volume_restore, restore},
    with_namespace,
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::{
    collection::CollectionRun,
    workloads::{claim, workload_pod},
};

/// The label value, as in Velero's `label.GetValidName`.
fn label(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    format!("{}{:02x}{:02x}{:02x}", &name[..57], digest[0], digest[1], digest[2])
}

#[tokio::test]
async fn data_pods_claims_and_backups_of_long_names_are_found_by_their_labels() {
    with_namespace("long", |context| async move {
        let shop = context.workload_namespace("shop").await;
        let (regrow, nightly) = (format!("{:x<253}", "regrow-"), format!("{:y<70}", "nightly-"));
        // Belongs to neither: the truncated name, and another name with the same beginning.
        let (cut, other) = (&regrow[..63], label(&format!("{regrow}x")));
        for (name, schedule) in [
            ("b-1", label(&nightly)),
            ("b-2", label(&nightly)),
            ("c-stranger", nightly[..63].to_owned()),
            ("d-stranger", label(&format!("{nightly}y"))),
        ] {
            context.create_velero(backup(name).of_schedule(&schedule).completed()).await;
        }
        let target = context.create_velero(restore(&regrow).of_schedule(&nightly).in_progress()).await;
        let uid = target.metadata.uid.unwrap();
        for (name, value, owner) in [
            ("own", &label(&regrow), uid.as_str()),
            ("namesake", &label(&regrow), "another"),
            ("stranger", &other, &uid),
        ] {
            let data = pod_volume_restore(name).of_pod(&shop, "of-data").labelled("velero.io/restore-name", value);
            context.create_velero(data.owned_by_former("Restore", &regrow, owner).in_progress()).await;
        }
        for (name, value) in [("brought", label(&regrow)), ("by-cut", cut.to_owned()), ("by-other", other.clone())] {
            context.create_in::<Pod>(&shop, workload_pod(name).restored_by(&value)).await;
            let mut claim = claim(name, None);
            claim["metadata"]["labels"] = json!({"velero.io/restore-name": value});
            context.create_in::<PersistentVolumeClaim>(&shop, claim).await;
        }

        let got = CollectionRun::default().of(&context, &DebugBundleSpec::about(TargetKind::Restore, &regrow)).await;
        got.is_complete();
        let data: Vec<&str> = got.snapshot.target.data.iter().map(|object| object.name.as_str()).collect();
        assert_eq!(data, ["own"]);
        assert_eq!(got.snapshot.target.backup.as_ref().map(|backup| backup.name.as_str()), Some("b-2"));
        assert_eq!(got.snapshot.target.related.backups, ["b-2", "b-1"]);
        assert_eq!(got.snapshot.target.related.schedule.as_ref(), Some(&nightly));
        assert_eq!(got.names_in(&shop, "core/pods"), ["brought"]);
        assert_eq!(got.names_in(&shop, "core/persistentvolumeclaims"), ["brought"]);
    })
    .await;
}
