//! `prune`: stored bundles without a DebugBundle are listed, and removed only when asked to.

use harness::{Operator, context::PREFIX, with_namespace};
use kube::api::DeleteParams;
use serde_json::json;

use crate::support::bundles::{about_r1, is_stored, keys, status, until_ended, velero_objects};
use crate::support::user::User;

const UID: &str = "0b5e2a7c-1111-4222-8333-444455556666";
const OTHER: &str = "6d6f6465-2222-4222-8333-444455556666";

const ALL_BELONG: &str = "Each stored bundle of this installation belongs to a DebugBundle.";

#[tokio::test]
async fn issue_32_no_bundle_is_said_to_belong_to_a_debug_bundle_while_a_location_could_not_be_listed() {
    with_namespace("cli-prune-away", |context| async move {
        let user = User::of(&context);
        let locations = context.velero_api("BackupStorageLocation");
        locations.delete("default", &DeleteParams::default()).await.unwrap();
        let none = user.line("prune").await;
        assert!(none.code == 0 && none.err.contains("There is no BackupStorageLocation"), "{none:?}");
        context.create_velero(context.location("default", PREFIX)).await;
        let all = user.line("prune").await;
        assert!(all.code == 0 && all.err == "No bundle of this installation is stored.\n", "{all:?}");
        let settings = context.location("settings", "b").spec("provider", "velero.io/foo");
        let store = context.location("store", "c").config("s3Url", "http://127.0.0.1:1");
        let key_alone = context.location("half", "h").spec("credential", json!({"key": "cloud"}));
        for (location, why) in [
            (settings, "\"foo\" is not supported"),
            (store, "connection refused"),
            (key_alone, "spec.credential must have a name and a key"),
        ] {
            let name = location.clone().manifest()["metadata"]["name"].as_str().expect("a name").to_owned();
            context.create_velero(location).await;
            for line in ["prune".to_owned(), format!("prune --storage-location {name}"), "prune --delete".to_owned()] {
                let partly = user.line(&line).await;
                assert!(partly.code == 7 && !partly.err.contains("belongs to a DebugBundle"), "{line}: {partly:?}");
                assert!(partly.err.contains(&format!("location {name} could not be listed: ")), "{line}: {partly:?}");
                assert!(partly.err.contains(why) && partly.err.contains(" is not known."), "{line}: {partly:?}");
            }
            let other = user.line("prune --storage-location default").await;
            let none = "No bundle of this installation is stored in location default.\n";
            assert!(other.code == 0 && other.err == none, "{other:?}");
            locations.delete(&name, &DeleteParams::default()).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn bundles_without_a_debug_bundle_are_listed_and_removed_when_asked_to() {
    with_namespace("cli-prune", |context| async move {
        velero_objects(&context).await;
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("kept", about_r1()).await;
        let kept = until_ended(&context, "kept").await;
        let kept_key = status(&kept).bundle.expect("a bundle").key;
        drop(operator);
        let root = format!("{PREFIX}/plugins/debugbundle");
        let orphan = format!("{root}/{}/restore-r1/gone-{UID}.tar.gz", context.installation().await);
        let others = format!("{root}/{OTHER}/restore-r1/theirs-{UID}.tar.gz");
        let earlier = format!("{root}/restore-r1/of-old-{UID}.tar.gz");
        let foreign = format!("{root}/{}/notes.txt", context.installation().await);
        for key in [&orphan, &others, &earlier, &foreign] {
            context.bucket.put(key, "a bundle").await;
        }
        let user = User::of(&context);
        let listed = user.line("prune").await;
        assert_eq!(listed.code, 0, "{listed:?}");
        assert!(listed.out.starts_with("LOCATION   STORED ") && listed.out.contains(&orphan), "{listed:?}");
        assert!(listed.out.lines().count() == 2 && listed.err.contains("add --delete"), "{listed:?}");
        let hint = "Bundles of other installations are in default as well; --all-installations counts them.";
        assert!(listed.err.contains(hint) && !listed.err.contains("belongs to a DebugBundle"), "{listed:?}");

        let all = user.line("prune --all-installations").await;
        assert_eq!(all.code, 0, "{all:?}");
        let line = |id: &str| {
            let line = all.out.lines().find(|line| line.contains(id));
            line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap_or_default()
        };
        assert!(line(&context.installation().await).contains("(this one) 2 "), "{all:?}");
        assert_eq!(line(OTHER), format!("default {OTHER} 1 8 B unknown"), "{all:?}");
        assert_eq!(line("none"), "default none 1 8 B 1", "{all:?}");
        assert_eq!(keys(&context).await.len(), 5, "nothing was removed");

        let removed = user.line("prune --delete").await;
        assert_eq!((removed.code, removed.out.lines().last()), (0, Some("1 removed, 0 left")), "{removed:?}");
        let again = user.line("prune --delete").await;
        assert_eq!((again.code, again.out.as_str()), (0, "0 removed, 0 left\n"), "{again:?}");
        assert!(again.err.starts_with(ALL_BELONG), "{again:?}");
        let here = user.line("prune --storage-location default").await;
        let belong = "Each stored bundle of this installation in location default belongs to a DebugBundle.";
        assert!(here.code == 0 && here.err.starts_with(belong), "{here:?}");
        let mistyped = user.line(&format!("prune --installation {UID}")).await;
        assert!(mistyped.err.contains(&format!("No bundle of installation {UID} is stored.")), "{mistyped:?}");
        for id in [OTHER, "none"] {
            let removed = user.line(&format!("prune --delete --installation {id}")).await;
            assert!(removed.code == 0 && removed.out.ends_with("1 removed, 0 left\n"), "{removed:?}");
        }
        let mut left = vec![foreign, kept_key];
        left.sort();
        let mut now = keys(&context).await;
        now.sort();
        assert_eq!(now, left);
        is_stored(&context, &kept).await;

        // Two locations on one store: each bundle is listed and counted once, for the location that is not read-only.
        context.bucket.put(&orphan, "a bundle").await;
        context.create_velero(context.location("also", PREFIX).spec("accessMode", "ReadOnly")).await;
        let listed = user.line("prune").await;
        assert!(listed.out.lines().count() == 2 && listed.out.contains("\ndefault "), "{listed:?}");
        let removed = user.line("prune --delete").await;
        assert_eq!((removed.code, removed.out.lines().last()), (0, Some("1 removed, 0 left")), "{removed:?}");
        context.velero_api("BackupStorageLocation").delete("also", &DeleteParams::default()).await.unwrap();

        // A location that cannot be listed has an exit code of its own; the others are pruned all the same.
        context.bucket.put(&orphan, "a bundle").await;
        let broken = context.location("broken", "broken").spec("credential", json!({"name": "nobody", "key": "cloud"}));
        context.create_velero(broken).await;
        let partly = user.line("prune --delete").await;
        assert!(partly.code == 7 && partly.out.ends_with("1 removed, 0 left\n"), "{partly:?}");
        assert!(partly.err.contains("location broken could not be listed: "), "{partly:?}");
        assert!(partly.err.contains("nobody") && !partly.err.contains(ALL_BELONG), "{partly:?}");
    })
    .await;
}
