//! A command whose arguments are list elements on lines of their own: `- mysqldump`, below it `- -px`. `arguments`
//! finds the secrets in it.

use super::line::Line;
use crate::{arguments, shapes, token::Span};

/// Most arguments that are read, and most bytes of one.
const ARGUMENTS: usize = 64;
const LONGEST: usize = 512;

/// The arguments so far, the program first.
pub(super) struct ShellCommand {
    column: usize,
    arguments: Vec<Vec<u8>>,
}

impl ShellCommand {
    /// Takes the next line and returns what to mask in it because of the arguments above.
    pub(super) fn next(command: &mut Option<Self>, line: &Line<'_>) -> Option<Span> {
        let scalar = line.scalar(line.body.clone()).filter(|(_, quoted)| *quoted || line.is_element);
        let Some((at, _)) = scalar.filter(|(at, _)| at.len() <= LONGEST) else {
            *command = None;
            return None;
        };
        let argument = &line.text[at.clone()];
        let goes_on = |command: &&mut Self| command.column == line.column && command.arguments.len() < ARGUMENTS;
        let Some(command) = command.as_mut().filter(goes_on) else {
            let begins = is_program(argument).then(|| Self { column: line.column, arguments: vec![argument.to_vec()] });
            *command = begins;
            return None;
        };
        command.arguments.push(argument.to_vec());
        let all: Vec<&[u8]> = command.arguments.iter().map(Vec::as_slice).collect();
        let (_, mut span) = arguments::find(&all).into_iter().find(|(index, _)| *index + 1 == all.len())?;
        span.at = at.start + span.at.start..at.start + span.at.end;
        Some(span)
    }
}

/// Whether the argument is a word or a path that names one of the tools.
fn is_program(argument: &[u8]) -> bool {
    let word = argument.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(byte));
    word && !argument.starts_with(b"-") && shapes::names_a_tool(argument)
}
