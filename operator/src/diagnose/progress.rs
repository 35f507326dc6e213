//! How far a Backup or Restore has come: items, volumes and bytes. Pure.

use debugbundle_format::text::human_bytes;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// What Velero and its data movers report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetProgress {
    /// Items done, and in total as far as Velero knows: `status.progress`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<[u64; 2]>,
    /// Volumes whose data has moved, and all whose data is to move.
    pub volumes: [usize; 2],
    /// Bytes that have moved, and all as far as the movers know: their `status.progress`.
    pub bytes: [u64; 2],
}

impl TargetProgress {
    /// Of a target and the objects that move the data of its volumes.
    pub fn of<'a>(target: &Value, data: impl Iterator<Item = &'a Value>) -> Self {
        let done = &target["status"]["progress"];
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let total = done["totalItems"].as_u64();
        let items = total.map(|total| [number(&done["itemsBackedUp"]).max(number(&done["itemsRestored"])), total]);
        let mut progress = Self { items, ..Self::default() };
        for object in data {
            let status = &object["status"];
            progress.volumes[1] += 1;
            progress.volumes[0] += usize::from(status["phase"] == "Completed");
            progress.bytes[0] += number(&status["progress"]["bytesDone"]);
            progress.bytes[1] += number(&status["progress"]["totalBytes"]);
        }
        progress
    }

    /// `12 of 40 items, 2 of 3 volumes, 1.2 GB of 3.0 GB`; empty if nothing is known.
    pub fn words(&self) -> String {
        let mut parts = Vec::new();
        if let Some([done, total]) = self.items {
            parts.push(format!("{done} of {total} items"));
        }
        let ([volumes, all], [bytes, total]) = (self.volumes, self.bytes);
        if all > 0 {
            parts.push(format!("{volumes} of {all} volumes"));
        }
        if total > 0 {
            parts.push(format!("{} of {}", human_bytes(bytes), human_bytes(total)));
        }
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_volumes_and_bytes_are_counted() {
        let target = json!({"status": {"progress": {"itemsRestored": 12, "totalItems": 40}}});
        let data = [
            json!({"status": {"phase": "Completed", "progress": {"bytesDone": 1024, "totalBytes": 1024}}}),
            json!({"status": {"phase": "InProgress", "progress": {"bytesDone": 1, "totalBytes": 2048}}}),
            json!({"status": {"phase": "New", "progress": {}}}),
        ];
        let progress = TargetProgress::of(&target, data.iter());
        assert_eq!(progress.words(), "12 of 40 items, 1 of 3 volumes, 1.0 kB of 3.1 kB");
        assert_eq!(TargetProgress::of(&json!({}), [].iter()).words(), "");
    }
}
