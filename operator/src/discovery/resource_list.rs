//! Finds the namespaces into which a Restore brought pods or claims, in its resource list. The bundle contains the
//! whole list; `namespaces` decides which of the namespaces are read.

use std::{collections::BTreeSet, io::Read, time::Duration};

use debugbundle_crd::TargetKind;
use debugbundle_format::StoreFile;
use flate2::read::MultiGzDecoder;
use tokio::time::{Instant, timeout_at};

use crate::{
    cluster::{pipe, pump},
    json_stream::{Said, Shallow, TextLayout, texts},
    velero::{StoreFiles, files::JSON_FILE, is_dns_name},
};

/// Most namespaces whose names are kept.
const NAMESPACES: usize = 64;
/// Most bytes read of one text: two names and a word.
const TEXT: usize = 1024;
/// Kinds that a Restore labels, and that hang when it hangs.
const KINDS: [&str; 2] = ["v1/Pod", "v1/PersistentVolumeClaim"];

/// Returns the first of those namespaces, and whether there are more; none if the list cannot be read, which its own
/// item reports.
pub(super) async fn restored_namespaces(
    store: &dyn StoreFiles,
    restore: &str,
    idle: Duration,
    deadline: Instant,
) -> (Vec<String>, bool) {
    let list = StoreFile::ResourceList;
    let Ok(Ok(Some(body))) = timeout_at(deadline, store.open(TargetKind::Restore, restore, list)).await else {
        return Default::default();
    };
    let (to, pieces) = pipe();
    let reading = tokio::task::spawn_blocking(move || read(MultiGzDecoder::new(pieces).take(JSON_FILE)));
    pump(body, to, idle, deadline, |_| ()).await;
    reading.await.unwrap_or_default()
}

/// Returns what was read before the first error.
fn read(from: impl Read) -> (Vec<String>, bool) {
    let (mut namespaces, mut more, mut wanted) = (BTreeSet::new(), false, false);
    // A list that ends early or has another shape still yields the names before that point.
    let _ = texts(Shallow::new(from, TEXT), &[], TextLayout::Map, |said| {
        match said {
            Said::Key(kind) => wanted = KINDS.contains(&kind),
            Said::Text(name) if wanted => {
                let namespace = name.split_once('/').map(|(namespace, _)| namespace).filter(|name| is_dns_name(name));
                if let Some(namespace) = namespace.filter(|namespace| !namespaces.contains(*namespace)) {
                    if namespaces.len() < NAMESPACES {
                        namespaces.insert(namespace.to_owned());
                    } else {
                        more = true;
                    }
                }
            }
            Said::Text(_) => {}
        }
        Ok(())
    });
    (namespaces.into_iter().collect(), more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn namespaces_of_pods_and_claims_are_told_once_each() {
        let list = json!({"apps/v1/Deployment": ["farm/web(created)"], "v1/Namespace": ["barn(created)"],
            "v1/Pod": ["shop/shop-0(created)", "shop/shop-1(failed)", "../x(created)", "odd"],
            "v1/PersistentVolumeClaim": ["bakery/flour(skipped)"]});
        assert_eq!(read(list.to_string().as_bytes()), (vec!["bakery".to_owned(), "shop".to_owned()], false));
    }

    #[test]
    fn a_list_that_is_cut_or_odd_tells_what_came_before() {
        for list in [r#"{"v1/Pod": ["shop/a(created)", "#, r#"{"v1/Pod": ["shop/a(created)", 7]}"#] {
            assert_eq!(read(list.as_bytes()), (vec!["shop".to_owned()], false), "{list}");
        }
        assert_eq!(read(b"[]".as_slice()), (Vec::new(), false));
        let many: Vec<String> = (0..1000).map(|n| format!("n{n}/p(created)")).collect();
        let (kept, more) = read(json!({"v1/Pod": many}).to_string().as_bytes());
        assert_eq!((kept.len(), more), (NAMESPACES, true));
    }
}
