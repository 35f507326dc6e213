//! What is known of Velero's objects and files: pure, each part of it reads one answer. `discovery` asks for them.
//!
//! * `target`: a Backup or Restore; `data_objects`: the objects that move its data; `restore_source`: the Backup of a
//!   Restore that names a Schedule.
//! * `workloads`, `pods`: Velero's server, node agents and other pods; `node_requirements`: where a pod may run.
//! * `hooks`: the containers of a pod in which hooks run; `label`: names as Velero puts them into labels.
//! * `files`: the files of a target in the object store; `prompt_files`: the same, without a long wait for a silent
//!   store; `results` and `skipped_volumes`: what two of them say.

pub mod data_objects;
pub mod files;
pub mod hooks;
pub mod node_requirements;
pub mod pods;
mod prompt_files;
pub mod restore_source;
pub mod results;
pub mod skipped_volumes;
pub mod target;
pub mod workloads;

pub use debugbundle_diagnosis::label::{repository_label, valid_label};

pub use data_objects::{DataObject, ObjectName, is_dns_name};
pub use files::{CachedFiles, OpenedFile, StoreBody, StoreFailure, StoreFiles};
pub use hooks::hooked;
pub use pods::{Container, ContainerType, Owner, Pod, PodRole};
pub use prompt_files::PromptFiles;
pub use restore_source::{Candidate, is_data_of};
pub use results::{Distinct, Results};
pub use skipped_volumes::SkippedVolume;
pub use target::TargetObject;
pub use workloads::{Workload, server_workload};
