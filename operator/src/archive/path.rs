//! stub
/// A path in the bundle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundlePath(String);
impl BundlePath {
    /// From components; each is made safe.
    pub fn new<I, S>(_components: I) -> Self where I: IntoIterator<Item = S>, S: AsRef<str> { todo!() }
    /// The path without the root.
    pub fn as_str(&self) -> &str { &self.0 }
}
