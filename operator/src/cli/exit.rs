//! How the program ends: the exit codes, and the errors that lead to them.

use std::{
    error::Error as StdError,
    fmt::{self, Write as _},
    process::ExitCode,
};

use debugbundle_crd::Phase;
use debugbundle_format::text::{bounded, escape_for_terminal};

/// The longest error message that is printed, in bytes.
const MESSAGE_LIMIT: usize = 2048;

/// How the program ended. The numbers are an interface: scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// All that was asked was done.
    Done,
    /// The command failed; with `--wait` also: the DebugBundle is Failed.
    Failed,
    /// The command line cannot be used.
    Usage,
    /// A bundle exists, but lacks something that was wanted.
    PartiallyFailed,
    /// The DebugBundle, its target, or the file in it does not exist.
    NotFound,
    /// The time limit was reached.
    Timeout,
    /// The bytes read differ from the bytes that the operator stored.
    Integrity,
    /// Not every location could be listed: what was printed is true, but there may be more.
    Unlisted,
    /// Stopped by the user.
    Interrupted,
}

impl Exit {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::PartiallyFailed,
        Self::NotFound,
        Self::Timeout,
        Self::Integrity,
        Self::Unlisted,
        Self::Interrupted,
    ];

    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::PartiallyFailed => 3,
            Self::NotFound => 4,
            Self::Timeout => 5,
            Self::Integrity => 6,
            Self::Unlisted => 7,
            Self::Interrupted => 130,
        }
    }

    /// What the number means, as `--help` prints it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed: the request, or the DebugBundle itself (create --wait)",
            Self::Usage => "the command line is invalid",
            Self::PartiallyFailed => "PartiallyFailed: there is a bundle, but something wanted is missing in it",
            Self::NotFound => "the DebugBundle, its target, or the file in it does not exist",
            Self::Timeout => "a timeout was reached",
            Self::Integrity => "the data read differs from what the operator stored",
            Self::Unlisted => "not every location could be listed (prune)",
            Self::Interrupted => "interrupted",
        }
    }

    /// The exit code for a DebugBundle that ended in this phase.
    pub const fn of_phase(phase: Phase) -> Self {
        match phase {
            Phase::Completed => Self::Done,
            Phase::PartiallyFailed => Self::PartiallyFailed,
            Phase::New | Phase::Queued | Phase::Collecting | Phase::Uploading | Phase::Failed => Self::Failed,
        }
    }

    /// The table of codes at the end of `--help`.
    pub fn table() -> String {
        let mut table = "Exit codes:".to_owned();
        for exit in Self::ALL {
            let _ = write!(table, "\n  {:<4}{}", exit.code(), exit.meaning());
        }
        table
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command failed: a sentence for the user, and the exit code. The sentence contains no secret: URLs in it end at
/// their path.
#[derive(Debug)]
pub struct CliError {
    exit: Exit,
    message: String,
    hint: Option<String>,
    silent: bool,
}

impl CliError {
    /// An error with this exit code. The message may contain foreign text; it is escaped when printed.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, silent: false }
    }

    /// The general failure.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// A command line that parses but cannot be used.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A failure with the chain of its sources.
    pub fn caused(what: impl fmt::Display, source: &(dyn StdError + 'static)) -> Self {
        Self::failed(format!("{what}: {}", chain(source)))
    }

    /// Standard output cannot be written. A reader that closes early (`| head`) is no failure, and nothing is printed.
    #[expect(clippy::needless_pass_by_value, reason = "the shape that map_err asks for")]
    pub fn stdout(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self { silent: true, ..Self::new(Exit::Done, "") };
        }
        Self::caused("cannot write to standard output", &error)
    }

    /// Whether to print nothing.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit code of this error.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape_for_terminal(&bounded(&self.message, MESSAGE_LIMIT)))?;
        if let Some(hint) = &self.hint {
            for line in hint.lines() {
                write!(f, "\n  {}", escape_for_terminal(line))?;
            }
        }
        Ok(())
    }
}

impl StdError for CliError {}

impl From<kube::Error> for CliError {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 404 && !names_an_object(status) => Self::failed(
                "the API server does not serve debugbundles.debugbundle.io",
            )
            .hint("Install the operator, or make a bundle without it:\n  kubectl debugbundle collect --restore NAME"),
            kube::Error::Api(status) if status.code == 404 => Self::new(Exit::NotFound, status.message.clone()),
            kube::Error::Api(status) => {
                let message = if status.message.is_empty() { &status.reason } else { &status.message };
                Self::failed(format!("the API server answered {}: {message}", status.code))
            }
            kube::Error::Service(source) => Self::caused("the request to the API server failed", &**source),
            other => Self::caused("the request to the API server failed", other),
        }
    }
}

/// A 404 for an object that does not exist, as opposed to a resource that is not served.
fn names_an_object(status: &kube::core::Status) -> bool {
    status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

/// An error and its sources in one line; a source's text that repeats the text before it is left out.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let part = source.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_the_table_has_them_all() {
        let table = Exit::table();
        let mut codes: Vec<_> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        codes.dedup();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 130]);
        for exit in Exit::ALL {
            assert!(table.contains(exit.meaning()), "{exit:?}");
        }
    }

    #[test]
    fn a_404_of_the_resource_is_told_from_one_of_the_object() {
        let object: kube::core::Status = serde_json::from_value(serde_json::json!({
            "status": "Failure", "code": 404, "reason": "NotFound",
            "message": "debugbundles.debugbundle.io \"x\" not found", "details": {"name": "x", "kind": "debugbundles"},
        }))
        .unwrap();
        let resource: kube::core::Status = serde_json::from_value(serde_json::json!({
            "status": "Failure", "code": 404, "reason": "NotFound",
            "message": "the server could not find the requested resource", "details": {},
        }))
        .unwrap();
        assert_eq!(CliError::from(kube::Error::Api(object.boxed())).exit(), Exit::NotFound);
        let error = CliError::from(kube::Error::Api(resource.boxed()));
        assert_eq!(error.exit(), Exit::Failed);
        assert!(error.to_string().contains("collect"), "{error}");
    }

    #[test]
    fn sec_l2_a_message_is_harmless_and_bounded() {
        let error = CliError::failed(format!("bad \u{1b}[2J{}", "x".repeat(10_000))).hint("do\nthis");
        let text = error.to_string();
        assert!(!text.contains('\u{1b}'));
        assert!(text.len() < MESSAGE_LIMIT + 32);
        assert!(text.ends_with("\n  do\n  this"));
    }

    #[test]
    fn a_chain_does_not_repeat_itself() {
        let inner = std::io::Error::other("refused");
        let outer = std::io::Error::other(inner);
        assert_eq!(chain(&outer), "refused");
    }
}
