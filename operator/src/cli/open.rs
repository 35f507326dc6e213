//! `open`: the report of a stored or local bundle in the browser, fetched by itself and kept in a file that only its user
//! may read.

use std::io::Write;

use jiff::Timestamp;
use kube::Client;
use tempfile::Builder;

use super::{
    args::Open,
    cat::{self, Place, Screen, Wanted},
    exit::{CliError, Exit},
};

/// The page in a bundle.
const REPORT: &str = "report.html";

fn place(args: &Open) -> Result<Place, CliError> {
    match (&args.name, &args.file) {
        (Some(name), None) => Ok(Place::Stored(name.clone())),
        (None, Some(file)) => Ok(Place::Local(file.clone())),
        _ => Err(CliError::usage("name the DebugBundle, or a local bundle with --file, and only one of them")),
    }
}

/// Writes the report into a file and opens it.
pub(crate) async fn run(
    args: &Open,
    namespace: &str,
    connect: impl AsyncFnOnce() -> Result<Client, CliError>,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let place = place(args)?;
    let cannot = |error: &std::io::Error| CliError::caused("the report cannot be written to a temporary file", error);
    let mut page = Builder::new().prefix("debugbundle-").suffix(".html").tempfile().map_err(|error| cannot(&error))?;
    let mut screen = Screen::verbatim(page.as_file_mut());
    cat::read(&place, &Wanted::Path(REPORT.to_owned()), &args.store, namespace, connect, now, &mut screen).await?;
    let (_, path) = page.keep().map_err(|error| cannot(&error.error))?;
    writeln!(out, "{}", path.display()).map_err(CliError::stdout)?;
    if !args.print_only {
        let url = format!("file://{}", path.display());
        webbrowser::open(&url).map_err(|error| {
            CliError::caused("no browser could be started", &error)
                .hint(format!("The report is in {}. --print-only starts no browser.", path.display()))
        })?;
    }
    Ok(Exit::Done)
}
