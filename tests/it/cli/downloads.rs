//! `download` and `cat`: which bytes they read from the store through presigned URLs, and in how many requests. The
//! proxy in between counts and cuts.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use debugbundle_archive::read;
use debugbundle_crd::{DebugBundle, RENEW_URL_ANNOTATION};
use debugbundle_format::manifest::ManifestView;
use harness::{
    Context, LogScript, pod,
    readers::{self, Archive, digest, manifest_of},
    until, with_namespace,
};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use kube::ResourceExt as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{
    download_proxy::Disturbance,
    user::{LIMIT, User, behind_a_proxy, finish, patch_status, stored},
};

fn bytes_of(bundle: &DebugBundle) -> u64 {
    u64::try_from(bundle.status.as_ref().unwrap().bundle.as_ref().unwrap().bytes).unwrap()
}

fn sha256_of(bundle: &DebugBundle) -> &str {
    &bundle.status.as_ref().unwrap().bundle.as_ref().unwrap().sha256
}

/// Requests a range with an independent client.
async fn get(url: &str, first: u64, length: u64) -> (u16, Vec<u8>) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let range = format!("bytes={first}-{}", first + length - 1);
    let request = http::Request::get(url).header("range", range).body(Empty::new()).unwrap();
    let answer = client.request(request).await.expect("the store answers");
    let status = answer.status().as_u16();
    (status, answer.into_body().collect().await.expect("the body arrives").to_bytes().to_vec())
}

#[tokio::test]
async fn all_readers_read_the_operator_s_bundle_alike_and_one_entry_is_one_request() {
    with_namespace("cli-readers", |context| async move {
        let proxy = behind_a_proxy(&context).await;
        let (_operator, bundle) = stored(&context, "read-me", "OnCompletion").await;
        let user = User::of(&context);
        let ran = user.line("download read-me -o read-me.tar.gz").await;
        assert_eq!(ran.code, 0, "{ran:?}");
        let file = user.path("read-me.tar.gz");
        assert_eq!(digest(&std::fs::read(&file).unwrap()), sha256_of(&bundle));

        let archive = Archive::of_its_manifest(file.clone(), user.path("unpacked"));
        tokio::task::spawn_blocking(move || {
            for (name, read) in readers::ALL {
                eprintln!("read by {name}");
                read(&archive);
            }
        })
        .await
        .expect("all readers see the same");

        let url = bundle.status.as_ref().unwrap().download_url.clone().expect("a URL");
        let place = bundle.status.as_ref().unwrap().bundle.clone().unwrap();
        let (offset, length) = (place.manifest_offset.unsigned_abs(), place.manifest_length.unsigned_abs());
        let (status, segment) = get(&url, offset, length).await;
        assert_eq!(status, 206);
        let manifest = read::inflate_segment(&segment, 1 << 30).expect("raw deflate");
        assert!(manifest == manifest_of(&file), "status and the archive's first bytes name the same manifest");
        let manifest = ManifestView::parse(&manifest).unwrap();
        proxy.requests();
        for entry in &manifest.entries {
            let (status, segment) = get(&url, entry.segment.offset, entry.segment.length).await;
            assert_eq!(status, 206);
            let mut inflated = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::DeflateDecoder::new(&segment[..]), &mut inflated)
                .expect_err("it has no last block: there is nothing else to be read from it");
            let body = &inflated[usize::try_from(entry.skip).unwrap()..][..usize::try_from(entry.bytes).unwrap()];
            assert_eq!(digest(body), entry.sha256, "{}", entry.path);
        }
        assert_eq!(proxy.requests().len(), manifest.entries.len());
    })
    .await;
}

#[tokio::test]
async fn a_download_goes_on_where_it_was_cut_and_after_it_was_killed() {
    with_namespace("cli-cut", |context| async move {
        let proxy = behind_a_proxy(&context).await;
        let (_operator, bundle) = stored(&context, "cut", "OnCompletion").await;
        let all = bytes_of(&bundle);
        assert!(all > 400_000, "{all} bytes are too few to cut");
        let user = User::of(&context);

        proxy.requests();
        proxy.next([Disturbance::CutAfter(150_000), Disturbance::CutAfter(100_000)]);
        let ran = user.line("download cut -o cut.tar.gz").await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.err.contains("the connection was cut, at "), "{ran:?}");
        assert!(ran.out.ends_with("sha256 verified)\n"), "{ran:?}");
        let ranges: Vec<_> = proxy.requests().iter().map(|asked| asked.range.expect("a range")).collect();
        let firsts: Vec<_> = ranges.iter().map(|range| range.0).collect();
        assert_eq!(ranges.len(), 3, "{ranges:?}");
        assert!(
            firsts[0] == 0 && (100_000..150_000).contains(&firsts[1]) && firsts[2] > firsts[1] + 50_000,
            "{ranges:?}"
        );
        assert_eq!(digest(&std::fs::read(user.path("cut.tar.gz")).unwrap()), sha256_of(&bundle));
        let mode = std::fs::metadata(user.path("cut.tar.gz")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = user.line("download cut -o cut.tar.gz").await;
        assert!(again.code == 1 && again.err.contains("exists") && again.err.contains("--force"), "{again:?}");

        proxy.next([Disturbance::StallAfter(200_000)]);
        let mut command = user.command(["download", "cut", "-o", "killed.tar.gz"]).await;
        let child = command.spawn().unwrap();
        let partial = user.path("killed.tar.gz.partial");
        until(LIMIT, "most of what was let through is on disk", || async {
            let bytes = std::fs::metadata(&partial).map_err(|error| error.to_string())?.len();
            if bytes > 150_000 { Ok(()) } else { Err(format!("{bytes} bytes")) }
        })
        .await;
        let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        finish(child, &command).await;
        assert!(!user.path("killed.tar.gz").exists());
        let had = std::fs::metadata(&partial).unwrap().len();
        proxy.requests();
        let ran = user.line("download cut -o killed.tar.gz").await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.err.contains("continuing "), "{ran:?}");
        let asked = proxy.requests();
        assert_eq!(asked.iter().map(|asked| asked.range).collect::<Vec<_>>(), [Some((had, all - 1))]);
        assert_eq!(digest(&std::fs::read(user.path("killed.tar.gz")).unwrap()), sha256_of(&bundle));
        assert!(!partial.exists());
    })
    .await;
}

#[tokio::test]
async fn a_bundle_that_was_changed_in_the_store_is_not_kept() {
    with_namespace("cli-spoiled", |context| async move {
        let (_operator, bundle) = stored(&context, "spoiled", "OnCompletion").await;
        let object = context.bucket.folder().join(&bundle.status.as_ref().unwrap().bundle.as_ref().unwrap().key);
        let mut bytes = std::fs::read(&object).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&object, bytes).unwrap();
        let user = User::of(&context);
        let ran = user.line("download spoiled -o here.tar.gz").await;
        assert_eq!((ran.code, ran.out.as_str()), (6, ""), "{ran:?}");
        assert!(ran.err.contains("differs from the one in status"), "{ran:?}");
        assert_eq!(user.files(), Vec::<String>::new());

        std::fs::remove_file(&object).unwrap();
        let ran = user.line("download spoiled -o here.tar.gz").await;
        assert_eq!(ran.code, 4, "{ran:?}");
        assert!(ran.err.contains("no longer in the object store"), "{ran:?}");
    })
    .await;
}

async fn renewals(context: &Context, name: &str) -> Option<String> {
    let bundle = context.api::<DebugBundle>().get(name).await.unwrap();
    bundle.annotations().get(RENEW_URL_ANNOTATION).cloned()
}

#[tokio::test]
async fn a_url_is_asked_for_when_there_is_none_or_it_works_no_more() {
    with_namespace("cli-renew", |context| async move {
        let (operator, bundle) = stored(&context, "later", "OnRequest").await;
        let status = bundle.status.as_ref().unwrap();
        assert_eq!(status.download_url, None);
        let user = User::of(&context);
        let story = user.line("get later").await;
        assert!(story.out.contains("Download URL:     none now; download and cat request one\n"), "{story:?}");
        let ran = user.line("download later -o one.tar.gz").await;
        assert_eq!(ran.code, 0, "{ran:?}");
        let first = renewals(&context, "later").await.expect("the operator was asked");

        let issued = context.api::<DebugBundle>().get("later").await.unwrap().status.unwrap().download_url.unwrap();
        let cat = user.line("cat later summary.md").await;
        assert_eq!(cat.code, 0);
        assert_eq!(renewals(&context, "later").await.as_ref(), Some(&first), "the URL in status still works");

        let (head, signature) = issued.split_at(issued.len() - 4);
        let broken =
            format!("{head}{}", signature.chars().rev().map(|c| if c == '0' { '1' } else { '0' }).collect::<String>());
        patch_status(&context, "later", json!({"downloadURL": broken})).await;
        let ran = user.line("download later -o two.tar.gz").await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(
            ran.err.contains("rejects the download URL (403 SignatureDoesNotMatch); requesting a new one"),
            "{ran:?}"
        );
        assert_ne!(renewals(&context, "later").await, Some(first));

        patch_status(&context, "later", json!({"downloadURL": null, "downloadURLExpiration": null})).await;
        let ran = user.line("download later -o three.tar.gz").await;
        assert_eq!(ran.code, 0, "cleared: {ran:?}");

        operator.terminate();
        operator.wait_exit(Duration::from_mins(1)).await;
        patch_status(&context, "later", json!({"downloadURL": null, "downloadURLExpiration": null})).await;
        let ran = user.line("download later -o four.tar.gz --url-timeout 2s").await;
        assert_eq!(ran.code, 5, "{ran:?}");
        assert!(
            ran.err.contains("is debugbundle-operator running") || ran.err.contains("Is debugbundle-operator running"),
            "{ran:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_bundle_whose_policy_is_never_is_not_downloaded_and_its_place_is_told() {
    with_namespace("cli-never", |context| async move {
        let (_operator, bundle) = stored(&context, "closed", "Never").await;
        let user = User::of(&context);
        let place = bundle.status.as_ref().unwrap().bundle.as_ref().unwrap();
        for line in ["download closed", "cat closed summary.md"] {
            let ran = user.line(line).await;
            assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
            assert!(ran.err.contains("has the URL policy Never: no download URL is signed"), "{ran:?}");
            assert!(ran.err.contains(&format!("{}/{}", place.bucket, place.key)), "{ran:?}");
        }
        assert_eq!(renewals(&context, "closed").await, None, "nobody was bothered");
        assert_eq!(user.files(), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn one_file_is_read_by_the_manifest_and_one_request() {
    with_namespace("cli-cat", |context| async move {
        let proxy = behind_a_proxy(&context).await;
        let node = context.node("idle").await;
        context.pod(pod("idle").on_node(&node)).await;
        context.log("idle", "idle", LogScript::lines([""; 0]));
        let (_operator, bundle) = stored(&context, "shelf", "OnCompletion").await;
        let place = bundle.status.as_ref().unwrap().bundle.clone().unwrap();
        let user = User::of(&context);
        let log = crate::support::user::lines(3_000_000);

        proxy.requests();
        let ran = user.line("cat shelf velero/restores/regrow/restore.log").await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.as_bytes() == log, "the log as Velero wrote it");
        let asked = proxy.requests();
        assert_eq!(asked.len(), 2, "{asked:?}");
        let (offset, length) = (place.manifest_offset.unsigned_abs(), place.manifest_length.unsigned_abs());
        assert_eq!(asked[0].range, Some((offset, offset + length - 1)), "the manifest, by status");
        assert!(asked.iter().all(|asked| asked.method == "GET" && asked.path.ends_with(&place.key)), "{asked:?}");

        let summary = user.line("cat shelf summary.md").await;
        assert_eq!(summary.out.lines().next(), Some("exceeded quota: no room for shop-0"));
        let asked = proxy.requests();
        assert_eq!(asked.len(), 2, "{asked:?}");
        let (first, last) = asked[1].range.unwrap();
        assert!(last - first < 256 << 10, "a small file is a small request: {asked:?}");

        let listing = user.line("cat shelf --list").await;
        assert_eq!(proxy.requests().len(), 1, "the manifest is enough");
        for path in ["summary.md", "velero/restores/regrow/restore.log", "manifest.json"] {
            assert!(listing.out.lines().any(|line| line.ends_with(&format!("  {path}"))), "{path}: {listing:?}");
        }
        let path = &format!("namespaces/{}/pods/idle/idle/idle/logs/current.log", context.namespace);
        assert!(listing.out.contains(&format!("  {path}: Empty: ")), "{listing:?}");
        let ran = user.run(["cat", "shelf", path]).await;
        assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{ran:?}");
        assert!(ran.err.contains("is missing (Empty): the log has no line in the time window"), "{ran:?}");

        let typo = user.line("cat shelf velero/restores/regrow/restor.log").await;
        assert_eq!((typo.code, typo.out.as_str()), (4, ""));
        assert!(
            typo.err.contains("Did you mean:\n") && typo.err.contains("velero/restores/regrow/restore.log"),
            "{typo:?}"
        );
        let strange = user.line("cat shelf xyzzy-plugh-42").await;
        assert!(strange.code == 4 && strange.err.contains("cat shelf --list"), "{strange:?}");
        let nobody = user.line("cat nobody summary.md").await;
        assert_eq!(nobody.code, 4, "{nobody:?}");
        let manifest = user.line("cat shelf manifest.json").await;
        assert_eq!(ManifestView::parse(manifest.out.as_bytes()).unwrap().bundle.name, "shelf");
    })
    .await;
}

#[tokio::test]
async fn the_report_is_opened_in_the_browser_by_two_requests() {
    with_namespace("cli-open", |context| async move {
        let proxy = behind_a_proxy(&context).await;
        let (_operator, _) = stored(&context, "page", "OnCompletion").await;
        let user = User::of(&context);
        let browser = user.path("browser");
        std::fs::write(&browser, "#!/bin/sh\nprintf %s \"$1\" > visited\n").unwrap();
        std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o700)).unwrap();
        let open = async |words: &[&str], browser: &std::path::Path| {
            let mut command = user.command(words).await;
            command.env("BROWSER", browser).env("TMPDIR", &user.folder);
            finish(command.spawn().unwrap(), &command).await
        };

        proxy.requests();
        let ran = open(&["open", "page"], &browser).await;
        assert_eq!((ran.code, proxy.requests().len()), (0, 2), "{ran:?}");
        let page = std::path::PathBuf::from(ran.out.trim_end());
        let seen = async || std::fs::read_to_string(user.path("visited")).map_err(|error| error.to_string());
        until(LIMIT, "the browser was started", || async { seen().await.map(drop) }).await;
        assert_eq!(seen().await.unwrap(), format!("file://{}", page.display()));
        let same = user.line("cat page report.html").await;
        assert!(same.code == 0 && std::fs::read_to_string(&page).unwrap() == same.out, "the page as it is stored");
        assert_eq!(std::fs::metadata(&page).unwrap().permissions().mode() & 0o777, 0o600);

        std::fs::remove_file(user.path("visited")).unwrap();
        assert_eq!(user.line("download page -o page.tar.gz").await.code, 0);
        let ran = open(&["open", "--file", "page.tar.gz", "--print-only"], &browser).await;
        assert!(ran.code == 0 && std::fs::read_to_string(ran.out.trim_end()).unwrap() == same.out, "{ran:?}");
        assert!(!user.path("visited").exists(), "no browser was asked for");
        let before = user.files().len();
        for words in [&["open", "nobody"][..], &["open"], &["open", "page", "--file", "page.tar.gz"]] {
            let ran = open(words, &browser).await;
            assert!(matches!(ran.code, 2 | 4) && ran.out.is_empty(), "{ran:?}");
        }
        assert_eq!(user.files().len(), before, "nothing is left of what failed");
    })
    .await;
}
