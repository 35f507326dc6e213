//! The modules of the operator that are fuzzed, and what must hold of them. Only these, so that a build with instrumentation
//! takes minutes: none of them needs the cluster or the store. Nothing is implemented here.

#![allow(dead_code, reason = "the operator calls what is not called here")]

#[path = "../../src/archive/mod.rs"]
mod archive;
#[path = "../../src/crash.rs"]
mod crash;
mod location;
#[path = "../../src/redact/tests/properties.rs"]
pub mod properties;
#[path = "../../src/redact/mod.rs"]
mod redact;
#[path = "../../src/secret.rs"]
mod secret;
#[path = "../../src/redact/tests/secrets.rs"]
mod secrets;
#[path = "../../src/selfcheck/mod.rs"]
mod selfcheck;
