//! A container of any sort, by its status: what it waits for, or how it ended.

use serde_json::Value;

use crate::graph::{items, text};

/// Reasons of a container that is only being created.
const HARMLESS: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// What is wrong with it; `None` if nothing is. `warned`: the newest warning about its pod, for a container that has no
/// words of its own.
pub(super) fn trouble(status: &Value, pod: &Value, warned: Option<&str>) -> Option<String> {
    let name = text(&status["name"]);
    let waiting = &status["state"]["waiting"];
    let reason = text(&waiting["reason"]);
    if !reason.is_empty() && !HARMLESS.contains(&reason) {
        // How it ended before says more than that it is started again.
        if let Some(ended) = ended(&status["lastState"]["terminated"], name, pod) {
            return Some(format!("container {name} is in {reason}: {ended}"));
        }
        let message = Some(text(&waiting["message"]).trim()).filter(|message| !message.is_empty()).or(warned);
        let words = message.map_or(String::new(), |message| format!(": {message}"));
        return Some(format!("container {name} is in {reason}{words}"));
    }
    let ended = ended(&status["state"]["terminated"], name, pod)?;
    Some(format!("container {name} {ended}"))
}

/// How it ended; `None` if it ended well or has not ended.
fn ended(terminated: &Value, name: &str, pod: &Value) -> Option<String> {
    let code = terminated["exitCode"].as_i64().filter(|code| *code != 0)?;
    let message = text(&terminated["message"]).trim();
    let message = if message.is_empty() { String::new() } else { format!(": {message}") };
    if terminated["reason"] == "OOMKilled" {
        let limit = limit(name, pod).map_or(String::new(), |limit| format!(" (its memory limit is {limit})"));
        return Some(format!("was OOMKilled{limit}{message}"));
    }
    Some(match terminated["signal"].as_i64().filter(|signal| *signal > 0) {
        Some(signal) => format!("was ended by signal {signal}{message}"),
        None => format!("ended with exit code {code}{message}"),
    })
}

fn limit<'a>(name: &str, pod: &'a Value) -> Option<&'a str> {
    let specs = ["initContainers", "containers"].into_iter().flat_map(|field| items(&pod["spec"][field]));
    let spec = specs.into_iter().find(|spec| spec["name"] == name)?;
    spec["resources"]["limits"]["memory"].as_str()
}
