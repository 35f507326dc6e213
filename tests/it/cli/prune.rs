//! `prune`: stored bundles without a DebugBundle are listed, and removed only when asked to.

use harness::{Operator, context::PREFIX, with_namespace};
use serde_json::json;

use crate::support::bundles::{about_r1, is_stored, keys, status, until_ended, velero_objects};
use crate::support::user::User;

const UID: &str = "0b5e2a7c-1111-4222-8333-444455556666";
const OTHER: &str = "6d6f6465-2222-4222-8333-444455556666";

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

        // A location that cannot be opened is a failure; the others are pruned all the same.
        context.bucket.put(&orphan, "a bundle").await;
        let broken = context.location("broken", "broken").spec("credential", json!({"name": "nobody", "key": "cloud"}));
        context.create_velero(broken).await;
        let partly = user.line("prune --delete").await;
        assert!(partly.code == 1 && partly.out.ends_with("1 removed, 0 left\n"), "{partly:?}");
        assert!(partly.err.contains("location broken: ") && partly.err.contains("nobody"), "{partly:?}");
    })
    .await;
}
