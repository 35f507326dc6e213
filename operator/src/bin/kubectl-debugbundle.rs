//! `kubectl debugbundle`, a kubectl plugin: reads the flags, runs, ends with a documented exit code.
//! All it does is in the library's `cli`; `collect` there uses the operator's own engine.

use std::process::ExitCode;

use debugbundle_operator::cli::{self, engine::collect_to_file};

#[tokio::main]
async fn main() -> ExitCode {
    cli::main(async |request| collect_to_file(request).await).await.into()
}
