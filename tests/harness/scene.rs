//! Scenes: one folder of `tests/scenes` for each failure, with what cluster and store held, and what must and must not be
//! said about it. A scene is loaded into the API server and the store of a test.
//!
//! In all files `${velero}` is Velero's namespace, `${shop}` any other namespace, `${node:a}` a node, `${cluster:pv-1}` a
//! cluster-scoped object, and `${-14m}` a time, 14 minutes ago.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{Span, Timestamp};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use regex::{Captures, Regex};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Context, LogScript, context::PREFIX, pod, until};

/// How long the API server may take to judge a definition.
const PATIENCE: Duration = Duration::from_mins(1);

/// A scene as it lies in the repository.
pub struct Scene {
    /// The name of its folder.
    pub name: String,
    /// What its `scene.yaml` says.
    pub about: About,
    folder: PathBuf,
}

/// `scene.yaml`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct About {
    /// What happened, for readers.
    pub story: String,
    /// Where the facts come from.
    pub source: String,
    /// The target's kind and name; none for the installation.
    pub target: Option<(String, String)>,
    /// What the first line must match. None: nothing points to a failure.
    pub line: Option<String>,
    /// What its remedy must match: the sentence, then each command on a line of its own.
    pub remedy: Option<String>,
    /// What the first line must not match.
    #[serde(default)]
    pub never: Vec<String>,
    /// Velero's server runs; else the scene itself describes it.
    #[serde(default = "yes")]
    pub server: bool,
}

fn yes() -> bool {
    true
}

/// What is said about a scene, judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The first line is right, or nothing is said of a target that is well.
    Right,
    /// The first line is not right, but a finding below it is.
    Below,
    /// Nothing is said of a target that is not well.
    Silent,
    /// Something else is said.
    Wrong,
}

impl Verdict {
    /// For the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Below => "below",
            Self::Silent => "silent",
            Self::Wrong => "wrong",
        }
    }
}

/// What can be done about a scene, judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advised {
    /// It matches the pattern.
    pub is_expected: bool,
    /// It names an object of the scene, other than the target, and a field or a command.
    pub is_specific: bool,
}

impl Advised {
    /// For the table.
    pub const fn as_str(self) -> &'static str {
        match (self.is_expected, self.is_specific) {
            (true, true) => "as expected, specific",
            (true, false) => "as expected",
            (false, true) => "another one, specific",
            (false, false) => "another one",
        }
    }
}

/// A scene that is loaded: its names are those of the test.
pub struct Loaded {
    line: Option<Regex>,
    remedy: Option<Regex>,
    never: Vec<Regex>,
    /// What objects, nodes and containers are called, without the target.
    called: BTreeSet<String>,
    names: BTreeMap<String, String>,
}

impl Loaded {
    /// Judges the first line, and the titles of the findings below it.
    pub fn judge(&self, line: Option<&str>, findings: &[String]) -> Verdict {
        let is_right = |text: &str| {
            self.line.as_ref().is_some_and(|line| line.is_match(text))
                && !self.never.iter().any(|bad| bad.is_match(text))
        };
        match (line, &self.line) {
            (None, None) => Verdict::Right,
            (Some(line), Some(_)) if is_right(line) => Verdict::Right,
            (_, Some(_)) if findings.iter().any(|finding| is_right(finding)) => Verdict::Below,
            (None, Some(_)) => Verdict::Silent,
            (Some(_), _) => Verdict::Wrong,
        }
    }

    /// Judges a remedy: its sentence, then each command on a line of its own.
    pub fn advised(&self, text: &str) -> Advised {
        let field = Regex::new(r"\b(spec|status|resources|podResources)\.[a-z]|\s--[a-z]").expect("a pattern");
        // This is a command of Velero's, and no name of the scene.
        let plain = text.replace("velero install", "");
        let words: BTreeSet<&str> = plain.split([' ', '/', ',', ':', ';', '=', '\n', '(', ')']).collect();
        let is_named = self.called.iter().any(|name| words.contains(name.as_str()));
        Advised {
            is_expected: self.remedy.as_ref().is_some_and(|wanted| wanted.is_match(text)),
            is_specific: is_named && (text.contains("\nkubectl ") || field.is_match(text)),
        }
    }

    /// The text with the scene's names in place of the test's, and without what differs from run to run: times, ages, and
    /// the rest of a name that was cut.
    pub fn plain(&self, text: &str) -> String {
        let mut names: Vec<_> = self.names.iter().collect();
        // A name may contain another one.
        names.sort_by_key(|(_, name)| usize::MAX - name.len());
        let text = names.into_iter().fold(text.to_owned(), |text, (word, name)| {
            text.replace(name.as_str(), word.rsplit(':').next().unwrap_or(word))
        });
        let varying = [
            (r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z", "…"),
            (r"for [0-9]+ min", "for … min"),
            ("scene-[a-z0-9-]*…", "…"),
        ];
        varying.into_iter().fold(text, |text, (pattern, plain)| {
            Regex::new(pattern).expect("a pattern").replace_all(&text, plain).into_owned()
        })
    }
}

impl Scene {
    /// What Velero's results name: `error restoring services/shop/web: …`, and `webhook \"policy.example.com\"`.
    fn named_in_results(&self) -> Vec<String> {
        let item =
            Regex::new(r#"error restoring [^/ ]+/[^/ ]+/([a-z0-9.-]+):|\\"([a-z0-9.-]+)\\""#).expect("a pattern");
        let named = |text: String| {
            let all = item.captures_iter(&text).filter_map(|found| found.get(1).or(found.get(2)));
            all.map(|name| name.as_str().to_owned()).collect::<Vec<_>>()
        };
        let results = files(&self.folder.join("store"))
            .into_iter()
            .filter(|file| file.to_string_lossy().ends_with("-results.gz"));
        results.flat_map(|file| named(fs::read_to_string(file).expect("it can be read"))).collect()
    }

    /// All scenes, by name.
    pub fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenes");
        let entries =
            fs::read_dir(&folder).expect("tests/scenes can be read").map(|entry| entry.expect("an entry").path());
        let mut scenes: Vec<Self> = entries.filter(|path| path.is_dir()).map(Self::of).collect();
        scenes.sort_by(|a, b| a.name.cmp(&b.name));
        scenes
    }

    fn of(folder: PathBuf) -> Self {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let text =
            fs::read_to_string(folder.join("scene.yaml")).unwrap_or_else(|error| panic!("{name}/scene.yaml: {error}"));
        let about = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}/scene.yaml: {error}"));
        Self { name, about, folder }
    }

    /// Creates what the cluster held, and puts what the store held.
    pub async fn load(&self, context: &Context) -> Loaded {
        let mut loading = Loading { scene: self, context, now: Timestamp::now(), names: BTreeMap::new() };
        if self.about.server {
            loading.server().await;
        }
        let objects = loading.text("objects.yaml").await.unwrap_or_default();
        let objects: Vec<Value> =
            serde_saphyr::from_multiple(&objects).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let target = self.about.target.as_ref().map(|(_, name)| name.as_str()).unwrap_or_default();
        let mut called: BTreeSet<String> = objects.iter().flat_map(names_in).collect();
        called.extend(self.named_in_results());
        called.remove(target);
        if objects.iter().any(|object| object["apiVersion"] == "snapshot.storage.k8s.io/v1") {
            context.snapshot_kinds().await;
        }
        for object in objects.into_iter().filter(|object| !object.is_null()) {
            loading.create(object).await;
        }
        loading.store().await;
        loading.logs().await;
        let mut line = None;
        if let Some(pattern) = &self.about.line {
            line = Some(loading.pattern(pattern).await);
        }
        let mut remedy = None;
        if let Some(pattern) = &self.about.remedy {
            remedy = Some(loading.pattern(pattern).await);
        }
        let mut never = Vec::new();
        for pattern in &self.about.never {
            never.push(loading.pattern(pattern).await);
        }
        let others = loading.names.iter().filter(|(word, _)| word.starts_with("node:") || word.starts_with("cluster:"));
        called.extend(others.map(|(_, name)| name.clone()));
        Loaded { line, remedy, never, called, names: loading.names }
    }
}

struct Loading<'a> {
    scene: &'a Scene,
    context: &'a Context,
    now: Timestamp,
    /// The test's name for each placeholder.
    names: BTreeMap<String, String>,
}

impl Loading<'_> {
    async fn server(&mut self) {
        let node = self.name("node:server").await;
        let context = self.context;
        context.pod(pod("velero-1").on_node(&node).labelled("deploy", "velero").with_container("velero")).await;
        let quiet = "time=\"2026-01-01T00:00:00Z\" level=info msg=\"Server started\"";
        context.log("velero-1", "velero", LogScript::lines([quiet]));
        // As a Deployment with a ready server would report it.
        let status = json!({"status": {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1}});
        let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = context.api();
        deployments.patch_status("velero", &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
    }

    /// The text of a file of the scene, with the test's names; `None` if there is no such file.
    async fn text(&mut self, file: &str) -> Option<String> {
        let text = fs::read_to_string(self.scene.folder.join(file)).ok()?;
        Some(self.filled(&text).await)
    }

    async fn pattern(&mut self, pattern: &str) -> Regex {
        let filled = self.filled(pattern).await;
        Regex::new(&filled).unwrap_or_else(|error| panic!("{}: {error}", self.scene.name))
    }

    /// Replaces each placeholder.
    async fn filled(&mut self, text: &str) -> String {
        let placeholder = Regex::new(r"\$\{([^}]+)\}").expect("a pattern");
        let words: Vec<String> = placeholder.captures_iter(text).map(|found| found[1].to_owned()).collect();
        for word in words {
            self.name(&word).await;
        }
        placeholder.replace_all(text, |found: &Captures<'_>| self.names[&found[1]].clone()).into_owned()
    }

    /// What a placeholder stands for; what it names is created the first time.
    async fn name(&mut self, word: &str) -> String {
        if let Some(name) = self.names.get(word) {
            return name.clone();
        }
        let name = match word.split_once(':') {
            Some(("node", name)) => self.context.node(name).await,
            Some(("cluster", name)) => self.context.cluster_name(name),
            None if word == "velero" => self.context.namespace.clone(),
            None if word.starts_with('-') => self.ago(word),
            None => self.context.workload_namespace(word).await,
            Some(_) => panic!("{}: unknown placeholder {word}", self.scene.name),
        };
        self.names.insert(word.to_owned(), name.clone());
        name
    }

    /// The time that `-14m` stands for.
    fn ago(&self, word: &str) -> String {
        let span: Span = word.trim_start_matches('-').parse().unwrap_or_else(|error| panic!("{word}: {error}"));
        let at = self.now.checked_sub(span).expect("a time");
        Timestamp::from_second(at.as_second()).expect("a time").to_string()
    }

    /// Creates an object, or changes the one that every installation has, with its status; deletes one whose
    /// `deletionTimestamp` is set.
    async fn create(&self, object: Value) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
        let (group, version) = version.rsplit_once('/').unwrap_or(("", &version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
        let namespace = text("/metadata/namespace");
        let api: Api<DynamicObject> = if namespace.is_empty() {
            Api::all_with(self.context.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.context.client.clone(), &namespace, &resource)
        };
        let failed = |error: kube::Error| -> ! { panic!("{}: {kind} {name}: {error}", self.scene.name) };
        let mut object = object;
        // The API server sets these times itself.
        let is_leaving = object["metadata"].as_object_mut().is_some_and(|metadata| {
            metadata.remove("creationTimestamp");
            metadata.remove("deletionTimestamp").is_some()
        });
        let change = Patch::Merge(&object);
        let typed: DynamicObject =
            serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
        let known = api.get_opt(&name).await.unwrap_or_else(|error| failed(error));
        let made = match known {
            Some(_) => api.patch(&name, &PatchParams::default(), &change).await,
            None => api.create(&PostParams::default(), &typed).await,
        };
        let made = made.unwrap_or_else(|error| failed(error));
        if namespace.is_empty() {
            self.context.delete_later(resource.clone(), name.clone());
        }
        if kind == "CustomResourceDefinition" {
            // The next definition conflicts with this one only once the API server has accepted its names.
            until(PATIENCE, "the API server judges the names of a definition", || async {
                let found = api.get(&name).await.unwrap_or_else(|error| failed(error));
                let conditions = &found.data["status"]["conditions"];
                if conditions.is_array() { Ok(()) } else { Err(conditions.to_string()) }
            })
            .await;
        }
        if is_leaving {
            api.delete(&name, &DeleteParams::default()).await.unwrap_or_else(|error| failed(error));
        }
        if !object["status"].is_null() && (kind == "Node" || made.data["status"] != object["status"]) {
            let status = json!({"status": object["status"]});
            // Velero's kinds have no status subresource: their status is stored with the object.
            if group != "velero.io" {
                let changed = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await;
                changed.unwrap_or_else(|error| failed(error));
            }
        }
    }

    /// `store/<key>`; what ends with `.gz` is compressed on the way.
    async fn store(&mut self) {
        for file in files(&self.scene.folder.join("store")) {
            let key =
                file.strip_prefix(self.scene.folder.join("store")).expect("below it").to_string_lossy().into_owned();
            let text = self.text(&format!("store/{key}")).await.expect("it is there");
            let place = format!("{PREFIX}/{key}");
            if Path::new(&key).extension().is_some_and(|end| end == "gz") {
                self.context.bucket.put_gzipped(&place, text).await;
            } else {
                self.context.bucket.put(&place, text).await;
            }
        }
    }

    /// `logs/<pod>.<container>.log` and `logs/<pod>.<container>.previous.log`, of pods in Velero's namespace.
    async fn logs(&mut self) {
        for file in files(&self.scene.folder.join("logs")) {
            let name = file.file_name().expect("a name").to_string_lossy().into_owned();
            let text = self.text(&format!("logs/{name}")).await.expect("it is there");
            let stem = name.strip_suffix(".log").unwrap_or_else(|| panic!("{name} is no log"));
            let (stem, is_previous) = stem.strip_suffix(".previous").map_or((stem, false), |stem| (stem, true));
            let (pod, container) = stem.split_once('.').unwrap_or_else(|| panic!("{name} names no container"));
            // A line without a time belongs to the one before.
            let mut at = self.now;
            let lines = LogScript::timed_lines(text.lines().map(|line| {
                let time = line.split_once("time=\"").and_then(|(_, rest)| rest.split_once('"')?.0.parse().ok());
                at = time.unwrap_or(at);
                (at, line.to_owned())
            }));
            if is_previous {
                self.context.previous_log(pod, container, lines);
            } else {
                self.context.log(pod, container, lines);
            }
        }
    }
}

/// What an object, its node, its containers and what it refers to are called.
fn names_in(object: &Value) -> BTreeSet<String> {
    let (spec, mut names) = (&object["spec"], vec![&object["metadata"]["name"]]);
    names.extend(["nodeName", "storageClassName", "volumeName", "storageLocation"].map(|field| &spec[field]));
    let containers = ["initContainers", "containers"].into_iter().filter_map(|field| spec[field].as_array()).flatten();
    names.extend(containers.map(|container| &container["name"]));
    names.into_iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// All files below a folder; none if there is no such folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
