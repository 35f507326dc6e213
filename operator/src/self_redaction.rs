//! Redacts by names and shapes what the operator writes outside a bundle: status, Events, its log on standard error,
//! and the saved status of pods that are gone. A run masks the values that only it knows before a text leaves it.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    borrow::Cow,
    io::{self, Stderr, Write},
    panic::{self, PanicHookInfo},
    sync::LazyLock,
};

use debugbundle_format::text;
use debugbundle_redact::{Redactor, Secret};
use debugbundle_redact_check::Detector;
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

/// The built-in rules, for the lifetime of the process.
static RULES: LazyLock<Redactor> = LazyLock::new(|| Redactor::of_known(Vec::new()));
/// The shapes that the self-check finds.
static SHAPES: LazyLock<Detector> = LazyLock::new(|| Detector::new([]));

/// The text without anything that has the name or the shape of a secret.
pub fn mask(text: &str) -> String {
    RULES.text(text)
}

/// Masks an API object in place for a file outside a bundle. `false`: it must not be written, because its kind is never
/// collected, or because the self-check still finds something in it.
pub fn mask_object(object: &mut Value) -> bool {
    RULES.object(object) && matches!(SHAPES.masked(&object.to_string()), Cow::Borrowed(_))
}

/// The same, and without these values in all their forms; each comes with the name of its rule.
pub fn mask_known(known: &[(&'static str, Secret)], text: &str) -> String {
    // Built anew for each failure, so that no copy of the values outlives it.
    Redactor::of_known(known.to_vec()).text(text)
}

/// A text for status or an Event: masked, and without the words in which the self-check still finds something.
pub fn sanitize(text: &str) -> String {
    told_by(&RULES, text)
}

/// The same as one line of at most `limit` bytes, without terminal control characters. A longer one is cut in the middle.
pub fn sanitize_line(text: &str, limit: usize) -> String {
    // Again after the escaping: it may have joined the parts of a secret.
    let told = sanitize(&text::escape_for_terminal(&sanitize(text)));
    text::bounded_within(&told, limit).into_owned()
}

fn told_by(rules: &Redactor, text: &str) -> String {
    let text = rules.text(text);
    let checked = SHAPES.masked(&text);
    if matches!(checked, Cow::Owned(_)) {
        tracing::error!("The self-check withheld words of a text for status or an Event");
    }
    checked.into_owned()
}

/// Standard error, for a layer that writes one line at a time. No event may have a field named `message`: in its line,
/// that key holds the event's text.
#[derive(Clone, Copy, Debug)]
pub struct Log;

impl MakeWriter<'_> for Log {
    type Writer = Masking<Stderr>;

    fn make_writer(&self) -> Self::Writer {
        Masking(io::stderr())
    }
}

/// Masks what passes. Each write must consist of whole lines, as the layers of `tracing_subscriber` write them: half a
/// line may be half a secret.
#[derive(Debug)]
pub struct Masking<W>(W);

impl<W: Write> Write for Masking<W> {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.write_all(mask(&String::from_utf8_lossy(lines)).as_bytes())?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Logs panics as JSON, masked like all other lines: a panic's message may quote the data in work.
pub fn log_panics() {
    panic::set_hook(Box::new(log_panic));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let why = panic.payload_as_str().unwrap_or("no message");
    let at = panic.location().map(ToString::to_string);
    let trace = Backtrace::capture();
    // Captured only if the environment asks for it.
    let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
    tracing::error!(why, at, trace, "Panicked: this is a bug in the operator, please report it");
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::{Registry, fmt, layer::SubscriberExt as _};

    use super::*;

    const USERINFO: &str = "https://robot:hunter2-x7@registry.example.com/";

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines of a log that is set up like the operator's.
    fn logged(say: impl FnOnce()) -> Vec<Value> {
        let written = Written::default();
        let into = written.clone();
        let layer = fmt::layer().json().flatten_event(true).with_writer(move || Masking(into.clone()));
        tracing::subscriber::with_default(Registry::default().with(layer), say);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    #[test]
    fn sec_x6_l1_the_log_passes_redaction_and_stays_json() {
        let lines = logged(|| {
            tracing::warn!(error = USERINFO, "Failed");
            tracing::warn!(
                password = "hunter2-x7",
                said = "the hook ran \"PGPASSWORD=hunter2-x7 pg_dump\"\nonce",
                "Failed"
            );
            tracing::info!(args = ?["--token", "hunter2-x7"], "Started with Authorization: Bearer hunter2-x7-hunter2-x7");
            tracing::info!(
                name = "reset-password",
                attempt = 3,
                secret = false,
                "Stored in team-a/plugins/debugbundle/r1"
            );
        });
        assert_eq!(lines.len(), 4);
        for line in &lines[..3] {
            let line = line.to_string();
            assert!(line.contains("[REDACTED:") && !line.contains("hunter2"), "{line}");
        }
        assert!(lines[1]["said"].as_str().unwrap().ends_with(" pg_dump\"\nonce"), "{}", lines[1]);
        let plain = &lines[3];
        assert_eq!(
            (&plain["name"], &plain["attempt"], &plain["secret"]),
            (&"reset-password".into(), &3.into(), &false.into())
        );
        assert_eq!(plain["message"], "Stored in team-a/plugins/debugbundle/r1");
    }

    #[test]
    fn sec_x6_l2_what_becomes_a_secret_when_it_becomes_one_line_is_masked() {
        let torn = sanitize_line("mail it to post\u{7}gres://robot:hun\u{1b}ter2-x7@db.example.com/shop\nand go", 256);
        assert!(torn.contains("[REDACTED:") && torn.ends_with("@db.example.com/shop and go"), "{torn}");
        assert!(!torn.contains("hunter2"), "{torn}");
        let long = sanitize_line(&"é".repeat(2000), 256);
        assert!(long.len() <= 256 && long.contains('…'), "{long}");
    }

    #[test]
    fn sec_x51_what_redaction_misses_in_a_text_is_found_by_the_self_check() {
        let text = format!("pulled from {USERINFO}");
        assert!(sanitize(&text).starts_with("pulled from https://"), "{}", sanitize(&text));
        assert!(!sanitize(&text).contains("hunter2"));
        let broken = Redactor::of_known(Vec::new()).without("url-userinfo");
        assert!(broken.text(&text).contains("hunter2"), "or this shows nothing");
        assert!(told_by(&broken, &text) == "pulled from [withheld by the self-check]");
    }

    #[test]
    fn sec_x6_a_fault_says_what_happened_without_the_values_that_are_known() {
        use crate::error::Fault;
        use debugbundle_crd::Reason;
        let known = [("known-secret-key", Secret::new("Zq81LmXw02Kd"))];
        for text in ["HTTP 403 Zq81LmXw02Kd", "HTTP 403 WnE4MUxtWHcwMktk"] {
            for fault in [Fault::terminal(Reason::UploadDenied, text), Fault::transient(Reason::UploadDenied, text)] {
                let said = fault.map_message(|message| mask_known(&known, message));
                assert_eq!(said.reason(), Reason::UploadDenied);
                assert!(said.to_string().starts_with("HTTP 403 [REDACTED:known-secret-key:"), "{said}");
            }
        }
        assert_eq!(mask("HTTP 403 Zq81LmXw02Kd"), "HTTP 403 Zq81LmXw02Kd", "nobody else knows it");
    }

    #[test]
    fn words_about_secrets_stay() {
        for text in [
            "Secret \"not-yet\" not found; the secret key does not belong to this key id",
            "request a URL with: kubectl -n velero annotate --overwrite debugbundle reset-password \
             debugbundle.io/renew-url=$(date +%s)",
            "the request must also carry the headers x-amz-server-side-encryption-customer-key, \
             x-amz-server-side-encryption-customer-key-md5",
            "its host resolves only inside the cluster: set publicUrl in the location's config",
            "credential: the store does not accept the credential: HTTP 403 SignatureDoesNotMatch",
            "2.1 MB stored in eu-1, 3 items are missing; cause: pods \"shop-0\" is forbidden",
        ] {
            assert_eq!(sanitize(text), text);
        }
    }
}
