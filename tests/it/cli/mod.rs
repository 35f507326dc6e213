//! `kubectl debugbundle` as a program, started as users start it, against a real API server, store and operator.
//! Velero's objects and files are put in place by hand; its server does not run.

mod collect;
mod downloads;
mod explain;
mod port_forward;
mod prune;
mod requests;
