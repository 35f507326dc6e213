//! The properties that the fuzz targets check, built from the tests of the code that they fuzz. Only that code is built, so
//! that a build with instrumentation takes minutes.

#![allow(dead_code, reason = "the tests call what is not called here")]

mod location;
#[path = "../../src/tests/properties.rs"]
pub mod properties;
#[path = "../../src/tests/secrets.rs"]
mod secrets;

pub use debugbundle_redact::{JsonLines, RedactWriter, Redactor, Rules, Secret};
pub use location::credentials;
