//! Writes single API objects, and the API server's discovery, into files of their own.

use std::io;

use debugbundle_format::manifest::{MissingCode, MissingSeverity, Source, SourceKind};
use tokio::time::Instant;

use super::{
    Outcome, Work,
    entry::WriteError,
    missing::missing,
    object_writer::{OBJECT, Writer, close},
    on_a_thread, yaml,
};
use crate::{
    cluster::{ApiKind, Flow, ListError, TakeItems},
    discovery::DISCOVERY,
    plan::Item,
};

/// Writes API groups in their order.
struct Groups(Writer);

impl TakeItems for Groups {
    fn take(&mut self, group: serde_json::Value) -> io::Result<Flow> {
        self.0.list_item(group)
    }

    fn restart(&mut self) {
        self.0.restart();
    }
}

/// Writes one object into a file of its own.
pub(super) async fn object(
    work: &std::sync::Arc<Work>,
    item: &Item,
    kind: &ApiKind,
    namespace: Option<&str>,
    name: &str,
    deadline: Instant,
) -> Result<Outcome, WriteError> {
    let path = kind.path(namespace, name);
    let object = match work.cluster.get(&path, OBJECT, deadline).await {
        Ok(object) => object,
        Err(error) => {
            // Permission to read a Namespace is checked in that namespace.
            let place = if kind.plural == "namespaces" { Some(name) } else { namespace };
            return Ok(work.objects_missing(item, &error, "get", kind, place));
        }
    };
    let mut writer = Writer::new(work, item, kind);
    let writer = on_a_thread(move || {
        writer.write(object, |entry, object, _| yaml::document(entry, object))?;
        Ok::<_, io::Error>(writer)
    })
    .await?;
    let source = Source { kind: SourceKind::Object, path: Some(path), ..Source::default() };
    close(item, writer, source, None).await
}

/// Writes what the API server serves below `/api` or `/apis`.
pub(super) async fn discovery(
    work: &std::sync::Arc<Work>,
    item: &Item,
    path: &'static str,
    deadline: Instant,
) -> Result<Outcome, WriteError> {
    let kind = ApiKind::cluster("apidiscovery.k8s.io", "v2", "apigroupdiscoveries", "APIGroupDiscovery");
    let writer = Groups(Writer::new(work, item, &kind));
    let seen = |bytes| work.progress.read(bytes);
    let (Groups(writer), listed) = work.cluster.list_as(path, DISCOVERY, None, deadline, writer, seen).await;
    let source = Source { kind: SourceKind::Discovery, path: Some(path.to_owned()), ..Source::default() };
    match listed {
        Ok(_) if writer.written == 0 => Ok(Outcome {
            missing: vec![missing(
                &item.what,
                item.path.as_str(),
                MissingCode::NotInstalled,
                MissingSeverity::Note,
                "the API server has no aggregated discovery (Kubernetes before 1.26)",
                "",
            )],
            ..Outcome::default()
        }),
        Ok(_) => close(item, writer, source, None).await,
        Err(ListError::Taker(error)) => Err(error.into()),
        Err(ListError::Cluster(error)) => Ok(work.objects_missing(item, &error, "get", &kind, None)),
    }
}
