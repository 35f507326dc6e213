//! Hooks that failed, from the lines of a Backup's or Restore's log: pod, container, command, how it ended and what it
//! wrote. The forms are of Velero 1.18.3: `pkg/podexec/pod_command_executor.go`, `internal/hook/item_hook_handler.go`,
//! `internal/hook/wait_exec_hook_handler.go`, `pkg/backup/backup.go`.

use crate::texts::Fields;

/// Errors before a command is run: the command that ran before is not meant.
const NOT_RUN: [&str; 3] = ["no such container", "need at least 1 container", "command is required"];
/// Most hooks that are kept.
const MOST: usize = 100;

/// Reads a log line by line.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// For each pod and phase the hook that began last. Hooks of several pods may run at once.
    running: Vec<Run>,
    failed: Vec<Run>,
}

/// A hook that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailedHook {
    /// All of it, as a clause.
    pub words: String,
    /// `pre` or `post`; may be empty.
    pub phase: String,
    /// Its name; empty if an annotation of the pod defines it.
    pub name: String,
    /// An annotation of the pod defines it, and not the Backup or Restore.
    pub is_annotation: bool,
    /// `db-0` or `shop/db-0`; may be empty.
    pub pod: String,
    /// Its container; may be empty.
    pub container: String,
}

#[derive(Clone, Debug, Default)]
struct Run {
    phase: String,
    name: String,
    is_annotation: bool,
    pod: String,
    container: String,
    command: String,
    output: String,
    error: String,
    /// It wrote its output: the command has ended.
    is_over: bool,
    /// Another one of the same pod and phase was not over when this one began, so an error may be of either.
    overlaps: bool,
}

impl Hooks {
    /// The next line.
    pub fn line(&mut self, line: &str) {
        if !line.contains("hook") {
            return;
        }
        let fields = Fields::of(line);
        let text = |key: &str| fields.get(key).unwrap_or_default().to_owned();
        let message = text("msg");
        if message == "running exec hook" {
            let begun = Run::of(&fields);
            let before = self.take(&begun.pod, &begun.phase);
            let overlaps = before.is_some_and(|before| !before.is_over || before.overlaps);
            self.running.push(Run { overlaps, ..begun });
        } else if let Some(said) = message.strip_prefix("stderr: ").or_else(|| message.strip_prefix("stdout: ")) {
            // Standard error comes second, and says more.
            let of = Run::of(&fields);
            if let Some(run) = self.running.iter_mut().find(|run| run.pod == of.pod && run.phase == of.phase) {
                run.is_over |= run.name == of.name && run.command == of.command;
                if !said.trim().is_empty() {
                    said.trim().clone_into(&mut run.output);
                }
            }
        } else if message == "Error executing hook" && self.failed.len() < MOST {
            let error = fields.error().unwrap_or_default().to_owned();
            let is_run = !NOT_RUN.iter().any(|words| error.starts_with(words));
            let of = Run::of(&fields);
            let run = self.take(&of.pod, &of.phase).filter(|run| is_run && !run.overlaps);
            self.failed.push(Run { error, ..run.unwrap_or(of) });
        } else if message.starts_with("Error running ") && message.ends_with(" hooks for pod") {
            // Since Velero 1.15 only this line names the pod.
            let error = fields.error().unwrap_or_default();
            let unnamed = |run: &&mut Run| run.pod.is_empty() && run.error == error;
            if let Some(run) = self.failed.iter_mut().find(unnamed) {
                run.pod = text("name");
            }
        }
    }

    /// The hook of this pod and phase that began last.
    fn take(&mut self, pod: &str, phase: &str) -> Option<Run> {
        let at = self.running.iter().position(|run| run.pod == pod && run.phase == phase)?;
        Some(self.running.swap_remove(at))
    }

    /// The hooks that failed, in the order of the log.
    pub fn failed(&self) -> Vec<FailedHook> {
        self.failed.iter().map(Run::failed).collect()
    }
}

/// `shop/db-0`, or the name alone.
fn pod(fields: &Fields) -> String {
    if let Some(pod) = fields.get("pod") {
        return pod.to_owned();
    }
    match (fields.get("namespace"), fields.get("name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (_, name) => name.unwrap_or_default().to_owned(),
    }
}

impl Run {
    /// What a line says of its hook.
    fn of(fields: &Fields) -> Self {
        let text = |key: &str| fields.get(key).unwrap_or_default().to_owned();
        Self {
            phase: text("hookPhase"),
            name: text("hookName"),
            is_annotation: fields.get("hookSource") == Some("annotation"),
            pod: pod(fields),
            container: text("hookContainer"),
            command: text("hookCommand"),
            ..Self::default()
        }
    }

    fn failed(&self) -> FailedHook {
        FailedHook {
            words: self.words(),
            phase: self.phase.clone(),
            name: if self.is_annotation { String::new() } else { self.name.clone() },
            is_annotation: self.is_annotation,
            pod: self.pod.clone(),
            container: self.container.clone(),
        }
    }

    /// `pre hook fsfreeze-pre of pod db-0, container db: [/sbin/fsfreeze] ended with exit code 1: what it wrote`.
    fn words(&self) -> String {
        let mut words = if self.phase.is_empty() { "hook".to_owned() } else { format!("{} hook", self.phase) };
        if self.is_annotation {
            words.push_str(" in an annotation");
        } else if !self.name.is_empty() {
            words = format!("{words} {}", self.name);
        }
        if !self.pod.is_empty() {
            words = format!("{words} of pod {}", self.pod);
        }
        if !self.container.is_empty() {
            words = format!("{words}, container {}", self.container);
        }
        let ended = match self.error.strip_prefix("command terminated with ") {
            Some(code) => format!("ended with {code}"),
            None => self.error.clone(),
        };
        words = match self.command.as_str() {
            "" => format!("{words}: {ended}"),
            command => format!("{words}: {command} {ended}"),
        };
        if self.output.is_empty() { words } else { format!("{words}: {}", self.output.replace('\n', " ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(lines: &[&str]) -> Vec<String> {
        let mut hooks = Hooks::default();
        for line in lines {
            hooks.line(line);
        }
        hooks.failed().into_iter().map(|hook| hook.words).collect()
    }

    #[test]
    fn a_hook_that_could_not_be_run_is_not_the_one_before_it() {
        let ran = "level=info msg=\"running exec hook\" hookCommand=\"[/a]\" hookContainer=c hookName=a hookPhase=pre hookSource=backupSpec";
        let error = "level=error msg=\"Error executing hook\" error=\"no such container: \\\"x\\\"\" hookPhase=pre hookSource=backupSpec";
        assert_eq!(failed(&[ran, error]), ["pre hook: no such container: \"x\""]);
        let named =
            "level=error msg=\"Error running pre hooks for pod\" error=\"no such container: \\\"x\\\"\" name=db-0";
        assert_eq!(failed(&[ran, error, named]), ["pre hook of pod db-0: no such container: \"x\""]);
    }

    #[test]
    fn a_restores_hook_and_a_log_in_json_are_read_too() {
        let of = |message: &str, more: &str| {
            format!(
                "{{\"level\":\"info\",\"msg\":\"{message}\",\"pod\":\"shop/db-0\",\"hookPhase\":\"post\",\"hookName\":\"h\"{more}}}"
            )
        };
        let lines = [
            of("running exec hook", ",\"hookCommand\":[\"/load\"],\"hookContainer\":\"db\""),
            of("Error executing hook", ",\"error.message\":\"timed out after 30s\""),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(failed(&lines), ["post hook h of pod shop/db-0, container db: [\"/load\"] timed out after 30s"]);
    }

    #[test]
    fn of_hooks_that_run_at_once_none_gets_the_error_of_another() {
        let of = |message: &str, pod: &str, more: &str| {
            format!("level=info msg=\"{message}\" hookPhase=post hookSource=restoreSpec {pod} {more}")
        };
        let begin = |pod: &str, name: &str| {
            of("running exec hook", pod, &format!("hookName={name} hookContainer=c hookCommand=\"[/{name}]\""))
        };
        let error = |pod: &str| of("Error executing hook", pod, "error=\"command terminated with exit code 1\"");
        let (a, b) = ("pod=shop/a", "pod=shop/b");
        let lines = [begin(a, "load-a"), begin(b, "load-b"), error(a)];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(failed(&lines), ["post hook load-a of pod shop/a, container c: [/load-a] ended with exit code 1"]);
        // Without the pod it is not known whose error it is.
        let lines = [begin("", "load-a"), begin("", "load-b"), error("")];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(failed(&lines), ["post hook: ended with exit code 1"]);
    }
}
