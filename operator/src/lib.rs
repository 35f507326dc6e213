//! The engine behind DebugBundle: it finds, reads, cleans, explains, packs and delivers what a Velero Backup or Restore
//! left behind. The programs in `bin/` only read their flags and call it; the resource's types are in `debugbundle-crd`.
//!
//! The river, in the order in which the data flows:
//!
//! | module | what it does | I/O |
//! |---|---|---|
//! | [`controller`] | watches DebugBundles, claims work, ends it | cluster |
//! | [`pod_capture`] | catches what data movers' pods leave behind, for they vanish | cluster |
//! | [`decide`] | what to do with a DebugBundle now | none |
//! | [`observed`] | what the controller keeps of each DebugBundle: what a decision needs | none |
//! | [`run`] | one run from inventory to the verified object, under deadline and cancel; the CLI uses it too | joins |
//! | [`inventory`] | what there is: Velero, the target and what belongs to it | cluster |
//! | [`plan`] | which items are wanted, in which order | none |
//! | [`access`] | which of it may be read, and which shipped rule would allow it | cluster |
//! | [`collect`] | reads the items, eight at once | cluster, store |
//! | [`budget`] | what is left out when it would be too much, and in which order | none |
//! | [`redact`] | the one writer through which every byte passes | none |
//! | [`archive`] | a deflate segment per entry, sealed as one gzip stream; the manifest | spool |
//! | [`selfcheck`] | a second pair of eyes on the closed archive: only what passes it may be sent | spool |
//! | [`describe`] | a Backup or Restore in Velero's own words: describe.txt | none |
//! | [`diagnose`] | evidence in; cause, findings, the trail to the cause and the timeline out | none |
//! | [`runlog`] | what was logged about a run: operator.log | none |
//! | [`report`] | what people read: summary.md, report.html | none |
//! | [`location`] | a BackupStorageLocation and its credential, as Velero's plugins understand them | cluster |
//! | [`store`] | put, head, read, sign and delete in an object store | store |
//! | [`status`] | the fold from outcome to status | none |
//! | [`client`] | the API server's client, with a bound on its requests | cluster |
//! | [`shared_answers`] | answers of the API server that are the same for every bundle | none |
//! | [`notify`] | Kubernetes Events | cluster |
//! | [`self_redaction`] | what the operator says outside of a bundle passes redaction here: status, Events, its log | stderr |
//! | [`cli`] | `kubectl debugbundle` | all |
//! | [`text`] | foreign text made fit to be shown | none |
//! | [`proxy`] | the proxies of the environment, and the way through one | store |
//! | [`tls`] | whose certificate is believed | none |
//! | [`certificate`] | what a certificate says of itself | none |
//! | [`error`] | a run's failure, by what follows from it | none |
//! | [`crash`] | named points at which a test may end the process | none |

pub mod access;
pub mod archive;
pub mod budget;
pub mod certificate;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod collect;
pub mod controller;
pub mod crash;
pub mod decide;
pub mod describe;
pub mod diagnose;
pub mod error;
pub mod inventory;
pub mod location;
pub mod notify;
pub mod observed;
pub mod plan;
pub mod pod_capture;
pub mod proxy;
pub mod redact;
pub mod report;
pub mod run;
pub mod runlog;
pub mod secret;
pub mod self_redaction;
pub mod selfcheck;
pub mod shared_answers;
pub mod status;
pub mod store;
pub mod text;
pub mod tls;

/// Version of both programs, as `version` in a bundle and `--version` have it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Makes aws-lc-rs the process's TLS provider: kube and the AWS SDK then share one.
pub fn install_crypto_provider() {
    // An error only says that one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
