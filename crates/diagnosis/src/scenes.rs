//! The scenes of `tests/scenes`, walked without a cluster.

mod lives;
mod properties;

use std::{collections::BTreeSet, fs, path::Path};

use jiff::{Span, Timestamp};
use regex::{Captures, Regex};
use serde_json::{Value, json};

use crate::{
    Command, Confidence, FailedHook, Graph, Hooks, Id, Kind, Known, LastWords, Remedy, ResultText, Wanted, line,
    remedy, walk,
};

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
    target: Id,
    objects: Vec<Value>,
    results: Vec<ResultText>,
    hooks: Vec<FailedHook>,
    /// Pod, container, whether it is of the instance before, last words.
    said: Vec<(String, String, bool, String)>,
    line: Option<Regex>,
    never: Vec<Regex>,
    remedy: Option<Regex>,
}

/// All scenes.
fn scenes() -> Vec<Scene> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenes");
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let folder = entry.unwrap().path();
        let read = |file: &str| fs::read_to_string(folder.join(file)).ok().map(|text| filled(&text));
        let Some(about) = read("scene.yaml") else { continue };
        let about: Value = serde_saphyr::from_str(&about).unwrap();
        let (kind, name) = (text(&about["target"][0]), text(&about["target"][1]));
        let mut objects = installed(about["server"] != false);
        for object in serde_saphyr::from_multiple::<Value>(&read("objects.yaml").unwrap()).unwrap() {
            match objects.iter_mut().find(|known| Id::of(known) == Id::of(&object)) {
                Some(known) => merge(known, object),
                None => objects.push(object),
            }
        }
        for node in nodes(&fs::read_to_string(folder.join("objects.yaml")).unwrap()) {
            if !objects.iter().any(|known| Id::of(known) == Id::of(&node)) {
                objects.push(node);
            }
        }
        let file = |which: &str| match kind {
            "Restore" => read(&format!("store/restores/{name}/restore-{name}-{which}.gz")),
            "" => None,
            _ => read(&format!("store/backups/{name}/{name}-{which}.gz")),
        };
        let results: Value = serde_json::from_str(&file("results").unwrap_or_else(|| "{}".to_owned())).unwrap();
        let mut hooks = Hooks::default();
        file("logs").unwrap_or_default().lines().for_each(|line| hooks.line(line));
        let pattern = |value: &Value| Regex::new(value.as_str().unwrap()).unwrap();
        all.push(Scene {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            target: match kind {
                "" => Id::installation("velero"),
                kind => Id::new(Kind::of(kind), "velero", name),
            },
            objects,
            results: [("errors", true), ("warnings", false)]
                .into_iter()
                .flat_map(|(which, is_error)| {
                    let of_it = texts(&results[which]).into_iter();
                    of_it.map(move |text| ResultText { is_error, text, times: 1 })
                })
                .collect(),
            hooks: hooks.failed(),
            said: logs(&folder),
            line: about.get("line").filter(|line| !line.is_null()).map(pattern),
            never: about["never"].as_array().into_iter().flatten().map(pattern).collect(),
            remedy: about.get("remedy").map(pattern),
        });
    }
    assert!(all.len() >= 68, "{}", all.len());
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// What every installation has, as the harness of the tests creates it.
fn installed(has_server: bool) -> Vec<Value> {
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "velero", "namespace": "velero", "labels": {"component": "velero"}},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"deploy": "velero"}}, "template": {"spec": {"containers": [
            {"name": "velero", "image": "velero/velero:v1.18.3", "command": ["/velero"], "args": ["server"]}]}}}});
    let location = json!({"apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
        "metadata": {"name": "default", "namespace": "velero"}, "spec": {"default": true}, "status": {"phase": "Available"}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "velero-1", "namespace": "velero", "labels": {"deploy": "velero"}},
        "status": {"phase": "Running", "containerStatuses": [{"name": "velero", "ready": true}]}});
    let mut all = vec![deployment, location];
    all.extend(has_server.then_some(pod));
    all
}

/// As a merge patch.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from,
    }
}

/// The last words of each log of a scene.
fn logs(folder: &Path) -> Vec<(String, String, bool, String)> {
    let Ok(entries) = fs::read_dir(folder.join("logs")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let said = paths.filter_map(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let words = LastWords::of(&filled(&fs::read_to_string(&path).unwrap()))?;
        let stem = name.strip_suffix(".log").unwrap();
        let (stem, is_previous) = stem.strip_suffix(".previous").map_or((stem, false), |stem| (stem, true));
        let (pod, container) = stem.split_once('.').unwrap();
        Some((pod.to_owned(), container.to_owned(), is_previous, words))
    });
    said.collect()
}

fn changed(text: &ResultText, change: &dyn Fn(&str) -> String) -> ResultText {
    ResultText { text: change(&text.text), ..text.clone() }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
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
    graph_at(scene, now())
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn graph_at(scene: &Scene, now: Timestamp) -> Graph<'_> {
    let mut graph = Graph::new("velero", now);
    for object in &scene.objects {
        graph.add(object);
    }
    graph.results(scene.results.clone());
    graph.failed_hooks(scene.hooks.clone());
    for (pod, container, is_previous, words) in &scene.said {
        graph.said(Id::new(Kind::Pod, "velero", pod), container, *is_previous, Some(words.clone()));
    }
    graph
}

/// Nothing is known.
fn unread<'a>() -> Graph<'a> {
    Graph::new("velero", now())
}

/// The last words of a container's instance in a scene.
fn words<'a>(scene: &'a Scene, pod: &Id, container: &str, is_previous: bool) -> Option<&'a String> {
    let of_it =
        |said: &&(String, String, bool, String)| said.0 == pod.name && said.1 == container && said.2 == is_previous;
    scene.said.iter().find(of_it).map(|said| &said.3)
}

fn first_line(scene: &Scene, graph: &Graph<'_>) -> Option<(String, Confidence)> {
    walk(graph, &scene.target).roots.first().map(|root| (line(root), root.confidence))
}

#[test]
fn the_first_line_of_each_scene_is_right_and_most_are_certain() {
    let (mut wrong, mut troubled, mut certain) = (Vec::new(), 0, 0);
    for scene in scenes() {
        let line = first_line(&scene, &graph(&scene).whole());
        println!("{}: {line:?}", scene.name);
        troubled += i32::from(scene.line.is_some());
        certain += i32::from(matches!(line, Some((_, Confidence::Certain))));
        let is_right = match (&line, &scene.line) {
            (None, None) => true,
            (Some((line, _)), Some(wanted)) => {
                wanted.is_match(line) && !scene.never.iter().any(|never| never.is_match(line))
            }
            _ => false,
        };
        if !is_right {
            wrong.push((scene.name, line));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(certain * 10 >= troubled * 9, "{certain} of {troubled}");
}

#[test]
fn without_an_object_no_scene_has_the_same_cause_with_certainty_unless_the_object_is_noise() {
    for scene in scenes().into_iter().filter(|scene| scene.line.is_some()) {
        let whole = graph(&scene).whole();
        let ids: Vec<Id> = scene.objects.iter().map(Id::of).collect();
        let Some((before, _)) = first_line(&scene, &whole) else { continue };
        let way = walk(&whole, &scene.target).roots[0].way.clone();
        // The target itself is always known.
        for id in ids.into_iter().filter(|id| way[1..].iter().any(|step| step.id == *id)) {
            let mut graph = graph(&scene).whole();
            graph.answer(id.clone(), Known::NotHere);
            let now = first_line(&scene, &graph);
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
    let agent = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": "node-z"},
        "metadata": {"name": "node-agent-z", "namespace": "velero", "labels": {"role": "node-agent"}},
        "status": {"phase": "Failed", "reason": "Evicted", "startTime": NOW}});
    let repository = json!({"apiVersion": "velero.io/v1", "kind": "BackupRepository",
        "metadata": {"name": "other-default-kopia", "namespace": "velero"}, "status": {"phase": "NotReady", "message": "x"},
        "spec": {"volumeNamespace": "another", "backupStorageLocation": "default"}});
    let location = json!({"apiVersion": "velero.io/v1", "kind": "BackupStorageLocation", "spec": {"accessMode": "ReadOnly"},
        "metadata": {"name": "z", "namespace": "velero"}, "status": {"phase": "Unavailable", "message": "NoSuchBucket"}});
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "status": {"phase": "Terminating"},
        "metadata": {"name": "another", "deletionTimestamp": NOW}});
    let snapshot = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": {"name": "s", "namespace": "other", "labels": {"velero.io/backup-name": "b9"}},
        "status": {"error": {"message": "the limit is reached"}}});
    let backup = json!({"apiVersion": "velero.io/v1", "kind": "Backup", "status": {"phase": "Failed", "failureReason": "x"},
        "metadata": {"name": "b9", "namespace": "velero"}});
    vec![pod, event, data, node, class, agent, repository, location, space, snapshot, backup]
}

#[test]
fn what_is_not_known_is_wanted_and_a_walk_that_gets_it_says_the_same() {
    for scene in scenes() {
        let wanted = first_line(&scene, &graph(&scene).whole());
        let mut reading = unread();
        let mut rounds = 0;
        loop {
            let found = walk(&reading, &scene.target);
            if found.wants.is_empty() {
                assert_eq!(found.roots.first().map(|root| (line(root), root.confidence)), wanted, "{}", scene.name);
                break;
            }
            rounds += 1;
            assert!(rounds <= 12, "{}: {:?}", scene.name, found.wants);
            for want in found.wants {
                answer(&scene, &mut reading, want);
            }
        }
    }
}

/// Answers a want from the scene.
fn answer<'a>(scene: &'a Scene, reading: &mut Graph<'a>, want: Wanted) {
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
        Wanted::Labelled(kind, label, value) => {
            let has_it =
                |object: &&Value| Id::of(object).kind == kind && object["metadata"]["labels"][&label] == value.as_str();
            for object in scene.objects.iter().filter(has_it) {
                reading.add(object);
            }
            reading.labelled(kind, &label, &value);
        }
        Wanted::Warnings(id) => {
            let about = |object: &&Value| {
                let regarding = &object["involvedObject"];
                regarding["kind"] == id.kind.as_str() && regarding["name"] == id.name.as_str()
            };
            for object in scene.objects.iter().filter(|object| object["kind"] == "Event").filter(about) {
                reading.add(object);
            }
            reading.warned(id);
        }
        Wanted::LastWords(pod, container, is_previous) => {
            let words = words(scene, &pod, &container, is_previous).cloned();
            reading.said(pod, &container, is_previous, words);
        }
        Wanted::Results => reading.results(scene.results.clone()),
        Wanted::FailedHooks => reading.failed_hooks(scene.hooks.clone()),
    }
}

/// What can be done about each root of a scene.
fn remedies(scene: &Scene, graph: &Graph<'_>) -> Vec<(Confidence, Option<Remedy>)> {
    let found = walk(graph, &scene.target);
    found.roots.iter().map(|root| (root.confidence, remedy(root, graph))).collect()
}

/// The sentence, then each command on a line of its own.
fn shown(remedy: &Remedy) -> String {
    let commands = remedy.commands.iter().map(|command| format!("\n{command}"));
    remedy.sentence.clone() + &commands.collect::<String>()
}

#[test]
fn the_remedy_of_each_scene_is_the_expected_one() {
    let mut wrong = Vec::new();
    for scene in scenes() {
        let first = remedies(&scene, &graph(&scene).whole()).into_iter().next();
        let text = first.and_then(|(_, remedy)| remedy).as_ref().map(shown).unwrap_or_default();
        if !scene.remedy.as_ref().map_or(text.is_empty(), |wanted| wanted.is_match(&text)) {
            wrong.push((scene.name, text));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What is wrong with a command.
fn objection(command: &Command, confidence: Confidence) -> Option<String> {
    let name = "[a-z0-9]([-a-z0-9.]*[a-z0-9])?";
    let read = "get|describe|logs|auth can-i|api-resources";
    let known = [
        format!("^kubectl( -n {name})? ({read})( |$)"),
        format!("^kubectl -n {name} scale deployment {name} --replicas=1$"),
    ]
    .map(|pattern| Regex::new(&pattern).unwrap());
    let words = [
        name.to_owned(),
        format!("--as=system:serviceaccount:{name}:{name}"),
        format!("(spec.nodeName|metadata.name|velero.io/(backup|restore)-name)={name}"),
        "-n|-c|-l|-o|--previous|--show-labels|--all-namespaces|--field-selector|--replicas=1|velero.io/plugin-config"
            .to_owned(),
        r"[a-z.]+,[a-z.]+|custom-columns=IN:\.metadata\.name,WEBHOOKS:\.webhooks\[\*\]\.name".to_owned(),
    ];
    let word = Regex::new(&format!("^({})$", words.join("|"))).unwrap();
    let line = command.argv().join(" ");
    let is_allowed = if command.changes() { confidence == Confidence::Certain } else { true };
    let is_known = known[usize::from(command.changes())].is_match(&line);
    let is_clean = command.argv().iter().all(|one| word.is_match(one));
    (!(is_allowed && is_known && is_clean)).then(|| format!("{confidence:?}: {line}"))
}

#[test]
fn a_command_reads_or_is_marked_and_certain_and_takes_only_valid_names_from_the_cluster() {
    let (mut changing, mut objections) = (BTreeSet::new(), BTreeSet::new());
    let mut look = |scene: &Scene, graph: &Graph<'_>| {
        for (confidence, remedy) in remedies(scene, graph) {
            let commands = remedy.map(|remedy| remedy.commands).unwrap_or_default();
            assert!(commands.is_sorted_by_key(Command::changes) && commands.len() <= 3, "{}", scene.name);
            objections.extend(commands.iter().filter_map(|command| objection(command, confidence)));
            changing.extend(commands.iter().filter(|command| command.changes()).map(|_| scene.name.clone()));
        }
    };
    for mut scene in scenes() {
        let objects = scene.objects.clone();
        look(&scene, &graph(&scene).whole());
        look(&scene, &graph(&scene));
        for id in objects.iter().map(Id::of) {
            let mut lacking = graph(&scene).whole();
            lacking.answer(id, Known::NotHere);
            look(&scene, &lacking);
        }
        // Redaction may have taken the place of any name, and error texts are tenants'.
        for (name, bad) in
            ["shop", "velero-7c9", "db-0", "db", "east", "tight", "fast", "example.com", "node-a", "movers", "b1", "r1"]
                .iter()
                .flat_map(|name| ["--all", "x;id", "$(id)", "a b", "«masked:x»"].map(|bad| (*name, bad)))
        {
            let word = Regex::new(&format!(r"\b{}\b", regex::escape(name))).unwrap();
            let change = |text: &str| word.replace_all(text, regex::NoExpand(bad)).into_owned();
            scene.objects =
                objects.iter().map(|object| serde_json::from_str(&change(&object.to_string())).unwrap()).collect();
            let (results, hooks) = (scene.results.clone(), scene.hooks.clone());
            scene.results.iter_mut().for_each(|text| *text = changed(text, &change));
            scene
                .hooks
                .iter_mut()
                .for_each(|hook| (hook.pod, hook.container) = (change(&hook.pod), change(&hook.container)));
            look(&scene, &graph(&scene).whole());
            (scene.results, scene.hooks) = (results, hooks);
        }
    }
    assert!(objections.is_empty(), "{objections:#?}");
    assert!(changing.contains("backup-server-scaled-to-zero"), "{changing:?}");
}
