//! The stands that the tests run on: real servers, a scripted kubelet, and helpers to describe their state. The tests
//! themselves are in `it/`.
//!
//! * [`packages`] installs the programs that the tests take from the system.
//! * [`tools`] finds or builds the pinned servers; [`process`] runs them so that nothing outlives the tests.
//! * [`stand`] is etcd, a kube-apiserver, an S3 and the [`kubelet`]: one per test process, shared by its tests, and
//!   one more for tests that would disturb the others.
//! * [`context`] gives each test a namespace, a bucket and a Velero installation without a server; [`objects`] are
//!   what it puts there, and [`velero_objects`] Velero's own.
//! * [`velero`] adds the real server, and recipes that bring Backups and Restores into each phase.
//! * [`operator`] runs our own program as a process of its own, and kills it; [`shipped`] grants it the shipped
//!   permissions, and [`rights`] compares its calls with them. [`bundle`] reads the result and compares its manifest
//!   with the [`schema`].
//! * [`seaweedfs`] is a second object store, for the contract of stores alone; [`azurite`] and [`gcs`] emulate the
//!   clouds' own, [`clouds`] makes them alike, and [`refusing`] answers as they refuse.
//! * [`s3_proxy`] stands before the store, records requests and disturbs the ones that a test selects.
//! * [`proxy`] stands before the object store or the API server and disturbs its connections on demand; [`api_proxy`]
//!   loses replies of the API server and lets watches expire.
//! * [`forward_proxy`] is a proxy as admins have them between a cluster and the internet.
//! * [`readers`] are the programs that people read bundles with; [`python`] installs those that are Python packages.
//! * [`load`] is many pods with long logs, [`bulk_objects`] very many small objects; [`usage`] measures a process.
//! * [`until`](fn@until) waits for a condition, with a limit.

#![allow(
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the harness fails a test by panicking, with a sentence"
)]

mod admission;
mod age;
pub mod api_proxy;
pub mod azurite;
pub mod bulk_objects;
pub mod bundle;
pub mod chromium;
pub mod clouds;
pub mod context;
mod crds;
mod creation;
pub mod forward_proxy;
pub mod gcs;
pub mod https;
pub mod kubelet;
pub mod load;
pub mod objects;
pub mod operator;
pub mod packages;
pub mod process;
pub mod proxy;
pub mod python;
pub mod readers;
pub mod refusing;
pub mod rights;
pub mod s3;
pub mod s3_proxy;
pub mod scene;
pub mod schema;
pub mod seaweedfs;
pub mod shipped;
pub mod silent_server;
pub mod stand;
mod tls;
pub mod tools;
mod until;
pub mod usage;
pub mod velero;
pub mod velero_objects;

pub use age::moved_ago;
pub use api_proxy::{ApiFault, ApiProxy};
pub use context::{Context, with_namespace, with_namespace_on};
pub use kubelet::{Growing, LogScript};
pub use objects::pod;
pub use operator::Operator;
pub use proxy::{Proxy, ProxyFault};
pub use stand::TestCluster;
pub use until::until;
pub use velero::Velero;
