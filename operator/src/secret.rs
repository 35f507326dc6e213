//! A value that must not be seen: no Display, no Serialize, a Debug that prints stars, wiped from memory when dropped.
//! Who may read a Secret at all is decided elsewhere, in `location`.

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
}
