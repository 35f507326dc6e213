//! Each scene of `tests/scenes` as a bundle: what the first line says of it. `cargo scenes` prints the table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use debugbundle_crd::DebugBundleStatus;
use debugbundle_format::text::is_bounded_form;
use futures::{StreamExt as _, stream};
use harness::bundle::{Unpacked, spec_about};
use harness::scene::{Advised, Scene, Verdict};
use harness::{Context, Operator, until, with_namespace};
use serde_json::{Value, json};

use crate::support::bundles::{LIMIT, events, status, until_ended};
use crate::support::pages;
use crate::support::user::User;

/// Scenes that run side by side.
const AT_ONCE: usize = 4;

/// What is said about a target that is well.
const NOTHING: &str = "No failure was found.";

/// What `kubectl debugbundle explain` says of a scene.
async fn explained(scene: &Scene, context: &Arc<Context>) -> String {
    let target = scene.about.target.as_ref().map(|(kind, name)| format!(" --{} {name}", kind.to_lowercase()));
    let ran = User::of(context).line(&format!("explain -o json{}", target.unwrap_or_default())).await;
    assert_eq!(ran.code, 0, "{}: {ran:?}", scene.name);
    let said: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(said["notRead"], json!([]), "{}: {ran:?}", scene.name);
    said["cause"].as_str().unwrap_or(NOTHING).to_owned()
}

/// What `kubectl debugbundle explain FILE` says of the stored bundle, and how sure it is.
async fn of_file(scene: &Scene, context: &Arc<Context>, ended: &DebugBundleStatus) -> (String, Option<String>) {
    let user = User::of(context);
    let key = &ended.bundle.as_ref().expect("it is stored").key;
    std::fs::write(user.path("why.tar.gz"), context.bucket.get(key).await.expect("it is there")).expect("written");
    let ran = user.line("explain why.tar.gz -o json --report page.html").await;
    assert_eq!(ran.code, 0, "{}: {ran:?}", scene.name);
    assert!(std::fs::read_to_string(user.path("page.html")).expect("the page").starts_with("<!DOCTYPE html>"));
    let said: Value = serde_json::from_str(&ran.out).expect("JSON");
    let text = |field: &str| said[field].as_str().map(str::to_owned);
    (text("cause").unwrap_or_else(|| NOTHING.to_owned()), text("confidence"))
}

/// The cause in a bundle, uncut.
fn diagnosed(bundle: &Unpacked) -> String {
    let said: Value = serde_json::from_str(&bundle.file("analysis/diagnosis.json")).expect("JSON");
    said["cause"].as_str().unwrap_or(NOTHING).to_owned()
}

/// The place of a confidence.
fn rank(confidence: Option<&str>) -> usize {
    let all = [None, Some("unknown"), Some("likely"), Some("certain")];
    all.iter().position(|one| *one == confidence).expect("a confidence")
}

/// What is said about a scene.
struct Played {
    is_well: bool,
    verdict: Verdict,
    line: String,
    /// The remedy of the cause: its sentence, then each command on a line of its own; empty without a cause.
    remedy: String,
    advised: Advised,
}

/// The remedy of the first finding of a bundle that is an error.
fn remedy(bundle: &Unpacked) -> String {
    let findings = bundle.findings();
    let Some(first) = findings.first().filter(|first| first["severity"] == "error") else { return String::new() };
    let words = |command: &Value| {
        let argv = command["argv"].as_array().expect("words").iter().map(|word| word.as_str().expect("a word"));
        argv.collect::<Vec<_>>().join(" ")
    };
    let commands = first["commands"].as_array().expect("commands").iter().map(words);
    let sentence = first["remedy"].as_str().expect("a sentence").to_owned();
    [sentence].into_iter().chain(commands).collect::<Vec<_>>().join("\n")
}

/// What is said about a scene.
async fn played(scene: &Scene) -> Played {
    let outcome = std::sync::Mutex::new(None);
    with_namespace("scene", |context| {
        let outcome = &outcome;
        async move {
            let loaded = scene.load(&context).await;
            let on_the_spot = explained(scene, &context).await;
            let _operator = Operator::of(&context).ready().await;
            let mut spec = scene.about.target.as_ref().map_or(json!({}), |(kind, name)| spec_about(kind, name));
            // A scene's own location may be what is broken.
            spec["storageLocation"] = "default".into();
            context.debug_bundle("why", spec).await;
            let ended = status(&until_ended(&context, "why").await);
            let cause = ended.cause.as_deref();
            // The status is cut; the Event has more of the line.
            if let Some(cause) = cause.and_then(|cause| cause.rsplit('…').next()) {
                until(LIMIT, "an Event has the line", || async {
                    let all = events(&context, "why").await;
                    if all.iter().any(|(_, note)| note.contains(cause)) { Ok(()) } else { Err(format!("{all:?}")) }
                })
                .await;
            }
            // The mark of a cut is the only one of its kind here.
            let unmarked = |text: &str| loaded.plain(text).replace("for … min", "for some min");
            let (now, of_bundle) = (unmarked(&on_the_spot), unmarked(cause.unwrap_or(NOTHING)));
            let name = &scene.name;
            assert!(is_bounded_form(&of_bundle, &now), "{name}: explain says {now:?}, the bundle {of_bundle:?}");
            let findings: Vec<String> = ended.findings.iter().map(|finding| finding.title.clone()).collect();
            let verdict = loaded.judge(cause, &findings);
            let said = loaded.plain(cause.unwrap_or(NOTHING));
            let bundle = context.download(&ended).await;
            let (from_file, confidence) = of_file(scene, &context, &ended).await;
            assert_eq!(unmarked(&from_file), unmarked(&diagnosed(&bundle)), "{name}: explain FILE says something else");
            let given = ended.confidence.map(|confidence| confidence.as_str().to_owned());
            assert!(
                rank(confidence.as_deref()) <= rank(given.as_deref()),
                "{name}: a file is {confidence:?}, the cluster was {given:?}"
            );
            let page = pages::folder().join(&scene.name).with_extension("html");
            std::fs::write(page, bundle.file("report.html")).expect("a page");
            let (remedy, is_well) = (remedy(&bundle), scene.about.line.is_none());
            let (advised, remedy) = (loaded.advised(&remedy), loaded.plain(&remedy));
            *outcome.lock().expect("nobody panicked") = Some(Played { is_well, verdict, line: said, remedy, advised });
        }
    })
    .await;
    outcome.into_inner().expect("nobody panicked").expect("it was played")
}

/// The table of `tests/scenes/score.md`.
fn table(played: &BTreeMap<String, Played>) -> String {
    let count = |wanted| played.values().filter(|one| one.verdict == wanted).count();
    let [right, below, silent, wrong] = [Verdict::Right, Verdict::Below, Verdict::Silent, Verdict::Wrong].map(count);
    let well = played.values().filter(|one| one.is_well).count();
    let troubled = || played.iter().filter(|(_, one)| !one.is_well);
    let expected = troubled().filter(|(_, one)| one.advised.is_expected).count();
    let specific = troubled().filter(|(_, one)| one.advised.is_specific).count();
    let mut text = format!(
        "# What the first line says of each scene\n\nGenerated by `DEBUGBUNDLE_MEND=1 cargo scenes`. Right: the line matches \
         the pattern of the scene; below: only a finding\nunder it does; silent: no failure was found; wrong: another \
         line.\n\n{} scenes, {well} of them well: {right} right, {below} below, {silent} silent, {wrong} wrong.\n\n\
         | scene | | first line |\n|---|---|---|\n",
        played.len()
    );
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', "<br>");
    text.extend(
        played.iter().map(|(name, one)| format!("| {name} | {} | {} |\n", one.verdict.as_str(), cell(&one.line))),
    );
    let _ = write!(
        text,
        "\n# What to do about each\n\nThe remedy's sentence, then its commands. Expected: it matches the pattern \
         of the scene; specific: it names an object of the scene\n(not the target) and a field or a command.\n\n\
         {expected} of {} as expected, {specific} specific.\n\n| scene | | what to do |\n|---|---|---|\n",
        troubled().count()
    );
    text.extend(
        troubled().map(|(name, one)| format!("| {name} | {} | {} |\n", one.advised.as_str(), cell(&one.remedy))),
    );
    text
}

#[tokio::test]
async fn no_scene_is_worse_than_its_score() {
    let scenes = Scene::all();
    let all = stream::iter(&scenes).map(|scene| async move { (scene.name.clone(), played(scene).await) });
    let played: BTreeMap<_, _> = all.buffer_unordered(AT_ONCE).collect().await;
    let now = table(&played);
    println!("{now}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenes/score.md");
    if std::env::var_os("DEBUGBUNDLE_MEND").is_some() {
        std::fs::write(&file, &now).expect("it can be written");
    }
    let recorded = std::fs::read_to_string(&file).expect("tests/scenes/score.md");
    let troubled: Vec<&Played> = played.values().filter(|one| !one.is_well).collect();
    let specific = troubled.iter().filter(|one| one.advised.is_specific).count();
    assert!(specific * 10 >= troubled.len() * 8, "remedies are specific in {specific} of {}", troubled.len());
    pages::look_at(played.keys().map(String::as_str)).await;
    assert_eq!(recorded, now, "if no scene is worse, mend the table: DEBUGBUNDLE_MEND=1 cargo scenes");
}
