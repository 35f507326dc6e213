//! Shell completion: prints the scripts for `kubectl-debugbundle`, and answers kubectl's own completion of plugins with
//! the names of bundles. kubectl runs an executable `kubectl_complete-debugbundle` and reads cobra's format.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use clap::{ArgAction, CommandFactory as _, Parser as _};
use clap_complete::Shell;
use debugbundle_crd::DebugBundle;
use kube::{Api, ResourceExt};
use tokio::time::timeout;

use super::args::{Cli, Complete, Completion, CompletionShell, Global};
use super::connect::connect;
use super::exit::{CliError, Exit};
use super::list;

/// A slower completion disturbs more than it helps.
const PATIENCE: Duration = Duration::from_secs(3);
/// cobra's ShellCompDirectiveNoFileComp.
const NO_FILES: u8 = 4;
/// cobra's ShellCompDirectiveDefault: file names.
const FILES: u8 = 0;

/// The script that kubectl runs, saved as an executable file `kubectl_complete-debugbundle` in PATH.
const KUBECTL_SCRIPT: &str = "#!/bin/sh\nexec kubectl debugbundle __complete \"$@\"\n";

/// Prints the script.
pub(crate) fn print(args: &Completion, out: &mut impl Write) -> Result<Exit, CliError> {
    let shell = match args.shell {
        CompletionShell::Bash => Some(Shell::Bash),
        CompletionShell::Zsh => Some(Shell::Zsh),
        CompletionShell::Fish => Some(Shell::Fish),
        CompletionShell::Powershell => Some(Shell::PowerShell),
        CompletionShell::Kubectl => None,
    };
    let mut script = Vec::new();
    match shell {
        Some(shell) => clap_complete::generate(shell, &mut Cli::command(), "kubectl-debugbundle", &mut script),
        None => script.extend_from_slice(KUBECTL_SCRIPT.as_bytes()),
    }
    if args.shell == CompletionShell::Bash {
        // clap_complete 4.6 mistakes the hyphen in the program's name for a separator of subcommands, in half of the
        // places: without this replacement, no word after a subcommand is completed.
        script = String::from_utf8_lossy(&script)
            .replace("kubectl__subcmd__debugbundle", "kubectl__debugbundle")
            .into_bytes();
    }
    out.write_all(&script).map_err(CliError::stdout)?;
    Ok(Exit::Done)
}

/// Answers kubectl: one candidate a line, then the directive.
pub(crate) async fn answer(args: &Complete, out: &mut impl Write) -> Result<Exit, CliError> {
    let words: Vec<String> = args.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let proposal = propose(&words);
    let mut candidates = proposal.candidates;
    if proposal.names {
        let typed = words.last().map_or("", String::as_str);
        // Without a cluster there are no names; an error would disturb the user in the middle of a command line.
        if let Ok(Ok(names)) = timeout(PATIENCE, names(&words)).await {
            candidates.extend(names.into_iter().filter(|name| name.starts_with(typed)));
        }
    }
    for candidate in &candidates {
        writeln!(out, "{candidate}").map_err(CliError::stdout)?;
    }
    writeln!(out, ":{}", proposal.directive).map_err(CliError::stdout)?;
    Ok(Exit::Done)
}

async fn names(words: &[String]) -> Result<Vec<String>, CliError> {
    let global = globals(words);
    let (client, _) = connect(&global).await?;
    let api: Api<DebugBundle> = Api::namespaced(client, &super::connect::namespace(&global));
    Ok(list::read_all(&api).await?.iter().map(ResourceExt::name_any).collect())
}

/// The global flags among words that may not be a whole command line yet.
fn globals(words: &[String]) -> Global {
    let takes_value = |word: &str| matches!(word, "--kubeconfig" | "--context" | "--namespace" | "-n");
    let mut line: Vec<OsString> = vec!["kubectl-debugbundle".into(), "list".into()];
    let mut rest = words.iter().take(words.len().saturating_sub(1));
    while let Some(word) = rest.next() {
        let flag = word.split('=').next().unwrap_or(word);
        if takes_value(word) {
            line.push(word.into());
            line.extend(rest.next().map(OsString::from));
        } else if takes_value(flag) {
            line.push(word.into());
        }
    }
    let parsed = Cli::try_parse_from(&line).or_else(|_| Cli::try_parse_from(&line[..2]));
    match parsed {
        Ok(cli) => cli.global,
        Err(error) => error.exit(),
    }
}

/// The candidates for the last word.
#[derive(Debug, PartialEq, Eq)]
struct Proposal {
    candidates: Vec<String>,
    /// Also the names of the DebugBundles.
    names: bool,
    directive: u8,
}

fn propose(words: &[String]) -> Proposal {
    let mut root = Cli::command();
    root.build();
    let (typed, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut command = &root;
    let mut positionals = 0;
    let mut awaited: Option<&clap::Arg> = None;
    for word in before {
        if awaited.take().is_some() {
            continue;
        }
        if word.starts_with('-') {
            awaited = option(command, word).filter(|arg| !word.contains('=') && takes_value(arg));
        } else if let Some(next) = command.find_subcommand(word).filter(|_| std::ptr::eq(command, &raw const root)) {
            command = next;
        } else {
            positionals += 1;
        }
    }
    let matching = |all: Vec<String>| all.into_iter().filter(|candidate| candidate.starts_with(typed)).collect();
    if let Some(arg) = awaited {
        let values = values(arg);
        let directive = if values.is_empty() { FILES } else { NO_FILES };
        return Proposal { candidates: matching(values), names: false, directive };
    }
    if typed.starts_with('-') {
        let flags = command.get_arguments().filter(|arg| !arg.is_hide_set());
        let flags = flags.filter_map(|arg| arg.get_long().map(|long| format!("--{long}"))).collect();
        return Proposal { candidates: matching(flags), names: false, directive: NO_FILES };
    }
    if std::ptr::eq(command, &raw const root) {
        let commands = command.get_subcommands().filter(|sub| !sub.is_hide_set());
        return Proposal {
            candidates: matching(commands.map(|sub| sub.get_name().to_owned()).collect()),
            names: false,
            directive: NO_FILES,
        };
    }
    let values = match command.get_positionals().next() {
        Some(arg) if positionals == 0 => values(arg),
        _ => Vec::new(),
    };
    let names = positionals == 0 && matches!(command.get_name(), "get" | "download" | "open" | "cat" | "delete");
    Proposal { candidates: matching(values), names, directive: NO_FILES }
}

fn option<'a>(command: &'a clap::Command, word: &str) -> Option<&'a clap::Arg> {
    let name = word.split('=').next().unwrap_or(word);
    command.get_arguments().find(|arg| match name.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|all| all.contains(&long)),
        None => {
            arg.get_short().is_some_and(|short| name.strip_prefix('-').is_some_and(|rest| rest == short.to_string()))
        }
    })
}

fn takes_value(arg: &clap::Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn values(arg: &clap::Arg) -> Vec<String> {
    arg.get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| value.get_name().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposed(words: &[&str]) -> Proposal {
        propose(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn commands_flags_values_and_names_are_proposed_where_they_fit() {
        assert_eq!(proposed(&["c"]).candidates, ["create", "cat", "collect", "completion"]);
        assert_eq!(proposed(&["create", "--url-p"]).candidates, ["--url-policy"]);
        assert_eq!(proposed(&["create", "--url-policy", "On"]).candidates, ["OnCompletion", "OnRequest"]);
        assert_eq!(
            proposed(&["-n", "velero-2", "download", ""]),
            Proposal { candidates: vec![], names: true, directive: NO_FILES }
        );
        assert!(!proposed(&["cat", "one", ""]).names, "the second word is a path in the bundle");
        assert!(proposed(&["open", ""]).names);
        assert_eq!(proposed(&["download", "x", "-o", ""]).directive, FILES);
        assert_eq!(proposed(&["completion", "z"]).candidates, ["zsh"]);
        assert!(proposed(&["list", "--name"]).candidates.contains(&"--namespace".to_owned()), "global flags too");
        assert!(!proposed(&[""]).candidates.contains(&"__complete".to_owned()));
    }

    #[test]
    fn global_flags_are_found_in_an_unfinished_line() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let global = globals(&words("get --context=prod -n velero-2 re"));
        assert_eq!((global.context.as_deref(), global.namespace.as_deref()), (Some("prod"), Some("velero-2")));
        assert_eq!(globals(&words("-n UPPER get x")).namespace, None, "what cannot be used is passed over");
    }

    #[test]
    fn every_shell_gets_a_script() {
        for (shell, mark) in [
            (CompletionShell::Bash, "complete -F"),
            (CompletionShell::Zsh, "#compdef kubectl-debugbundle"),
            (CompletionShell::Fish, "complete -c kubectl-debugbundle"),
            (CompletionShell::Powershell, "Register-ArgumentCompleter"),
            (CompletionShell::Kubectl, "exec kubectl debugbundle __complete"),
        ] {
            let mut out = Vec::new();
            print(&Completion { shell }, &mut out).unwrap();
            let script = String::from_utf8(out).unwrap();
            assert!(script.contains(mark), "{shell:?}: {script}");
        }
    }
}
