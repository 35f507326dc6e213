//! The tests that need real servers: one binary, a module per theme, all except `flavours` and `parity` on one stand.
//! Tests without a server are beside the code.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod access;
mod admission;
mod analysis;
mod asked;
mod beyond;
mod budget;
mod bundles;
mod cause;
mod chart;
mod cli;
mod collect;
mod crash;
mod describe;
mod failed;
mod flavours;
mod golden;
mod groups;
mod hostile;
mod ids;
mod inspected;
mod journeys;
mod leads;
mod lifecycle;
mod limits;
mod logs;
mod long_names;
mod many;
mod memory;
mod moved;
mod movers;
mod nodes;
mod oracle;
mod orphaned;
mod own;
mod parity;
mod places;
mod readers;
mod requester;
mod rights;
mod scanner;
mod scope;
mod selfcheck;
mod silence;
mod stand;
mod store;
mod thousands;
mod trail;
mod turns;
mod unfinished;
mod url;
mod velero;
mod waiting;
mod whose_location;
