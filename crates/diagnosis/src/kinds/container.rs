//! A container of any sort, by its status: what it waits for, or how it ended.

use jiff::Timestamp;
use serde_json::Value;

use crate::graph::{Id, View, items, text, time};

/// Reasons of a container that is only being created.
const HARMLESS: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// What is wrong with it; `None` if nothing is. `warned`: the newest warning about its pod, for a container that has no
/// words of its own.
pub(super) fn trouble(
    status: &Value,
    (id, pod): (&Id, &Value),
    warned: Option<&str>,
    view: &View<'_>,
) -> Option<String> {
    let name = text(&status["name"]);
    let waiting = &status["state"]["waiting"];
    let reason = text(&waiting["reason"]);
    let said = |is_previous| view.said(id, name, is_previous);
    if !reason.is_empty() && !HARMLESS.contains(&reason) {
        // How it ended before says more than that it is started again. While it waits, its log is that of the last end.
        if let Some(ended) = ended(&status["lastState"]["terminated"], name, pod, || said(true).or_else(|| said(false)))
        {
            return Some(format!("container {name} is in {reason}: {ended}"));
        }
        let message = Some(text(&waiting["message"]).trim()).filter(|message| !message.is_empty()).or(warned);
        let words = message.map_or(String::new(), |message| format!(": {message}"));
        return Some(format!("container {name} is in {reason}{words}"));
    }
    let ended = ended(&status["state"]["terminated"], name, pod, || said(false))?;
    Some(format!("container {name} {ended}"))
}

/// How an instance of it ended that has a successor, with the time; `None` if none did, or it ended well.
pub(super) fn ended_before(status: &Value, (id, pod): (&Id, &Value), view: &View<'_>) -> Option<(Timestamp, String)> {
    let name = text(&status["name"]);
    let before = &status["lastState"]["terminated"];
    let words = ended(before, name, pod, || view.said(id, name, true))?;
    Some((time(&before["finishedAt"])?, format!("container {name} {words}")))
}

/// How it ended; `None` if it ended well or has not ended. `said`: the last words of its log.
fn ended<'a>(terminated: &'a Value, name: &str, pod: &Value, said: impl FnOnce() -> Option<&'a str>) -> Option<String> {
    let code = terminated["exitCode"].as_i64().filter(|code| *code != 0)?;
    let message = text(&terminated["message"]).trim();
    if terminated["reason"] == "OOMKilled" {
        let limit = limit(name, pod).map_or(String::new(), |limit| format!(" (its memory limit is {limit})"));
        let message = if message.is_empty() { String::new() } else { format!(": {message}") };
        return Some(format!("was OOMKilled{limit}{message}"));
    }
    let words = Some(message).filter(|message| !message.is_empty()).or_else(said);
    let message = words.map_or(String::new(), |words| format!(": {words}"));
    Some(match terminated["signal"].as_i64().filter(|signal| *signal > 0) {
        Some(signal) => format!("was ended by signal {signal}{message}"),
        None => format!("ended with exit code {code}{}{message}", signal(code)),
    })
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

fn limit<'a>(name: &str, pod: &'a Value) -> Option<&'a str> {
    let specs = ["initContainers", "containers"].into_iter().flat_map(|field| items(&pod["spec"][field]));
    let spec = specs.into_iter().find(|spec| spec["name"] == name)?;
    spec["resources"]["limits"]["memory"].as_str()
}
