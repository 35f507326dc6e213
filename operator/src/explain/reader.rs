//! Reads from the API server and the object store what the walk wants: each request with a limit of time and size, and
//! redacted as soon as it is read.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    time::Duration,
};

use debugbundle_crd::TargetKind;
use debugbundle_diagnosis::{FailedHook, Hooks, Id, Kind, KindScope, LastWords, ResultText, Wanted, has_ended};
use debugbundle_format::{StoreFile, text::bounded};
use debugbundle_redact::Redactor;
use flate2::read::MultiGzDecoder;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, LogParams},
};
use serde_json::{Value, json};
use tokio::{
    sync::OnceCell,
    time::{Instant, timeout},
};

use super::answers::{Answers, Reply};
use crate::{
    cluster::{ApiKind, Pieces, PumpEnd, pipe, pump},
    collect::FromStore,
    error::api_sentence,
    run::Engine,
    velero::{Results, SkippedVolume, StoreFiles as _, files::JSON_FILE},
};

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Objects in one page of a list, and most pages.
const PAGE: u32 = 500;
const PAGES: usize = 20;
/// Lines and bytes that are read of the end of a container's log.
const LINES: i64 = 200;
const LOG_BYTES: i64 = 256 << 10;
/// Most bytes (inflated) that are read of a target's log, and of one line of it.
const TARGET_LOG: u64 = 64 << 20;
const LINE: usize = 64 << 10;

/// Reads with the rights of its client.
pub struct Reader {
    client: Client,
    engine: Engine,
    velero: String,
    redactor: Redactor,
    /// The store with the target's files, opened when the first is wanted.
    store: OnceCell<Result<TargetStore, String>>,
}

/// The store with a target's files.
struct TargetStore {
    files: FromStore,
    /// Masks its credential, too.
    redactor: Redactor,
}

impl Reader {
    /// Reads as this client may. `velero`: Velero's namespace.
    pub fn new(client: Client, engine: Engine, velero: &str) -> Self {
        let redactor = Redactor::of_known(Vec::new());
        Self { client, engine, velero: velero.to_owned(), redactor, store: OnceCell::new() }
    }

    /// Velero's namespace.
    pub fn velero(&self) -> &str {
        &self.velero
    }

    /// Reads what is wanted. `target`: the target, once it was read.
    pub(super) async fn read(&self, want: &Wanted, target: Option<&Value>, answers: &Answers) -> Reply {
        match want {
            Wanted::Object(id) => self.object(id).await,
            Wanted::List(kind, namespace) => {
                self.list(kind, Some(namespace).filter(|name| !name.is_empty()), ListParams::default()).await
            }
            Wanted::Labelled(kind, label, value) => {
                let is_of_velero = kind.resource().is_some_and(|served| served.scope == KindScope::Velero);
                let namespace = is_of_velero.then_some(&self.velero);
                self.list(kind, namespace, ListParams::default().labels(&format!("{label}={value}"))).await
            }
            Wanted::Warnings(id) => {
                let fields =
                    format!("type=Warning,involvedObject.kind={},involvedObject.name={}", id.kind.as_str(), id.name);
                let namespace = if id.namespace.is_empty() { "default" } else { id.namespace.as_str() };
                self.list(&Kind::Event, Some(&namespace.to_owned()), ListParams::default().fields(&fields)).await
            }
            Wanted::LastWords(pod, container, is_previous) => self.last_words(pod, container, *is_previous).await,
            Wanted::Results => self.results(target, answers).await,
            Wanted::FailedHooks => self.failed_hooks(target, answers).await,
        }
    }

    async fn object(&self, id: &Id) -> Reply {
        let what = format!("{id}");
        let Some(api) = self.api(&id.kind, Some(&id.namespace).filter(|name| !name.is_empty())) else {
            return Reply::Failed(format!("{what} could not be read: its kind is not known"));
        };
        match timeout(PATIENCE, api.get_opt(&id.name)).await {
            Ok(Ok(object)) => {
                Reply::Objects(object.into_iter().filter_map(|object| self.redacted(&id.kind, object)).collect())
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Reply::Objects(Vec::new()),
            Ok(Err(error)) => refused(&what, &error),
            Err(_) => late(&what),
        }
    }

    async fn list(&self, kind: &Kind, namespace: Option<&String>, params: ListParams) -> Reply {
        let what = match namespace {
            Some(namespace) => format!("{} objects in namespace {namespace}", kind.as_str()),
            None => format!("{} objects of the cluster", kind.as_str()),
        };
        let Some(api) = self.api(kind, namespace) else {
            return Reply::Failed(format!("{what} could not be read: the kind is not known"));
        };
        let mut params = params.limit(PAGE);
        let mut all = Vec::new();
        for _ in 0..PAGES {
            let page = match timeout(PATIENCE, api.list(&params)).await {
                Ok(Ok(page)) => page,
                // The kind is not served, so no such object exists.
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => return Reply::Objects(Vec::new()),
                Ok(Err(error)) => return refused(&what, &error),
                Err(_) => return late(&what),
            };
            all.extend(
                page.items
                    .into_iter()
                    .map(|object| in_short(kind, object))
                    .filter_map(|object| self.redacted(kind, object)),
            );
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Reply::Objects(all),
            }
        }
        Reply::Failed(format!("of {what}, only the first {} were looked at", PAGES * PAGE as usize))
    }

    fn redacted(&self, kind: &Kind, object: DynamicObject) -> Option<Value> {
        let mut object = serde_json::to_value(object).ok()?;
        object["kind"] = kind.as_str().into();
        object["metadata"]["managedFields"] = Value::Null;
        // Schemas are large.
        for version in object.pointer_mut("/spec/versions").and_then(Value::as_array_mut).into_iter().flatten() {
            version["schema"] = Value::Null;
        }
        self.redactor.object(&mut object).then_some(object)
    }

    fn api(&self, kind: &Kind, namespace: Option<&String>) -> Option<Api<DynamicObject>> {
        let resource = ApiKind::of(kind)?.resource();
        Some(match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        })
    }

    async fn last_words(&self, pod: &Id, container: &str, is_previous: bool) -> Reply {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let params = LogParams {
            container: Some(container.to_owned()),
            previous: is_previous,
            tail_lines: Some(LINES),
            limit_bytes: Some(LOG_BYTES),
            ..LogParams::default()
        };
        let what = format!("the log of container {container} of {pod}");
        match timeout(PATIENCE, api.logs(&pod.name, &params)).await {
            Ok(Ok(log)) => Reply::Words(LastWords::of(&self.redactor.text(&log))),
            // No such instance, or its log is gone.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 400 | 404) => Reply::Words(None),
            Ok(Err(error)) => refused(&what, &error),
            Err(_) => late(&what),
        }
    }

    async fn results(&self, target: Option<&Value>, answers: &Answers) -> Reply {
        let read = |pieces| Results::read(MultiGzDecoder::new(pieces).take(JSON_FILE)).texts().collect();
        let masked = |redactor: &Redactor, said: ResultText| ResultText { text: redactor.text(&said.text), ..said };
        self.of_file(StoreFile::Results, target, answers, read, masked).await.map_or_else(|reply| reply, Reply::Texts)
    }

    async fn failed_hooks(&self, target: Option<&Value>, answers: &Answers) -> Reply {
        let masked = |redactor: &Redactor, hook: FailedHook| FailedHook { words: redactor.text(&hook.words), ..hook };
        self.of_file(StoreFile::Log, target, answers, hooks, masked).await.map_or_else(|reply| reply, Reply::Hooks)
    }

    /// The volumes whose data a target's Backup left out. Asked of a target that has ended: for one that is under way, the
    /// store is not opened.
    ///
    /// # Errors
    /// The volume info cannot be read: the sentence says why.
    pub(super) async fn skipped(&self, target: &Value, answers: &Answers) -> Result<Vec<SkippedVolume>, String> {
        let backup = backup_of(target);
        if !has_files(target) || backup.is_empty() {
            return Ok(Vec::new());
        }
        let read = |pieces| SkippedVolume::read(MultiGzDecoder::new(pieces).take(JSON_FILE));
        let masked = |redactor: &Redactor, volume: SkippedVolume| SkippedVolume {
            claim: (redactor.text(&volume.claim.0), redactor.text(&volume.claim.1)),
            volume: redactor.text(&volume.volume),
            why: redactor.text(&volume.why),
            ..volume
        };
        let file = (TargetKind::Backup, backup, StoreFile::VolumeInfo);
        self.file(file, target, answers, read, masked).await
    }

    /// Reads one of the target's files in the object store. Velero writes them when the target has ended, and none of one
    /// that it refused.
    async fn of_file<T: Send + 'static>(
        &self,
        file: StoreFile,
        target: Option<&Value>,
        answers: &Answers,
        read: impl FnOnce(Pieces) -> Vec<T> + Send + 'static,
        masked: impl Fn(&Redactor, T) -> T,
    ) -> Result<Vec<T>, Reply> {
        let Some(target) = target.filter(|target| has_files(target)) else { return Ok(Vec::new()) };
        let of = if target["kind"] == "Restore" { TargetKind::Restore } else { TargetKind::Backup };
        let name = target["metadata"]["name"].as_str().unwrap_or_default();
        self.file((of, name, file), target, answers, read, masked).await.map_err(Reply::Failed)
    }

    /// Reads a file in the store with the target's files, and masks what it takes from it.
    async fn file<T: Send + 'static>(
        &self,
        (of, name, file): (TargetKind, &str, StoreFile),
        target: &Value,
        answers: &Answers,
        read: impl FnOnce(Pieces) -> Vec<T> + Send + 'static,
        masked: impl Fn(&Redactor, T) -> T,
    ) -> Result<Vec<T>, String> {
        let failed = |why: &str| {
            let (kind, velero) = (of.as_str(), &self.velero);
            Err(format!("the {} of {kind} {velero}/{name} could not be read: {why}", named(file)))
        };
        let store = match self.store.get_or_init(|| self.open(target, answers)).await {
            Ok(store) => store,
            Err(why) => return failed(why),
        };
        let body = match timeout(PATIENCE, store.files.open(of, name, file)).await {
            Ok(Ok(Some(body))) => body,
            Ok(Ok(None)) => return Ok(Vec::new()),
            Ok(Err(error)) => return failed(&error.to_string()),
            Err(_) => return failed("the store did not answer in time"),
        };
        let (to, pieces) = pipe();
        let reading = tokio::task::spawn_blocking(move || read(pieces));
        let end = pump(body, to, PATIENCE, Instant::now() + PATIENCE * 3, |_| ()).await;
        match (reading.await, end) {
            (Ok(read), PumpEnd::Whole | PumpEnd::ReaderGone) => {
                Ok(read.into_iter().map(|one| masked(&store.redactor, one)).collect())
            }
            _ => failed("the store did not send it to its end"),
        }
    }

    /// Opens the store with the target's files: a Restore's are in the location of its Backup.
    async fn open(&self, target: &Value, answers: &Answers) -> Result<TargetStore, String> {
        let backup = if target["kind"] == "Restore" {
            let id = Id::new(Kind::Backup, &self.velero, backup_of(target));
            match answers.object(&id).cloned() {
                Some(backup) => backup,
                None => match self.object(&id).await {
                    Reply::Objects(mut found) => found.pop().unwrap_or(Value::Null),
                    Reply::Forbidden(why) | Reply::Failed(why) => return Err(why),
                    _ => Value::Null,
                },
            }
        } else {
            target.clone()
        };
        let mut found = self.engine.locations().await.map_err(|fault| fault.to_string())?;
        let wanted = backup["spec"]["storageLocation"].as_str().filter(|name| !name.is_empty());
        let is_it = |location: &&crate::location::Location| match wanted {
            Some(name) => location.name == name,
            None => location.default,
        };
        let location = found.all.iter().find(is_it).ok_or_else(|| match wanted {
            Some(name) => found
                .unusable
                .remove(name)
                .map_or_else(|| format!("there is no BackupStorageLocation {name}"), |fault| fault.to_string()),
            None => "there is no default BackupStorageLocation".to_owned(),
        })?;
        let open = self.engine.open_store(location, found.server.as_ref()).await.map_err(|fault| fault.to_string())?;
        let redactor = self.redactor.renewed(open.known);
        Ok(TargetStore { files: FromStore::new(open.store, location.prefix.as_str()), redactor })
    }
}

/// Of a Backup or Restore in a list only what shows which is in front, and where its files are: there may be thousands.
fn in_short(kind: &Kind, mut object: DynamicObject) -> DynamicObject {
    if matches!(kind, Kind::Backup | Kind::Restore) {
        object.metadata.annotations = None;
        let (spec, status) = (&object.data["spec"], &object.data["status"]);
        object.data = json!({
            "spec": {"storageLocation": spec["storageLocation"], "backupName": spec["backupName"]},
            "status": {"phase": status["phase"], "queuePosition": status["queuePosition"], "startTimestamp": status["startTimestamp"]},
        });
    }
    object
}

/// The hooks that failed, from a target's log.
fn hooks(pieces: Pieces) -> Vec<FailedHook> {
    let mut hooks = Hooks::default();
    let mut reader = BufReader::with_capacity(64 << 10, MultiGzDecoder::new(pieces).take(TARGET_LOG));
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
        hooks.line(&bounded(String::from_utf8_lossy(&bytes).trim_end(), LINE));
        bytes.clear();
    }
    hooks.failed()
}

fn has_files(target: &Value) -> bool {
    has_ended(target) && target["status"]["phase"] != "FailedValidation"
}

/// The name of a Restore's Backup, or of the Backup itself.
fn backup_of(target: &Value) -> &str {
    let name = if target["kind"] == "Restore" { &target["spec"]["backupName"] } else { &target["metadata"]["name"] };
    name.as_str().unwrap_or_default()
}

fn named(file: StoreFile) -> &'static str {
    match file {
        StoreFile::Log => "log",
        StoreFile::VolumeInfo => "volume info",
        _ => "results",
    }
}

fn refused(what: &str, error: &kube::Error) -> Reply {
    let why = format!("{what} could not be read: {}", api_sentence(error));
    if matches!(error, kube::Error::Api(status) if status.is_forbidden()) {
        Reply::Forbidden(why)
    } else {
        Reply::Failed(why)
    }
}

fn late(what: &str) -> Reply {
    Reply::Failed(format!("{what} could not be read: the API server did not answer within {} s", PATIENCE.as_secs()))
}
