//! `analysis/`: each place that it cites is in the bundle and contains the cited text.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use debugbundle_operator::diagnose;
use harness::bundle::{Unpacked, spec_about};
use harness::{Operator, Velero, with_namespace};
use serde_json::{Value, json};

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The line of the file that a moment or a piece of evidence names.
fn line_of(bundle: &Unpacked, place: &Value) -> String {
    let number = usize::try_from(place["line"].as_u64().expect("a line")).expect("it fits");
    let file = bundle.file(text(place, "path"));
    file.lines().nth(number - 1).unwrap_or_else(|| panic!("no line {number}: {place}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moments_and_findings_of_a_failed_restore_name_the_line_that_says_so() {
    with_namespace("analysis", |context| async move {
        let velero = Velero::start(&context).await;
        velero.partially_failed_restore("r1").await;
        let operations = json!([{
            "spec": {"restoreName": "r1", "restoreItemAction": "velero.io/csi-pvc-restorer", "operationID": "dd-7",
                "resourceIdentifier": {"Group": "", "Resource": "persistentvolumeclaims", "Namespace": "shop", "Name": "data"}},
            "status": {"phase": "Failed", "error": "no node took it", "created": "2026-03-01T10:00:01Z",
                "updated": "2026-03-01T10:00:02Z"}}]);
        let file = format!("{}/restores/r1/restore-r1-itemoperations.json.gz", harness::context::PREFIX);
        context.bucket.put_gzipped(&file, operations.to_string()).await;
        let skipped = json!([{"pvName": "pv-7", "skipped": true, "skippedReason": "volumeSnapshot: no applicable volumesnapshotter found;"}]);
        let file = format!("{}/backups/r1-source/r1-source-volumeinfo.json.gz", harness::context::PREFIX);
        context.bucket.put_gzipped(&file, skipped.to_string()).await;
        let _operator = Operator::of(&context).ready().await;
        let (_, bundle) = context.bundle("r1", spec_about("Restore", "r1")).await;

        let moments: Vec<Value> =
            bundle.file("analysis/timeline.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let kinds: BTreeSet<&str> = moments.iter().map(|moment| text(moment, "kind")).collect();
        assert!(kinds.is_superset(&BTreeSet::from(["phase", "log", "operation"])), "{kinds:?}");
        let logs: Vec<&Value> = moments.iter().filter(|moment| moment["kind"] == "log").collect();
        for moment in &logs {
            assert!(line_of(&bundle, moment).contains("level=error"), "{moment}");
        }
        let server = format!("namespaces/{}/pods/{}/velero/velero/logs/current.log", context.namespace, harness::velero::POD);
        for path in ["velero/restores/r1/restore.log", server.as_str()] {
            assert!(logs.iter().any(|moment| text(moment, "path") == path), "no error line of {path}: {logs:#?}");
        }
        assert!(moments.iter().all(|moment| moment["line"].is_u64() == (moment["kind"] == "log")));
        let failed = moments.iter().find(|moment| text(moment, "text").ends_with(": Failed: no node took it"));
        let failed = failed.expect("the operation is told");
        let place = ("velero/restores/r1/itemoperations.json", "persistentvolumeclaims/shop/data", "2026-03-01T10:00:02Z");
        assert_eq!((text(failed, "path"), text(failed, "object"), text(failed, "t")), place);

        let findings = bundle.findings();
        let skipped = findings.iter().find(|finding| finding["id"] == "volume-not-protected").expect("the skipped volume");
        let title = "Backup r1-source has no data of PersistentVolume pv-7, which it skipped: volumeSnapshot: no applicable \
                     volumesnapshotter found";
        assert_eq!((text(skipped, "title"), text(skipped, "severity")), (title, "warning"));
        assert_eq!(text(&skipped["evidence"][0], "path"), "velero/backups/r1-source/volumeinfo.json");
        let quota = findings.iter().find(|finding| text(finding, "title").contains("exceeded quota")).expect("the cause");
        assert!(!text(quota, "remedy").is_empty() && diagnose::links().contains(text(quota, "link")), "{quota:#}");
        let [results, object, log] = &quota["evidence"].as_array().expect("evidence")[..] else { panic!("{quota:#}") };
        assert_eq!(text(results, "path"), "velero/restores/r1/results.json");
        assert!(bundle.file("velero/restores/r1/results.json").contains("exceeded quota"));
        assert!(bundle.file(text(object, "path")).contains("kind: ResourceQuota"), "{object}");
        assert!(line_of(&bundle, log).contains("exceeded quota"), "{log}");
        let line = format!("{}:{}", text(log, "path"), log["line"]);
        assert!(bundle.file("summary.md").contains(&line), "the summary names {line}");
        assert!(bundle.file("summary.md").contains(text(quota, "remedy")));
        assert!(bundle.file("report.html").contains(text(quota, "link")));
    })
    .await;
}

/// The folder of Velero's site in the module of the version that is built for the tests.
fn site() -> PathBuf {
    let go = |args: &[&str]| {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/velero");
        let output = Command::new("go").args(args).current_dir(module).output().expect("go can be run");
        assert!(output.status.success(), "go {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
    };
    go(&["mod", "download", "github.com/vmware-tanzu/velero"]);
    Path::new(&go(&["list", "-m", "-f", "{{.Dir}}", "github.com/vmware-tanzu/velero"])).join("site/content")
}

/// The anchor that the site's generator makes of a heading.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_of_a_finding_is_a_page_that_velero_publishes() {
    let site = site();
    let links = diagnose::links();
    assert!(links.len() > 5, "{links:?}");
    for link in links {
        let path = link.strip_prefix("https://velero.io/").expect("Velero's own site");
        let (page, wanted) = path.split_once('#').map_or((path, None), |(page, anchor)| (page, Some(anchor)));
        let file = site.join(format!("{}.md", page.trim_end_matches('/')));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{link}: {}: {error}", file.display()));
        let mut headings = text.lines().filter(|line| line.starts_with('#')).map(anchor);
        assert!(wanted.is_none_or(|wanted| headings.any(|heading| heading == wanted)), "{link}: no such heading");
    }
}
