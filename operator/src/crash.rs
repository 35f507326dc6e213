//! Named points of a run at which a test may kill the process like `kill -9`, and two ways to break redaction, which
//! the self-check must survive. Builds with debug assertions contain them; a release contains none of them.

use debugbundle_redact::Redactor;

/// Ends the process if the environment asks for it: `DEBUGBUNDLE_CRASH_AT=<name>`.
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    if std::env::var("DEBUGBUNDLE_CRASH_AT").is_ok_and(|at| at == name) {
        tracing::warn!(point = name, "Crashing as asked");
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Does nothing.
#[cfg(not(debug_assertions))]
#[inline]
pub fn point(_name: &str) {}

/// The redactor without the rule that a test switched off: `DEBUGBUNDLE_RULE_OFF=<rule>`.
#[cfg(debug_assertions)]
pub fn with_rule_off(redactor: Redactor) -> Redactor {
    static OFF: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("DEBUGBUNDLE_RULE_OFF").ok());
    match OFF.as_deref() {
        Some(rule) => redactor.without(rule),
        None => redactor,
    }
}

/// The same redactor.
#[cfg(not(debug_assertions))]
#[inline]
pub fn with_rule_off(redactor: Redactor) -> Redactor {
    redactor
}

/// Panics when redaction sees the text of `DEBUGBUNDLE_PANIC_AT`.
///
/// # Panics
/// A test asks for it.
#[cfg(debug_assertions)]
pub fn panic_at(data: &[u8]) {
    static AT: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("DEBUGBUNDLE_PANIC_AT").ok());
    assert!(AT.as_deref().is_none_or(|at| memchr::memmem::find(data, at.as_bytes()).is_none()), "as asked");
}

/// Does nothing.
#[cfg(not(debug_assertions))]
#[inline]
pub fn panic_at(_data: &[u8]) {}
