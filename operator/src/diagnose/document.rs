//! The diagnosis for programs: `analysis/diagnosis.json` of a bundle, and what `explain -o json` prints.

use std::collections::BTreeMap;

use debugbundle_crd::CauseConfidence;
use debugbundle_diagnosis::InstallationParts;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use super::{CauseStep, Finding, TargetProgress};

/// Why a Backup, a Restore or Velero's installation is as it is. Readers ignore keys that they do not know.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "Diagnosis")]
pub struct DiagnosisDocument<'a> {
    /// 1; a change that breaks readers raises it.
    pub schema_version: u32,
    /// `Kind/namespace/name` of the Backup or Restore; none: the installation.
    pub target: Option<String>,
    /// Its phase.
    pub phase: Option<&'a str>,
    /// The cause in one line; none: nothing points to a failure.
    pub cause: Option<&'a str>,
    /// How sure the cause is.
    pub confidence: Option<CauseConfidence>,
    /// The objects from the target, or from the part of the installation that is in trouble, to the cause. Each waits for,
    /// or failed because of, the next one.
    pub tree: &'a [CauseStep],
    /// What was found, the most severe first. The first error is the cause.
    pub findings: &'a [Finding],
    /// How far the target has come.
    pub progress: Option<&'a TargetProgress>,
    /// How the parts of the installation stand; none if there is a target.
    pub parts: Option<&'a InstallationParts>,
    /// How many objects were looked at for the cause, by kind.
    pub looked_at: &'a BTreeMap<String, usize>,
    /// Only of `explain`.
    #[serde(flatten)]
    pub live: Option<LiveFacts<'a>>,
}

/// What only `explain`, which reads the live cluster, has to say.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LiveFacts<'a> {
    /// When the cluster was read (RFC 3339).
    pub read_at: String,
    /// What could not be read, and why: a sentence each.
    pub not_read: &'a [String],
    /// What the newest DebugBundle about the target found.
    pub earlier: Option<EarlierDiagnosis>,
}

/// What an earlier DebugBundle found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EarlierDiagnosis {
    /// The DebugBundle.
    pub debug_bundle: String,
    /// When it looked (RFC 3339).
    pub seen_at: String,
    /// The cause that it found.
    pub cause: String,
    /// How sure that was.
    pub confidence: Option<CauseConfidence>,
}

/// The JSON schema of [`DiagnosisDocument`], for `docs/diagnosis.schema.json`.
pub fn diagnosis_schema() -> Schema {
    schemars::schema_for!(DiagnosisDocument)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_in_the_docs_is_that_of_the_code() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/diagnosis.schema.json");
        let schema = serde_json::to_string_pretty(&diagnosis_schema()).unwrap() + "\n";
        if std::env::var_os("DEBUGBUNDLE_MEND").is_some() {
            std::fs::write(file, &schema).unwrap();
        }
        let mend = "mend it: DEBUGBUNDLE_MEND=1 cargo test -p debugbundle-operator document";
        assert_eq!(std::fs::read_to_string(file).unwrap(), schema, "{mend}");
    }
}
