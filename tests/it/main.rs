//! The tests that need real servers: one binary, a module per theme, all on one stand.
//! What needs no server is tested beside the code.

mod admission;
mod collect;
mod stand;
mod velero;
