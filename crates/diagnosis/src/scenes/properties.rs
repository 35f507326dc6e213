//! What holds for each scene whatever else is in the cluster, in which order and at which time it is read, how things are
//! called, and which of them cannot be read. Fresh cases in each run.

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::*;
use crate::{Relation, Root};

/// The scene with each text of the cluster, the store and the logs changed.
fn changed_scene(scene: &Scene, change: &dyn Fn(&str) -> String) -> Scene {
    let objects = scene.objects.iter().map(|object| serde_json::from_str(&change(&object.to_string())).unwrap());
    let hooks = scene.hooks.iter().map(|hook| FailedHook { words: change(&hook.words), ..hook.clone() });
    let said = scene
        .said
        .iter()
        .map(|(pod, container, is_previous, words)| (pod.clone(), container.clone(), *is_previous, change(words)));
    Scene {
        name: scene.name.clone(),
        target: scene.target.clone(),
        objects: objects.collect(),
        results: scene.results.iter().map(|text| changed(text, change)).collect(),
        hooks: hooks.collect(),
        said: said.collect(),
        line: None,
        never: Vec::new(),
        remedy: None,
    }
}

/// The objects in another order.
fn shuffled(objects: &mut [Value], seed: u64) {
    objects.sort_by_cached_key(|object| {
        let text = format!("{seed}{}", Id::of(object));
        text.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    });
}

fn at(scene: &Scene, now: Timestamp) -> Option<(String, Confidence)> {
    first_line(scene, &graph_at(scene, now).whole())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_and_order_change_no_line(
        picked in subsequence((0..noise().len()).collect::<Vec<_>>(), 0..=noise().len()),
        suffix in "[a-z0-9]{1,8}",
        seed in any::<u64>(),
    ) {
        let noise = noise();
        for mut scene in scenes() {
            let before = at(&scene, now());
            for object in picked.iter().map(|index| &noise[*index]) {
                let is_part = matches!(Id::of(object).kind, Kind::BackupStorageLocation | Kind::BackupRepository);
                if scene.target.kind == Kind::Installation && is_part {
                    continue;
                }
                scene.objects.push(object.clone());
                // Another one of its kind.
                let mut other = object.clone();
                other["metadata"]["name"] = format!("{}-{suffix}", text(&object["metadata"]["name"])).into();
                scene.objects.push(other);
            }
            shuffled(&mut scene.objects, seed);
            prop_assert_eq!(at(&scene, now()), before, "{}", scene.name);
        }
    }

    #[test]
    fn names_change_nothing_else_in_a_line(space in "[a-z]{3,12}[0-9]{0,3}", node in "[a-z]{3,12}[0-9]{1,3}") {
        let one = Regex::new(r"\bnode-([a-z])\b").unwrap();
        let renamed = |text: &str| one.replace_all(&text.replace("shop", &space), format!("{node}-$1")).into_owned();
        for scene in scenes() {
            let before = at(&scene, now()).map(|(line, confidence)| (renamed(&line), confidence));
            prop_assert_eq!(at(&changed_scene(&scene, &renamed), now()), before, "{}", scene.name);
        }
    }

    #[test]
    fn the_time_changes_nothing_else_in_a_line(seconds in -400_000_000_i64..400_000_000) {
        let time = Regex::new(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z").unwrap();
        let shift = |at: Timestamp| at.checked_add(Span::new().seconds(seconds)).unwrap();
        let later = |text: &str| {
            let moved = |found: &Captures<'_>| shift(found[0].parse().unwrap()).to_string();
            time.replace_all(text, moved).into_owned()
        };
        for scene in scenes() {
            let before = at(&scene, now()).map(|(line, confidence)| (later(&line), confidence));
            prop_assert_eq!(at(&changed_scene(&scene, &later), shift(now())), before, "{}", scene.name);
        }
    }

    #[test]
    fn what_may_not_be_read_makes_no_other_cause_certain(seed in any::<u64>(), share in 1_u64..6) {
        for mut scene in scenes() {
            // The stand runs no server from its Deployment.
            let idle = scene.objects.iter_mut().find(|object| Id::of(object).kind == Kind::Deployment);
            if let Some(idle) = idle.filter(|_| !scene.name.contains("scaled-to-zero")) {
                idle["spec"]["replicas"] = 1.into();
            }
            let before: Vec<String> = walk(&graph(&scene).whole(), &scene.target).roots.iter().map(line).collect();
            // A right is one to a kind in a namespace. Without Events a line may end earlier, and is still true.
            let event = Kind::of("Event");
            let all = scene.objects.iter().map(Id::of).filter(|id| *id != scene.target && id.kind != event);
            let rules: BTreeSet<(Kind, String)> = all.map(|id| (id.kind, id.namespace)).collect();
            let lost = rules.into_iter().enumerate().filter(|(number, _)| {
                let dice = (seed ^ (*number as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                dice % 6 < share
            });
            let mut lost: BTreeSet<(Kind, String)> = lost.map(|(_, rule)| rule).collect();
            lost.remove(&(scene.target.kind.clone(), scene.target.namespace.clone()));
            let mut reading = unread();
            let mut asked = BTreeSet::new();
            loop {
                let wants = walk(&reading, &scene.target).wants;
                let wants: Vec<Wanted> = wants.into_iter().filter(|want| asked.insert(want.clone())).collect();
                if wants.is_empty() {
                    break;
                }
                for want in wants {
                    let is_lost = |kind: &Kind, space: Option<&String>| {
                        lost.iter().any(|(lost, of)| lost == kind && space.is_none_or(|space| space == of))
                    };
                    match &want {
                        Wanted::Object(id) if is_lost(&id.kind, Some(&id.namespace)) => {
                            reading.answer(id.clone(), Known::Forbidden);
                        }
                        Wanted::List(kind, space) if is_lost(kind, Some(space)) => {}
                        Wanted::Labelled(kind, ..) if is_lost(kind, None) => {}
                        _ => answer(&scene, &mut reading, want),
                    }
                }
            }
            let found = walk(&reading, &scene.target).roots.into_iter().next();
            // The target's own words are true in any case.
            let is_claim = |root: &Root| root.confidence == Confidence::Certain && root.relation != Relation::Itself;
            let Some(line) = found.filter(is_claim).map(|root| line(&root)) else { continue };
            let is_same = before.contains(&line);
            let is_right = scene.line.as_ref().is_some_and(|wanted| wanted.is_match(&line));
            prop_assert!(is_same || is_right, "{}: {line:?} without {lost:?}", scene.name);
        }
    }
}
