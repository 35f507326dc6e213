//! The reader of credentials files, and in place of the operator's what it quotes names with: the operator's module of errors
//! knows the cluster.

#[path = "../../../../operator/src/store/s3/ini.rs"]
pub mod ini;

pub fn shown(value: &str) -> String {
    format!("{:?}", value.chars().take(64).collect::<String>())
}

pub fn listed(names: &[String]) -> String {
    names.iter().take(10).map(|name| shown(name)).collect::<Vec<_>>().join(", ")
}

#[path = "../../../../operator/src/store/s3/ini_property.rs"]
mod property;

pub use property::credentials;
