//! What the test modules share. No test module imports from another one.

pub mod bundles;
pub mod chart;
pub mod collection;
pub mod contract;
pub mod download_proxy;
pub mod flavours;
pub mod gcs_sessions;
pub mod http;
pub mod memory_store;
pub mod pages;
pub mod prometheus;
pub mod shop;
pub mod snapshots;
pub mod store;
pub mod text;
pub mod user;
pub mod workloads;
