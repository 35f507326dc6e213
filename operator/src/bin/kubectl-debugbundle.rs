//! `kubectl debugbundle`, a kubectl plugin: reads the flags, runs, ends with a documented exit code.
//! All it does is in the library's `cli`.

use std::process::ExitCode;

use debugbundle_operator::cli;

#[tokio::main]
async fn main() -> ExitCode {
    cli::main(async |_| Err("this build has no engine".into())).await.into()
}
