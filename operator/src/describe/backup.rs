//! Describes a Backup as `velero backup describe --details` does. `results` and `volumes` add the parts that come from
//! large files.

use std::io::{self, Write};

use serde_json::Value;

use super::{
    VeleroFiles, filters,
    go::{NONE, duration, flag, list, number, selector, strings, text, time, time_text},
    live::{BackupDeletion, Live},
    metadata,
    page::Page,
    reference, results, selectors, times, validation_errors, volumes,
};

pub(super) fn describe<W: Write>(
    page: &mut Page<W>,
    backup: &Value,
    files: &dyn VeleroFiles,
    live: &Live,
) -> io::Result<()> {
    let (spec, status) = (&backup["spec"], &backup["status"]);
    metadata(page, backup)?;
    page.gap()?;
    phase(page, backup)?;
    reference(page, "Resource policies", &spec["resourcePolicy"])?;
    let parallel = number(&spec["uploaderConfig"]["parallelFilesUpload"]);
    if parallel > 0 {
        page.gap()?;
        page.line("Uploader config:")?;
        page.row(1, "Parallel files upload", &parallel.to_string())?;
    }
    validation_errors(page, status)?;
    page.gap()?;
    results::results(page, status, files)?;
    page.gap()?;
    self::spec(page, spec)?;
    page.gap()?;
    self::status(page, status, files, live)?;
    deletions(page, live)
}

fn phase<W: Write>(page: &mut Page<W>, backup: &Value) -> io::Result<()> {
    let status = &backup["status"];
    let phase = match text(&status["phase"]) {
        "" => "New",
        phase => phase,
    };
    let advice = match phase {
        "Failed" | "PartiallyFailed" => {
            format!(" (run `velero backup logs {}` for more information)", text(&backup["metadata"]["name"]))
        }
        _ => String::new(),
    };
    page.row(0, "Phase", &format!("{phase}{advice}"))?;
    if phase == "Queued" {
        page.row(0, "Queue position", &number(&status["queuePosition"]).to_string())?;
    }
    Ok(())
}

fn spec<W: Write>(page: &mut Page<W>, spec: &Value) -> io::Result<()> {
    page.line("Namespaces:")?;
    filters(page, 1, (&spec["includedNamespaces"], "*"), &spec["excludedNamespaces"])?;
    page.gap()?;
    resources(page, spec)?;
    selectors(page, spec)?;
    page.gap()?;
    page.row(0, "Storage Location", text(&spec["storageLocation"]))?;
    page.gap()?;
    page.row(0, "Velero-Native Snapshot PVs", flag(&spec["snapshotVolumes"], "false", "true", "auto"))?;
    if !spec["defaultVolumesToFsBackup"].is_null() {
        let by_default = flag(&spec["defaultVolumesToFsBackup"], "false", "true", "");
        page.row(0, "File System Backup (Default)", by_default)?;
    }
    page.row(0, "Snapshot Move Data", flag(&spec["snapshotMoveData"], "false", "true", "auto"))?;
    page.row(0, "Data Mover", Some(text(&spec["datamover"])).filter(|mover| !mover.is_empty()).unwrap_or("velero"))?;
    page.gap()?;
    page.row(0, "TTL", &duration(&spec["ttl"]))?;
    page.gap()?;
    page.row(0, "CSISnapshotTimeout", &duration(&spec["csiSnapshotTimeout"]))?;
    page.row(0, "ItemOperationTimeout", &duration(&spec["itemOperationTimeout"]))?;
    page.gap()?;
    hooks(page, &spec["hooks"]["resources"])?;
    if let Some(ordered) = spec["orderedResources"].as_object() {
        page.gap()?;
        page.line("OrderedResources:")?;
        for (kind, names) in ordered {
            page.text(1, &format!("{kind}: {}", text(names)))?;
        }
    }
    Ok(())
}

fn resources<W: Write>(page: &mut Page<W>, spec: &Value) -> io::Result<()> {
    page.line("Resources:")?;
    let is_set = |field: &str| !strings(&spec[field]).is_empty();
    let old = is_set("includedResources") || is_set("excludedResources") || !spec["includeClusterResources"].is_null();
    // Velero's `UseOldResourceFilters` also holds when there is no filter at all.
    let new = [
        ("Included cluster-scoped", "includedClusterScopedResources", NONE),
        ("Excluded cluster-scoped", "excludedClusterScopedResources", NONE),
        ("Included namespace-scoped", "includedNamespaceScopedResources", "*"),
        ("Excluded namespace-scoped", "excludedNamespaceScopedResources", NONE),
    ];
    if old || !new.iter().any(|(_, field, _)| is_set(field)) {
        filters(page, 1, (&spec["includedResources"], "*"), &spec["excludedResources"])?;
        let cluster = flag(&spec["includeClusterResources"], "excluded", "included", "auto");
        return page.row(1, "Cluster-scoped", cluster);
    }
    for (label, field, none) in new {
        page.row(1, label, &list(&spec[field], none))?;
    }
    Ok(())
}

fn hooks<W: Write>(page: &mut Page<W>, resources: &Value) -> io::Result<()> {
    let Some(resources) = resources.as_array().filter(|resources| !resources.is_empty()) else {
        return page.row(0, "Hooks", NONE);
    };
    page.line("Hooks:")?;
    page.line("\tResources:")?;
    for hook in resources {
        page.text(2, &format!("{}:", text(&hook["name"])))?;
        page.line("\t\t\tNamespaces:")?;
        filters(page, 4, (&hook["includedNamespaces"], "*"), &hook["excludedNamespaces"])?;
        page.gap()?;
        page.line("\t\t\tResources:")?;
        filters(page, 4, (&hook["includedResources"], "*"), &hook["excludedResources"])?;
        page.gap()?;
        page.row(3, "Label selector", &selector(&hook["labelSelector"]))?;
        for (heading, field) in [("Pre Exec Hook", "pre"), ("Post Exec Hook", "post")] {
            for exec in hook[field].as_array().into_iter().flatten().map(|hook| &hook["exec"]) {
                if exec.is_null() {
                    continue;
                }
                page.gap()?;
                page.line(&format!("\t\t\t{heading}:"))?;
                page.row(4, "Container", text(&exec["container"]))?;
                page.row(4, "Command", &strings(&exec["command"]).join(" "))?;
                page.row(4, "On Error", text(&exec["onError"]))?;
                page.row(4, "Timeout", &duration(&exec["timeout"]))?;
            }
        }
    }
    Ok(())
}

fn status<W: Write>(page: &mut Page<W>, status: &Value, files: &dyn VeleroFiles, live: &Live) -> io::Result<()> {
    page.row(0, "Backup Format Version", text(&status["formatVersion"]))?;
    page.gap()?;
    times(page, status)?;
    page.gap()?;
    page.row(0, "Expiration", time(&status["expiration"]).as_deref().unwrap_or("<nil>"))?;
    page.gap()?;
    let progress = &status["progress"];
    if !progress.is_null() {
        let (total, done) = match text(&status["phase"]) {
            "InProgress" => ("Estimated total items to be backed up", "Items backed up so far"),
            _ => ("Total items to be backed up", "Items backed up"),
        };
        page.row(0, total, &number(&progress["totalItems"]).to_string())?;
        page.row(0, done, &number(&progress["itemsBackedUp"]).to_string())?;
        page.gap()?;
    }
    results::operations(page, "Backup", number(&status["backupItemOperationsAttempted"]), files)?;
    results::resource_list(page, "backup", files)?;
    page.gap()?;
    volumes::of_backup(page, status, files, live)?;
    let hooks = &status["hookStatus"];
    if !hooks.is_null() {
        page.gap()?;
        page.row(0, "HooksAttempted", &number(&hooks["hooksAttempted"]).to_string())?;
        page.row(0, "HooksFailed", &number(&hooks["hooksFailed"]).to_string())?;
    }
    Ok(())
}

fn deletions<W: Write>(page: &mut Page<W>, live: &Live) -> io::Result<()> {
    if !live.deletions_read {
        page.gap()?;
        return page.row(0, "Deletion Attempts", &super::unread("deletion requests"));
    }
    if live.deletions.is_empty() {
        return Ok(());
    }
    page.gap()?;
    let failed = |request: &&BackupDeletion| request.phase == "Processed" && !request.errors.is_empty();
    let failed = live.deletions.iter().filter(failed).count();
    let count = if failed > 0 { format!(" ({failed} failed)") } else { String::new() };
    page.line(&format!("Deletion Attempts{count}:"))?;
    for (at, request) in live.deletions.iter().enumerate() {
        if at > 0 {
            page.gap()?;
        }
        page.text(1, &format!("{}: {}", time_text(&request.created), request.phase))?;
        if !request.errors.is_empty() {
            page.line("\tErrors:")?;
        }
        for error in &request.errors {
            page.text(2, error)?;
        }
    }
    Ok(())
}
