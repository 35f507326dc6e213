//! The most relevant of too many objects: kept by a key while the others pass, so that memory is bounded.
//! The caller chooses the key.

use std::{collections::BTreeMap, io};

use serde_json::Value;

use crate::cluster::{Flow, TakeItems};

/// Keeps the items with the lowest keys, at most `most`, and counts the others.
#[derive(Debug)]
pub(super) struct TopN<K, T, F> {
    /// How many were passed over.
    pub beyond: usize,
    kept: BTreeMap<K, T>,
    most: usize,
    read: F,
}

impl<K: Ord, T, F> TopN<K, T, F> {
    /// `read` returns a unique key and the item.
    pub(super) fn new(most: usize, read: F) -> Self {
        Self { beyond: 0, kept: BTreeMap::new(), most, read }
    }

    /// What was kept, in the order of the keys.
    pub(super) fn items(self) -> impl Iterator<Item = T> {
        self.kept.into_values()
    }
}

impl<K, T, F> TakeItems for TopN<K, T, F>
where
    K: Ord + Send + 'static,
    T: Send + 'static,
    F: FnMut(Value) -> Option<(K, T)> + Send + 'static,
{
    fn take(&mut self, item: Value) -> io::Result<Flow> {
        self.kept.extend((self.read)(item));
        if self.kept.len() > self.most {
            self.kept.pop_last();
            self.beyond += 1;
        }
        Ok(Flow::More)
    }

    fn restart(&mut self) {
        self.kept.clear();
        self.beyond = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_matters_most_is_kept_wherever_it_stands_and_the_rest_is_counted() {
        let mut foremost = TopN::new(2, |item: Value| {
            let number = item.as_u64()?;
            Some((number, number))
        });
        let fill = |foremost: &mut TopN<_, _, _>| {
            for item in [json!(5), json!(3), json!("odd"), json!(9), json!(1)] {
                assert!(matches!(foremost.take(item).unwrap(), Flow::More));
            }
        };
        fill(&mut foremost);
        foremost.restart();
        fill(&mut foremost);
        assert_eq!(foremost.beyond, 2, "of one pass, though the list began anew");
        assert_eq!(foremost.items().collect::<Vec<_>>(), [1, 3]);
    }
}
