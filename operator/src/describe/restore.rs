//! Describes a Restore as `velero restore describe --details` does. `results` and `volumes` add the parts that come
//! from large files.

use std::io::{self, Write};

use serde_json::Value;

use super::{
    VeleroFiles, filters,
    go::{NONE, duration, flag, number, strings, text},
    live::Live,
    map, metadata,
    page::Page,
    reference, results, selectors, times, validation_errors, volumes,
};

pub(super) fn describe<W: Write>(
    page: &mut Page<W>,
    restore: &Value,
    files: &dyn VeleroFiles,
    live: &Live,
) -> io::Result<()> {
    let (spec, status) = (&restore["spec"], &restore["status"]);
    metadata(page, restore)?;
    page.gap()?;
    phase(page, restore)?;
    page.gap()?;
    times(page, status)?;
    validation_errors(page, status)?;
    results::results(page, status, files)?;
    page.gap()?;
    page.row(0, "Backup", text(&spec["backupName"]))?;
    page.gap()?;
    self::spec(page, spec)?;
    volumes::pod_volume_restores(page, live)?;
    volumes::of_restore(page, files)?;
    page.gap()?;
    let policy = Some(text(&spec["existingResourcePolicy"])).filter(|policy| !policy.is_empty()).unwrap_or(NONE);
    page.row(0, "Existing Resource Policy", policy)?;
    page.row(0, "ItemOperationTimeout", &duration(&spec["itemOperationTimeout"]))?;
    page.gap()?;
    page.row(0, "Preserve Service NodePorts", flag(&spec["preserveNodePorts"], "false", "true", "auto"))?;
    reference(page, "Resource modifier", &spec["resourceModifier"])?;
    uploader(page, &spec["uploaderConfig"])?;
    page.gap()?;
    results::operations(page, "Restore", number(&status["restoreItemOperationsAttempted"]), files)?;
    let hooks = &status["hookStatus"];
    if !hooks.is_null() {
        page.gap()?;
        page.row(0, "HooksAttempted", &number(&hooks["hooksAttempted"]).to_string())?;
        page.row(0, "HooksFailed", &number(&hooks["hooksFailed"]).to_string())?;
    }
    page.gap()?;
    results::resource_list(page, "restore", files)
}

fn phase<W: Write>(page: &mut Page<W>, restore: &Value) -> io::Result<()> {
    let status = &restore["status"];
    let phase = match text(&status["phase"]) {
        "" => "New",
        phase => phase,
    };
    let deleting = if restore["metadata"]["deletionTimestamp"].is_null() { "" } else { " (Deleting)" };
    let advice = match phase {
        "Failed" | "PartiallyFailed" => {
            format!(" (run 'velero restore logs {}' for more information)", text(&restore["metadata"]["name"]))
        }
        _ => String::new(),
    };
    page.row(0, "Phase", &format!("{phase}{deleting}{advice}"))?;
    let progress = &status["progress"];
    if progress.is_null() {
        return Ok(());
    }
    let (total, done) = match phase {
        "InProgress" => ("Estimated total items to be restored", "Items restored so far"),
        _ => ("Total items to be restored", "Items restored"),
    };
    page.row(0, total, &number(&progress["totalItems"]).to_string())?;
    page.row(0, done, &number(&progress["itemsRestored"]).to_string())
}

fn spec<W: Write>(page: &mut Page<W>, spec: &Value) -> io::Result<()> {
    page.line("Namespaces:")?;
    let all = "all namespaces found in the backup";
    let included = match strings(&spec["includedNamespaces"]).as_slice() {
        ["*"] => &Value::Null,
        _ => &spec["includedNamespaces"],
    };
    filters(page, 1, (included, all), &spec["excludedNamespaces"])?;
    page.gap()?;
    page.line("Resources:")?;
    filters(page, 1, (&spec["includedResources"], "*"), &spec["excludedResources"])?;
    let cluster = flag(&spec["includeClusterResources"], "excluded", "included", "auto");
    page.row(1, "Cluster-scoped", cluster)?;
    page.gap()?;
    map(page, "Namespace mappings", &spec["namespaceMapping"])?;
    selectors(page, spec)?;
    page.gap()?;
    page.row(0, "Restore PVs", flag(&spec["restorePVs"], "false", "true", "auto"))
}

fn uploader<W: Write>(page: &mut Page<W>, config: &Value) -> io::Result<()> {
    if config.is_null() {
        return Ok(());
    }
    page.gap()?;
    page.line("Uploader config:")?;
    if config["writeSparseFiles"] == true {
        page.row(1, "Write Sparse Files", "true")?;
    }
    let parallel = number(&config["parallelFilesDownload"]);
    if parallel > 0 { page.row(1, "Parallel Restore", &parallel.to_string()) } else { Ok(()) }
}
