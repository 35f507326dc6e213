//! Finds why a Backup or Restore waits, hangs or failed, and which part of Velero is in trouble. Each object is asked what
//! it waits for, then that object what *it* waits for, until one says something that needs no further question. Log lines
//! and Events are what objects say; they are never the way. Pure: the caller reads the cluster.
//!
//! ```text
//! Graph ─▶ walk(target) ─▶ Explanation { roots, wants } ─▶ line(root)
//!   ▲                              │
//!   └──── the caller reads ◀───────┘ what it lacks
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | [`kind`] | the kinds that the walk knows, and how the API server serves each |
//! | [`graph`] | what is known of the cluster, and what was not read |
//! | `kinds` | a file for each kind: what an object says of itself, and what it needs |
//! | [`walk`] | from the target to the roots |
//! | [`say`] | a root as one line |
//! | [`remedy`] | what a person can do about a root |
//! | [`texts`], [`hook`] | what error texts and logs say |
//! | [`alike`] | texts that say the same of different objects |
//! | `leads` | the objects that an error names |
//! | [`label`] | names as Velero writes them into labels |

pub mod alike;
pub mod graph;
pub mod hook;
pub mod kind;
mod kinds;
pub mod label;
mod leads;
pub mod reason;
pub mod remedy;
pub mod say;
pub mod texts;
pub mod walk;

#[cfg(test)]
mod scenes;

pub use graph::{Graph, Id, Known, ResultText, Wanted};
pub use hook::{FailedHook, Hooks};
pub use kind::{Kind, KindScope, Resource};
pub use kinds::{InstallationParts, has_ended, is_custom, made, parts};
pub use leads::named;
pub use reason::RootReason;
pub use remedy::{Command, Remedy, of_error, remedy};
pub use say::{line, stands};
pub use texts::{LastWords, is_consequence, readable};
pub use walk::{Confidence, Explanation, Relation, Root, walk};
