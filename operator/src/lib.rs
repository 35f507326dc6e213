//! The library behind DebugBundle: it finds, reads, redacts, diagnoses, packs and uploads what a Velero Backup or
//! Restore left behind. The programs in `bin/` only parse their flags and call it; the resource's types are in
//! `debugbundle-crd`.
//!
//! What knows nothing of an operator is in crates of its own, below `crates/`:
//!
//! | crate | what it does | I/O |
//! |---|---|---|
//! | [`debugbundle_format`] | paths, manifest and codes of a bundle; makes foreign text safe to show | none |
//! | [`debugbundle_redact`] | masks secrets by name, shape and exact value | none |
//! | [`debugbundle_redact_check`] | searches the closed archive for secrets again; shares no code with redaction | spool |
//! | [`debugbundle_diagnosis`] | walks from a Backup or Restore to the object that needs no further question | none |
//! | [`debugbundle_archive`] | redacts and deflates one segment per entry, seals them as one gzip stream | spool |
//!
//! The modules, in the order in which the data flows through them, then what several of them share:
//!
//! | module | what it does | I/O |
//! |---|---|---|
//! | [`election`] | elects by a Lease which instance begins new work | cluster |
//! | [`controller`] | watches DebugBundles, claims each one, runs it and writes its status | cluster |
//! | [`automatic`] | creates DebugBundles for Backups and Restores that end badly or hang | cluster |
//! | [`sweep`] | keeps the record of stored bundles; deletes objects that expired, or whose DebugBundles were deleted unseen | cluster, store |
//! | [`pod_capture`] | keeps status, Events and logs of data movers' pods, which Velero deletes | cluster, spool |
//! | [`decide`] | decides the next step for a DebugBundle | none |
//! | [`observed`] | the small part of each DebugBundle that the controller keeps in memory | none |
//! | [`run`] | one run, from discovery to verified object, under deadline and cancel; the CLI uses it too | all |
//! | [`discovery`] | finds Velero, the target and what belongs to it: one snapshot | cluster, store |
//! | [`plan`] | lists the items that a bundle wants, in reading order | none |
//! | [`access`] | checks which items may be read, and which shipped rule would allow the others | cluster |
//! | [`collect`] | reads the items, eight at once | cluster, store |
//! | [`node_slots`] | limits the logs that all collections read of one node at once | none |
//! | [`budget`] | decides what to leave out of a bundle that would be too large, and in which order | none |
//! | [`describe`] | describe.txt: a Backup or Restore in Velero's own words | none |
//! | [`explain`] | walks the live cluster from a Backup, a Restore or the installation to its cause, and reads only what the walk asks for | cluster, store |
//! | [`offline`] | explains a file: a bundle, one of `velero debug`, or a must-gather | local file |
//! | [`diagnose`] | from evidence to cause, findings, the chain to the cause and a timeline | none |
//! | [`json_stream`] | reads Velero's JSON files of any size in bounded memory | none |
//! | [`runlog`] | operator.log: the log lines of one run | none |
//! | [`report`] | summary.md and report.html, the files for people | none |
//! | [`velero`] | what is known of Velero's objects and files | none |
//! | [`location`] | a BackupStorageLocation: its fields, which one is used, the Secrets that it names | cluster |
//! | [`probe`] | interprets a probe of the way to a location's store, step by step | none |
//! | [`probe_step`] | the steps on the way to a location's store | none |
//! | [`store`] | the object store behind a location, a folder for each provider: puts, heads, lists, reads, signs and deletes objects | cluster, store |
//! | [`health`] | the kubelet's probes: is the controller's loop stuck, is the operator stopping; serves the metrics | HTTP |
//! | [`metrics`] | counts what an on-call wants to know | none |
//! | [`status`] | builds the DebugBundle's status from what happened | none |
//! | [`notify`] | publishes Kubernetes Events | cluster |
//! | [`cli`] | `kubectl debugbundle` | all |
//! | [`client`] | builds the API server's client, with a limit on its requests | cluster |
//! | [`cluster`] | reads from the API server, every call and every answer bounded | cluster |
//! | [`shared_answers`] | caches answers of the API server that are the same for every bundle | none |
//! | [`self_redaction`] | masks what the operator writes outside a bundle: status, Events, its log | stderr |
//! | [`proxy`] | reads the proxies of the environment, and connects through one | store |
//! | [`tls`] | decides which certificates are trusted | none |
//! | [`certificate`] | reads subject, issuer and validity of a certificate | none |
//! | [`error`] | a run's failure, grouped by what happens next | none |
//! | [`crash`] | named points at which a test may kill the process | none |

pub mod access;
#[cfg(test)]
mod arrows;
pub mod automatic;
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
pub mod discovery;
pub mod election;
pub mod error;
pub mod explain;
pub mod health;
pub mod json_stream;
pub mod location;
pub mod metrics;
pub mod node_slots;
pub mod notify;
pub mod observed;
pub mod offline;
pub mod plan;
pub mod pod_capture;
pub mod probe;
pub mod probe_step;
pub mod proxy;
pub mod report;
pub mod run;
pub mod runlog;
pub mod self_redaction;
pub mod shared_answers;
pub mod status;
pub mod store;
pub mod sweep;
pub mod tls;
pub mod velero;

/// Version of both programs: `version` in a bundle, and `--version`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Makes aws-lc-rs the process's TLS provider: kube and the AWS SDK then share one.
pub fn install_crypto_provider() {
    // An error only means that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
