//! The tests that need real servers: one binary, a module per theme, all except `flavours` and `parity` on one stand.
//! Tests without a server are beside the code.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod access;
mod admission;
mod analysis;
mod budget;
mod cause;
mod chart;
mod cli;
mod collect;
mod concurrent_bundles;
mod crash;
mod describe;
mod flavours;
mod golden;
mod group_snapshots;
mod hostile;
mod ids;
mod imports;
mod journeys;
mod large_installation;
mod lifecycle;
mod limits;
mod location_of_target;
mod logs;
mod memory;
mod missing_rights;
mod must_gather;
mod namespace_limit;
mod node_slots;
mod nodes;
mod oracle;
mod parity;
mod pod_capture;
mod readers;
mod recent_failures;
mod requested_namespaces;
mod requester;
mod restore_without_backup;
mod rights;
mod scanner;
mod scope;
mod self_redaction;
mod selfcheck;
mod silent_kubelets;
mod stand;
mod store;
mod support;
mod sweep;
mod unfinished;
mod url;
mod velero;
mod volume_refs;
mod waiting;
