//! The two lists of a sweep: the bundles in a folder, and the UIDs of all DebugBundles. A list that is not whole is an
//! error.

use std::collections::BTreeSet;

use debugbundle_crd::DebugBundle;
use kube::{Api, Client, api::ListParams};

use super::in_time;
use crate::{
    client,
    store::{Folder, ListedBundle, Store, StoreError},
};

/// The most bundles that are kept in memory, a few hundred bytes each.
pub(super) const MOST: usize = 50_000;
/// DebugBundles in one page of a list.
const PAGE: u32 = 500;

/// All objects in a folder.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The objects that are bundles.
    pub bundles: Vec<ListedBundle>,
    /// Number of other objects; the sweep does not touch them.
    pub foreign: usize,
}

/// Lists a folder.
///
/// # Errors
/// The store failed, cut the list, or holds more bundles than fit into memory.
pub async fn bundles(store: &dyn Store, folder: &Folder) -> Result<Listing, StoreError> {
    bundles_within(store, folder, MOST).await
}

/// Lists a folder if it has at most `room` bundles.
///
/// # Errors
/// As [`bundles`].
pub(super) async fn bundles_within(store: &dyn Store, folder: &Folder, room: usize) -> Result<Listing, StoreError> {
    let mut listing = Listing::default();
    let mut from = None;
    loop {
        let page = in_time(store.list(folder, from)).await?;
        listing.foreign += page.foreign;
        listing.bundles.extend(page.bundles);
        if listing.bundles.len() > room {
            let why = format!("all folders together hold more than {MOST} bundles; remove some by hand");
            return Err(StoreError::silent(why));
        }
        from = page.next;
        if from.is_none() {
            return Ok(listing);
        }
    }
}

/// The UIDs of all DebugBundles in a namespace, as they are now: without a resourceVersion the API server answers from
/// a quorum, and the further pages belong to the same state.
///
/// # Errors
/// The API server failed, or the list expired before its end.
pub async fn living(client: &Client, namespace: &str) -> Result<BTreeSet<String>, kube::Error> {
    let api: Api<DebugBundle> = Api::namespaced(client.clone(), namespace);
    let mut params = ListParams::default().limit(PAGE);
    let mut uids = BTreeSet::new();
    loop {
        let page = client::in_time(api.list_metadata(&params)).await?;
        uids.extend(page.items.into_iter().filter_map(|bundle| bundle.metadata.uid));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(uids),
        }
    }
}
