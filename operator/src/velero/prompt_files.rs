//! Velero's files for a reader that must not wait long for a silent store, because it holds a place that others need.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use debugbundle_crd::TargetKind;
use debugbundle_format::StoreFile;
use futures::FutureExt as _;
use tokio::time::timeout;

use super::{OpenedFile, StoreFailure, StoreFiles};

/// Time for the store's first answer to each request. The run then gives up its place and waits for the store with more
/// patience.
const PATIENCE: Duration = Duration::from_secs(5);

/// Files of a store that is not asked again once it did not answer in time.
pub struct PromptFiles {
    store: Arc<dyn StoreFiles>,
    patience: Duration,
    silent: AtomicBool,
}

impl PromptFiles {
    /// In front of this store.
    pub fn new(store: Arc<dyn StoreFiles>) -> Self {
        Self { store, patience: PATIENCE, silent: AtomicBool::new(false) }
    }
}

impl StoreFiles for PromptFiles {
    fn open<'a>(&'a self, of: TargetKind, name: &'a str, file: StoreFile) -> OpenedFile<'a> {
        async move {
            if !self.silent.load(Relaxed) {
                match timeout(self.patience, self.store.open(of, name, file)).await {
                    Ok(answer) => return answer,
                    Err(_) => self.silent.store(true, Relaxed),
                }
            }
            let why = format!("the store did not answer within {} s", self.patience.as_secs());
            Err(StoreFailure::Unreachable { why })
        }
        .boxed()
    }

    fn key(&self, of: TargetKind, name: &str, file: StoreFile) -> String {
        self.store.key(of, name, file)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A store that answers its first requests.
    struct FallsSilent {
        answers: usize,
        requests: AtomicUsize,
    }

    impl StoreFiles for FallsSilent {
        fn open<'a>(&'a self, _: TargetKind, _: &'a str, _: StoreFile) -> OpenedFile<'a> {
            let number = self.requests.fetch_add(1, Relaxed);
            async move { if number < self.answers { Ok(None) } else { std::future::pending().await } }.boxed()
        }

        fn key(&self, _: TargetKind, name: &str, _: StoreFile) -> String {
            name.to_owned()
        }
    }

    #[tokio::test]
    async fn a_store_that_falls_silent_costs_its_readers_one_wait_in_all() {
        let store = Arc::new(FallsSilent { answers: 2, requests: AtomicUsize::new(0) });
        let files = PromptFiles { patience: Duration::from_millis(20), ..PromptFiles::new(store.clone()) };
        for answered in [true, true, false, false, false] {
            let found = files.open(TargetKind::Restore, "r1", StoreFile::Log).await;
            assert_eq!(found.is_ok(), answered);
            assert!(answered || matches!(found, Err(StoreFailure::Unreachable { .. })));
        }
        assert_eq!(store.requests.load(Relaxed), 3, "it is not asked again");
    }
}
