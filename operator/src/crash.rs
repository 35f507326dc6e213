//! Named points of a run at which a test may end the process as `kill -9` does.
//! Without the feature `crash-points` nothing of it is compiled in.

/// Ends the process if the environment asks for it: `DEBUGBUNDLE_CRASH_AT=<name>`.
#[cfg(feature = "crash-points")]
pub fn point(name: &str) {
    if std::env::var("DEBUGBUNDLE_CRASH_AT").is_ok_and(|at| at == name) {
        tracing::warn!(point = name, "Crashing as asked");
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Nothing.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn point(_name: &str) {}
