//! `report.html` in a real browser: nothing overlaps, overflows, is torn, faint or empty, at three widths, in both colour
//! schemes and on paper. Pictures are left beside the pages.

use std::path::{Path, PathBuf};

use harness::chromium::{Chromium, View};

/// The script that looks.
const LOOK: &str = include_str!("pages/look.js");

/// Pages of which a picture is left: one of each kind of story.
const PICTURES: [&str; 12] = [
    "restore-multi-attach",
    "restore-helper-image",
    "restore-mover-quota",
    "restore-namespace-terminating",
    "restore-completed-image-missing",
    "restore-claim-kept-by-a-finalizer",
    "backup-hook-failed",
    "backup-movers-out-of-memory",
    "backup-server-gone",
    "backup-queued",
    "installation-node-lost",
    "well-backup-completed",
];

fn views() -> impl Iterator<Item = View> {
    let screens = [400, 1280, 2000].into_iter().flat_map(|width| [false, true].map(|is_dark| (width, is_dark, false)));
    screens.chain([(794, false, true)]).map(|(width, is_dark, on_paper)| View { width, is_dark, on_paper })
}

/// Where the page of a scene is left for people to open.
pub(crate) fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reports");
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// What is wrong with a page, each fault with the views in which it shows.
pub(crate) async fn faults(chromium: &mut Chromium, page: &Path) -> Vec<String> {
    chromium.open(page).await;
    let mut all = Vec::new();
    for view in views() {
        chromium.show(view).await;
        let found = chromium.evaluate(LOOK).await;
        let found = found.as_array().expect("a list").iter();
        all.extend(found.map(|fault| format!("{view:?}: {}", fault.as_str().expect("a sentence"))));
    }
    all
}

/// Looks at the pages of these scenes.
pub(crate) async fn look_at(scenes: impl Iterator<Item = &str>) {
    let (folder, profile) = (folder(), tempfile::tempdir().expect("a folder"));
    let mut chromium = Chromium::start(profile.path()).await;
    let mut wrong = Vec::new();
    for scene in scenes {
        let page = folder.join(scene).with_extension("html");
        let found = faults(&mut chromium, &page).await;
        if PICTURES.contains(&scene) || !found.is_empty() {
            for (word, width, is_dark) in [("wide", 1280, false), ("narrow-dark", 400, true)] {
                chromium.open(&page).await;
                chromium.show(View { width, is_dark, on_paper: false }).await;
                chromium.picture(&folder.join(format!("{scene}-{word}.png"))).await;
            }
        }
        wrong.extend(found.into_iter().map(|fault| format!("{scene}: {fault}")));
    }
    println!("the pages of the scenes and twelve pictures are in {}", folder.display());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
