//! Commands for a person to paste: each word is ours, or a valid name.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::texts::is_name;

/// A command, word by word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Command {
    /// Its words; the first one is `kubectl`.
    argv: Vec<String>,
    /// It changes the cluster; left out if it only reads.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    changes: bool,
}

impl Command {
    /// Its words, the first one is `kubectl`.
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    /// It changes something; all others only read.
    pub fn changes(&self) -> bool {
        self.changes
    }
}

/// As it is pasted into a shell.
impl fmt::Display for Command {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, word) in self.argv.iter().enumerate() {
            let space = if number == 0 { "" } else { " " };
            let is_plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:,=@".contains(&byte));
            let quote = if is_plain { "" } else { "'" };
            write!(out, "{space}{quote}{word}{quote}")?;
        }
        Ok(())
    }
}

/// Writes a command. With a name that is not valid there is none.
#[derive(Debug)]
pub(super) struct Kubectl {
    argv: Option<Vec<String>>,
    changes: bool,
}

impl Kubectl {
    /// For objects of the cluster.
    pub(super) fn of_cluster() -> Self {
        Self { argv: Some(vec!["kubectl".to_owned()]), changes: false }
    }

    /// For objects in a namespace; of the cluster if it is empty.
    pub(super) fn within(namespace: &str) -> Self {
        let all = Self::of_cluster();
        if namespace.is_empty() { all } else { all.ours("-n").name(namespace) }
    }

    /// Words of our own, separated by spaces.
    pub(super) fn ours(mut self, words: &'static str) -> Self {
        if let Some(argv) = &mut self.argv {
            argv.extend(words.split(' ').map(str::to_owned));
        }
        self
    }

    /// A name.
    pub(super) fn name(self, name: &str) -> Self {
        self.joined("", name)
    }

    /// A name behind text of our own, in one word.
    pub(super) fn joined(mut self, ours: &'static str, name: &str) -> Self {
        match &mut self.argv {
            Some(argv) if is_name(name) => argv.push(format!("{ours}{name}")),
            argv => *argv = None,
        }
        self
    }

    /// Text of our own and another name, at the end of the last word.
    pub(super) fn and(mut self, ours: &'static str, name: &str) -> Self {
        match self.argv.as_mut().and_then(|argv| argv.last_mut()) {
            Some(last) if is_name(name) => *last = format!("{last}{ours}{name}"),
            _ => self.argv = None,
        }
        self
    }

    /// It changes something.
    pub(super) fn changing(self) -> Self {
        Self { changes: true, ..self }
    }

    pub(super) fn done(self) -> Option<Command> {
        self.argv.map(|argv| Command { argv, changes: self.changes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_takes_names_and_nothing_else_from_the_cluster() {
        let of = |name: &str| Kubectl::within("shop").ours("describe pod").name(name).done();
        let found = of("db-0").unwrap();
        assert_eq!(found.argv(), ["kubectl", "-n", "shop", "describe", "pod", "db-0"]);
        assert_eq!((found.to_string().as_str(), found.changes()), ("kubectl -n shop describe pod db-0", false));
        let long = "a".repeat(254);
        for bad in ["", "-A", "--as=x", "a b", "a;b", "$(a)", "a/b", "A", "é", "a\n", "a-", ".", long.as_str()] {
            assert_eq!(of(bad), None, "{bad:?}");
            assert_eq!(Kubectl::within(bad).ours("get pods").done().is_none(), !bad.is_empty(), "{bad:?}");
        }
        let quoted = Kubectl::of_cluster().ours("get x -o custom-columns=A:.b[*]").done().unwrap();
        assert_eq!(quoted.to_string(), "kubectl get x -o 'custom-columns=A:.b[*]'");
    }
}
