//! A container of any sort, by its status: what it waits for, or how it ended.

use jiff::Timestamp;
use serde_json::Value;

use crate::graph::{Id, View, items, text, time};
use crate::reason::{Mishap, RootReason, Trouble};

/// Reasons of a container that is only being created.
const HARMLESS: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// What is wrong with it; `None` if nothing is. `warned`: the newest warning about its pod, for a container that has no
/// words of its own.
pub(super) fn trouble(
    status: &Value,
    (id, pod): (&Id, &Value),
    warned: Option<&str>,
    view: &View<'_>,
) -> Option<(String, RootReason)> {
    let name = text(&status["name"]);
    let waiting = &status["state"]["waiting"];
    let reason = text(&waiting["reason"]);
    let said = |is_previous| view.said(id, name, is_previous);
    let because =
        |what, text: &str| RootReason::Container(Trouble { container: name.to_owned(), what, text: text.to_owned() });
    if !reason.is_empty() && !HARMLESS.contains(&reason) {
        // How it ended before says more than that it is started again. While it waits, its log is that of the last end.
        if let Some(end) = ended(&status["lastState"]["terminated"], name, pod, || said(true).or_else(|| said(false))) {
            let words = format!("container {name} is in {reason}: {}", end.words);
            return Some((words, because(end.what(Mishap::Restarted), &end.text)));
        }
        let message = unrepeated(text(&waiting["message"]).trim());
        let message = Some(message).filter(|message| !message.is_empty()).or(warned);
        let words = message.map_or(String::new(), |message| format!(": {message}"));
        let what = if is_of_image(reason) { Mishap::Image } else { Mishap::NotStarted };
        return Some((format!("container {name} is in {reason}{words}"), because(what, message.unwrap_or_default())));
    }
    let end = ended(&status["state"]["terminated"], name, pod, || said(false))?;
    Some((format!("container {name} {}", end.words), because(end.what(Mishap::Ended), &end.text)))
}

/// The kubelet's words about an image, without the first ones if the others name the image again:
/// `Back-off pulling image "web:4": ErrImagePull: docker.io/web:4: not found`.
fn unrepeated(message: &str) -> &str {
    let parts = message.split_once("\": ErrImagePull: ");
    let why = parts.filter(|(before, why)| before.rsplit('"').next().is_some_and(|image| why.contains(image)));
    why.map_or(message, |(_, why)| why)
}

/// Reasons of the kubelet and of container runtimes for an image that they cannot get or use.
fn is_of_image(reason: &str) -> bool {
    reason.contains("Image") || matches!(reason, "RegistryUnavailable" | "SignatureValidationFailed")
}

/// How an instance of it ended that has a successor, with the time; `None` if none did, or it ended well.
pub(super) fn ended_before(
    status: &Value,
    (id, pod): (&Id, &Value),
    view: &View<'_>,
) -> Option<(Timestamp, String, RootReason)> {
    let name = text(&status["name"]);
    let before = &status["lastState"]["terminated"];
    let end = ended(before, name, pod, || view.said(id, name, true))?;
    let trouble = Trouble { container: name.to_owned(), what: end.what(Mishap::Restarted), text: end.text };
    Some((time(&before["finishedAt"])?, format!("container {name} {}", end.words), RootReason::Container(trouble)))
}

/// How an instance ended.
struct End {
    words: String,
    is_out_of_memory: bool,
    /// What it said last.
    text: String,
}

impl End {
    fn what(&self, otherwise: Mishap) -> Mishap {
        if self.is_out_of_memory { Mishap::OutOfMemory } else { otherwise }
    }
}

/// How it ended; `None` if it ended well or has not ended. `said`: the last words of its log.
fn ended<'a>(terminated: &'a Value, name: &str, pod: &Value, said: impl FnOnce() -> Option<&'a str>) -> Option<End> {
    let code = terminated["exitCode"].as_i64().filter(|code| *code != 0)?;
    let message = text(&terminated["message"]).trim();
    if terminated["reason"] == "OOMKilled" {
        let limit = limit(name, pod).map_or(String::new(), |limit| format!(" (its memory limit is {limit})"));
        let more = if message.is_empty() { String::new() } else { format!(": {message}") };
        let words = format!("was OOMKilled{limit}{more}");
        return Some(End { words, is_out_of_memory: true, text: message.to_owned() });
    }
    let said = Some(message).filter(|message| !message.is_empty()).or_else(said);
    let message = said.map_or(String::new(), |words| format!(": {words}"));
    let words = match terminated["signal"].as_i64().filter(|signal| *signal > 0) {
        Some(signal) => format!("was ended by signal {signal}{message}"),
        None => format!("ended with exit code {code}{}{message}", signal(code)),
    };
    Some(End { words, is_out_of_memory: false, text: said.unwrap_or_default().to_owned() })
}

/// The signal behind an exit code, as shells and container runtimes write it: 128 and its number.
fn signal(code: i64) -> &'static str {
    match code {
        134 => " (SIGABRT)",
        137 => " (SIGKILL)",
        139 => " (SIGSEGV)",
        143 => " (SIGTERM)",
        _ => "",
    }
}

/// The memory limit of a container.
pub(crate) fn limit<'a>(name: &str, pod: &'a Value) -> Option<&'a str> {
    spec(name, pod)?["resources"]["limits"]["memory"].as_str()
}

/// The specification of a container of any sort.
pub(crate) fn spec<'a>(name: &str, pod: &'a Value) -> Option<&'a Value> {
    let specs = ["initContainers", "containers"].into_iter().flat_map(|field| items(&pod["spec"][field]));
    specs.into_iter().find(|spec| spec["name"] == name)
}
