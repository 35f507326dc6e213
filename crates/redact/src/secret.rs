//! A value that must not be seen: no Display, no Serialize, a Debug that prints stars, wiped from memory when dropped.

use zeroize::Zeroizing;

/// A secret text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_c1_a_secret_shows_stars_in_whatever_holds_it() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {:?}", Some((1, secret.clone()))), "*** Some((1, ***))");
        assert_eq!(secret.expose(), "hunter2");
    }

    /// The content of this process's memory where `text` was, after its owner is dropped.
    fn left<T>(owner: T, text: impl Fn(&T) -> &str) -> String {
        let memory = std::fs::File::open("/proc/self/mem").expect("Linux");
        let (at, mut bytes) = (text(&owner).as_ptr() as u64, vec![0; text(&owner).len()]);
        drop(owner);
        std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, at).expect("the heap is still there");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn sec_c1_the_memory_of_a_secret_is_wiped_when_it_is_dropped() {
        // As long as a key; the allocator itself overwrites the first bytes of freed memory.
        let value = || "hunter2 ".repeat(40);
        assert!(left(value(), String::as_str).contains("hunter2 hunter2"), "a string is not: the test would see it");
        for secret in [Secret::new(value()), Secret::new(value()).clone()] {
            assert!(!left(secret, Secret::expose).contains("hunter2"));
        }
    }
}
