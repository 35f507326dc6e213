//! stub
pub mod writer;
pub use writer::Redacting;
use crate::secret::Secret;
/// The rules of one bundle.
#[derive(Debug)]
pub struct Redactor {}
/// A rule of the user's that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("redaction.rules[{index}]: {why}")]
pub struct RuleError { /// which
    pub index: usize, /// why
    pub why: String }
impl Redactor {
    /// The built-in rules, the user's, and the exact values of known secrets: (rule id, value).
    pub fn new(_rules: &[String], _known: Vec<(&'static str, Secret)>) -> Result<Self, RuleError> { todo!() }
    /// A line of text: messages, status, Events.
    pub fn text(&self, _text: &str) -> String { todo!() }
    /// An API object, in place: managedFields and last-applied dropped, kinds that are never collected refused (false).
    pub fn object(&self, _object: &mut serde_json::Value) -> bool { todo!() }
}
