//! The chart as helm renders it.

use std::path::{Path, PathBuf};

use harness::tools::{self, Tool};
use serde_json::Value;

/// The namespace that it is rendered for.
pub const NAMESPACE: &str = "vault-ns";
/// The oldest version that the chart accepts.
pub const KUBERNETES: &str = "1.30.0";
/// The operator's image.
pub const IMAGE: &str = "registry.example/debugbundle/operator";

/// The chart's folder.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/debugbundle")
}

/// All objects rendered with these values and an image, or helm's error.
pub async fn render(values: &Value, schema: bool) -> Result<Vec<Value>, String> {
    let skip = if schema { &[][..] } else { &["--skip-schema-validation"] };
    template(&with_image(values), skip).await
}

/// These values and an image.
pub fn with_image(values: &Value) -> Value {
    let mut values = values.clone();
    values["image"]["repository"] = IMAGE.into();
    values
}

/// The objects that `helm template` renders with these values and flags, or helm's error.
pub async fn template(values: &Value, flags: &[&str]) -> Result<Vec<Value>, String> {
    let helm = tools::path(Tool::Helm).await.unwrap_or_else(|error| panic!("{error}"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("values.json");
    std::fs::write(&file, values.to_string()).expect("written");
    let mut command = tokio::process::Command::new(helm);
    command.args(["template", "it", "--namespace", NAMESPACE, "--kube-version", KUBERNETES, "--values"]).arg(&file);
    command.args(flags).arg(chart()).env("HOME", folder.path());
    let done = command.output().await.expect("helm starts");
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into_owned());
    }
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&String::from_utf8_lossy(&done.stdout)).expect("helm writes YAML");
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// All objects rendered with these values and an image.
pub async fn rendered(values: Value) -> Vec<Value> {
    render(&values, true).await.unwrap_or_else(|error| panic!("{values}: {error}"))
}

/// The text at this pointer, or an empty one.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The objects of a kind.
pub fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| text(object, "/kind") == kind)
}
