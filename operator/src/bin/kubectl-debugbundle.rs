//! `kubectl debugbundle`, a kubectl plugin: reads the flags, runs, ends with a documented exit code.
//! All it does is in the library's `cli`; `collect` there uses the operator's own engine.

use std::process::ExitCode;

use debugbundle_operator::{
    cli::{self, engine::collect_to_file},
    runlog,
};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

#[tokio::main]
async fn main() -> ExitCode {
    // Nothing is logged to the terminal; a bundle that is made here has the log of its making.
    tracing_subscriber::registry().with(runlog::layer()).init();
    cli::main(async |request| collect_to_file(request).await).await.into()
}
