//! `kubectl debugbundle`, a kubectl plugin: reads the flags, runs, ends with a documented exit code. The library's
//! `cli` does the work; its `collect` uses the operator's own engine.

use std::process::ExitCode;

use debugbundle_operator::{
    cli::{self, engine::collect_to_file},
    runlog,
};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

#[tokio::main]
async fn main() -> ExitCode {
    // The terminal gets no log; a bundle made here contains the log of its own run.
    tracing_subscriber::registry().with(runlog::layer()).init();
    cli::main(async |request| collect_to_file(request).await).await.into()
}
