//! The scenes of `tests/scenes` about Restores, walked without a cluster.

use std::{collections::BTreeSet, fs, path::Path};

use jiff::{Span, Timestamp};
use regex::{Captures, Regex};
use serde_json::{Value, json};

use crate::{Confidence, Graph, Id, Kind, Known, Wanted, line, walk};

const NOW: &str = "2026-03-01T12:00:00Z";

/// The text with plain names for its placeholders, and times before [`NOW`].
fn filled(text: &str) -> String {
    let now: Timestamp = NOW.parse().unwrap();
    Regex::new(r"\$\{([^}]+)\}")
        .unwrap()
        .replace_all(text, |found: &Captures<'_>| {
            let word = &found[1];
            match word.strip_prefix('-') {
                Some(ago) => now.checked_sub(ago.parse::<Span>().unwrap()).unwrap().to_string(),
                None => word.replace(':', "-"),
            }
        })
        .into_owned()
}

struct Scene {
    name: String,
    objects: Vec<Value>,
    errors: Vec<String>,
    line: Option<Regex>,
    never: Vec<Regex>,
}

/// The scenes whose target is the Restore r1.
fn scenes() -> Vec<Scene> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenes");
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let folder = entry.unwrap().path();
        let read = |file: &str| fs::read_to_string(folder.join(file)).ok().map(|text| filled(&text));
        let Some(about) = read("scene.yaml") else { continue };
        let about: Value = serde_saphyr::from_str(&about).unwrap();
        if about["target"][0] != "Restore" {
            continue;
        }
        let mut objects: Vec<Value> = serde_saphyr::from_multiple(&read("objects.yaml").unwrap()).unwrap();
        objects.extend(nodes(&fs::read_to_string(folder.join("objects.yaml")).unwrap()));
        let results = read("store/restores/r1/restore-r1-results.gz").unwrap_or_else(|| "{}".to_owned());
        let results: Value = serde_json::from_str(&results).unwrap();
        let pattern = |value: &Value| Regex::new(value.as_str().unwrap()).unwrap();
        all.push(Scene {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            objects,
            errors: texts(&results["errors"]),
            line: about.get("line").filter(|line| !line.is_null()).map(pattern),
            never: about["never"].as_array().into_iter().flatten().map(pattern).collect(),
        });
    }
    assert!(all.len() >= 8, "{}", all.len());
    all
}

/// All texts below a value.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(all) => all.iter().flat_map(texts).collect(),
        Value::Object(all) => all.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// Each node that a scene names is there, and Ready.
fn nodes(text: &str) -> impl Iterator<Item = Value> + use<'_> {
    let placeholder = Regex::new(r"\$\{node:([a-z]+)\}").unwrap();
    let names: BTreeSet<String> = placeholder.captures_iter(text).map(|found| format!("node-{}", &found[1])).collect();
    names.into_iter().map(|name| {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    })
}

fn graph(scene: &Scene) -> Graph<'_> {
    let mut graph = Graph::new("velero", NOW.parse().unwrap());
    for object in &scene.objects {
        graph.add(object);
    }
    graph.errors(scene.errors.clone());
    graph
}

fn first_line(graph: &Graph<'_>) -> Option<(String, Confidence)> {
    let found = walk(graph, &Id::new(Kind::Restore, "velero", "r1"));
    found.roots.first().map(|root| (line(root), root.confidence))
}

#[test]
fn the_first_line_of_each_scene_is_right() {
    let mut wrong = Vec::new();
    for scene in scenes() {
        let line = first_line(&graph(&scene).whole());
        println!("{}: {line:?}", scene.name);
        let is_right = match (&line, &scene.line) {
            (None, None) => true,
            (Some((line, confidence)), Some(wanted)) => {
                *confidence == Confidence::Certain
                    && wanted.is_match(line)
                    && !scene.never.iter().any(|never| never.is_match(line))
            }
            _ => false,
        };
        if !is_right {
            wrong.push((scene.name, line));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn without_an_object_no_scene_has_the_same_cause_with_certainty_unless_the_object_is_noise() {
    for scene in scenes().into_iter().filter(|scene| scene.line.is_some()) {
        let whole = graph(&scene).whole();
        let ids: Vec<Id> = scene.objects.iter().map(Id::of).collect();
        let Some((before, _)) = first_line(&whole) else { continue };
        let way = walk(&whole, &Id::new(Kind::Restore, "velero", "r1")).roots[0].way.clone();
        // The target itself is always known.
        for id in ids.into_iter().filter(|id| way[1..].iter().any(|step| step.id == *id)) {
            let mut graph = graph(&scene).whole();
            graph.answer(id.clone(), Known::NotHere);
            let now = first_line(&graph);
            let same =
                now.as_ref().is_some_and(|(line, confidence)| *line == before && *confidence == Confidence::Certain);
            assert!(!same, "{} without {id}: {now:?}", scene.name);
        }
    }
}

/// What happens in any cluster: unrelated trouble in other namespaces, and other Restores.
fn noise() -> Vec<Value> {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "other"},
        "status": {"phase": "Pending", "containerStatuses": [
            {"name": "web", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}}]}});
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "web-1.1", "namespace": "other"},
        "type": "Warning", "reason": "BackOff", "message": "Back-off restarting failed container", "lastTimestamp": NOW,
        "involvedObject": {"kind": "Pod", "namespace": "other", "name": "web-1"}});
    let data = json!({"apiVersion": "velero.io/v1", "kind": "PodVolumeRestore",
        "metadata": {"name": "r0-a", "namespace": "velero", "labels": {"velero.io/restore-name": "r0"}},
        "spec": {"pod": {"namespace": "other", "name": "web-1"}}, "status": {"phase": "Failed", "message": "disk full"}});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-z"},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]}});
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "slow"}});
    vec![pod, event, data, node, class]
}

#[test]
fn noise_changes_no_line() {
    let noise = noise();
    for scene in scenes() {
        let mut crowded = graph(&scene);
        for object in &noise {
            crowded.add(object);
        }
        assert_eq!(first_line(&crowded.whole()), first_line(&graph(&scene).whole()), "{}", scene.name);
    }
}

#[test]
fn names_and_times_change_nothing_else_in_a_line() {
    let of = |scene: &Scene, change: &dyn Fn(&str) -> String, now: &str| {
        let mut graph = Graph::new(&change("velero"), now.parse().unwrap());
        let objects: Vec<Value> =
            scene.objects.iter().map(|object| serde_json::from_str(&change(&object.to_string())).unwrap()).collect();
        for object in &objects {
            graph.add(object);
        }
        graph.errors(scene.errors.iter().map(|error| change(error)));
        let found = walk(&graph.whole(), &Id::new(Kind::Restore, &change("velero"), "r1"));
        found.roots.first().map(line)
    };
    for scene in scenes() {
        let before = of(&scene, &str::to_owned, NOW);
        let renamed = |text: &str| text.replace("shop", "bakery").replace("node-", "worker-");
        assert_eq!(of(&scene, &renamed, NOW), before.as_deref().map(renamed), "{}", scene.name);
        let later = |text: &str| text.replace("2026-", "2027-");
        assert_eq!(of(&scene, &later, &later(NOW)), before, "{}", scene.name);
    }
}

#[test]
fn what_is_not_known_is_wanted_and_a_walk_that_gets_it_says_the_same() {
    for scene in scenes() {
        let wanted = first_line(&graph(&scene).whole());
        let mut reading = Graph::new("velero", NOW.parse().unwrap());
        reading.errors(scene.errors.clone());
        let target = Id::new(Kind::Restore, "velero", "r1");
        let mut rounds = 0;
        loop {
            let found = walk(&reading, &target);
            if found.wants.is_empty() {
                assert_eq!(found.roots.first().map(|root| (line(root), root.confidence)), wanted, "{}", scene.name);
                break;
            }
            rounds += 1;
            assert!(rounds <= 12, "{}: {:?}", scene.name, found.wants);
            for want in found.wants {
                match want {
                    Wanted::Object(id) => {
                        let object = scene.objects.iter().find(|object| Id::of(object) == id);
                        reading.answer(id, object.map_or(Known::Absent, Known::Found));
                    }
                    Wanted::List(kind, namespace) => {
                        let of_kind = |object: &&Value| {
                            let id = Id::of(object);
                            id.kind == kind && id.namespace == namespace
                        };
                        for object in scene.objects.iter().filter(of_kind) {
                            reading.add(object);
                        }
                        reading.listed(kind, &namespace);
                    }
                }
            }
        }
    }
}
