//! Progress on standard error: a bar on a terminal, a line for each new step elsewhere. Results go to standard output.

use std::{io::IsTerminal as _, time::Duration};

use debugbundle_crd::{DebugBundleStatus, Phase, Progress, Stage};
use debugbundle_format::text::{bounded, escape_for_terminal, human_bytes};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The progress of a run, as shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProgressSnapshot {
    /// The step; a new step gets its own line.
    pub headline: String,
    /// Items or bytes done, of `total`.
    pub done: u64,
    /// All items or bytes, as far as known.
    pub total: u64,
    /// Numbers and the current item.
    pub detail: String,
}

impl ProgressSnapshot {
    pub(crate) fn of_status(status: Option<&DebugBundleStatus>) -> Self {
        let phase = status.and_then(|status| status.phase).unwrap_or(Phase::New);
        match status.and_then(|status| status.progress.as_ref()) {
            Some(progress) if !phase.is_terminal() => Self::of_progress(phase.as_str(), progress),
            _ => Self { headline: phase.as_str().to_owned(), done: 0, total: 0, detail: String::new() },
        }
    }

    pub(crate) fn of_progress(phase: &str, progress: &Progress) -> Self {
        let number = |n: i64| u64::try_from(n).unwrap_or(0);
        let message = escape_for_terminal(&bounded(&progress.message, 160)).into_owned();
        let bytes = human_bytes(number(progress.bytes));
        let headline = match progress.stage {
            Some(stage) => format!("{phase}: {}", in_words(stage)),
            None => phase.to_owned(),
        };
        match progress.bytes_total.map(number) {
            Some(total) if total > 0 => Self {
                headline,
                done: number(progress.bytes),
                total,
                detail: format!("{bytes} of {} {message}", human_bytes(total)).trim_end().to_owned(),
            },
            _ => Self {
                headline,
                done: number(progress.items_done),
                total: number(progress.items_total),
                detail: format!("{}/{}, {bytes} {message}", progress.items_done, progress.items_total)
                    .trim_end()
                    .to_owned(),
            },
        }
    }
}

/// The steps in plain words.
pub(crate) const fn in_words(stage: Stage) -> &'static str {
    match stage {
        Stage::Inventory => "finding what to collect",
        Stage::Collect => "reading",
        Stage::Diagnose => "looking for the cause",
        Stage::Seal => "closing the archive",
        Stage::Upload => "sending",
        Stage::Verify => "verifying",
    }
}

/// The bar, or the lines.
#[derive(Debug)]
pub(crate) struct Meter {
    /// `None`: standard error is not a terminal.
    bar: Option<ProgressBar>,
    headline: String,
}

impl Meter {
    /// For steps with items.
    pub(crate) fn steps() -> Self {
        Self::new(None, "{spinner} {prefix} [{bar:24}] {msg}")
    }

    /// For a known number of bytes.
    pub(crate) fn bytes(total: u64) -> Self {
        Self::new(
            Some(total),
            "[{bar:32}] {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} {msg}",
        )
    }

    /// Shows nothing but notes.
    pub(crate) fn quiet() -> Self {
        Self { bar: None, headline: String::new() }
    }

    fn new(total: Option<u64>, template: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .progress_chars("=> "),
            );
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self { bar, headline: String::new() }
    }

    /// Shows a run's progress.
    pub(crate) fn show(&mut self, snapshot: &ProgressSnapshot) {
        if let Some(bar) = &self.bar {
            bar.set_prefix(snapshot.headline.clone());
            // A bar of length 0 would be shown full.
            bar.set_length(snapshot.total.max(snapshot.done).max(1));
            bar.set_position(snapshot.done);
            bar.set_message(snapshot.detail.clone());
        } else if self.headline != snapshot.headline {
            eprintln!("{}", snapshot.headline);
        }
        self.headline.clone_from(&snapshot.headline);
    }

    /// Shows the number of bytes received.
    pub(crate) fn at(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
    }

    /// Prints a line of its own.
    pub(crate) fn note(&self, text: &str) {
        let text = escape_for_terminal(text);
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        Progress {
            stage: Some(Stage::Collect),
            items_done: 120,
            items_total: 212,
            bytes: 3_100_000,
            bytes_total: None,
            message: "log of shop/shop-0\u{1b}[2J".to_owned(),
        }
    }

    #[test]
    fn collecting_counts_items_and_sending_counts_bytes() {
        let collecting = ProgressSnapshot::of_progress("Collecting", &progress());
        assert_eq!(collecting.headline, "Collecting: reading");
        assert_eq!((collecting.done, collecting.total), (120, 212));
        assert_eq!(collecting.detail, "120/212, 3.1 MB log of shop/shop-0[2J");
        let sending =
            Progress { stage: Some(Stage::Upload), bytes_total: Some(6_200_000), message: String::new(), ..progress() };
        let sending = ProgressSnapshot::of_progress("Uploading", &sending);
        assert_eq!((sending.done, sending.total), (3_100_000, 6_200_000));
        assert_eq!(sending.detail, "3.1 MB of 6.2 MB");
    }

    #[test]
    fn without_progress_the_phase_is_the_headline() {
        assert_eq!(ProgressSnapshot::of_status(None).headline, "New");
        let status = DebugBundleStatus { phase: Some(Phase::Failed), progress: Some(progress()), ..Default::default() };
        assert_eq!(ProgressSnapshot::of_status(Some(&status)).headline, "Failed");
    }

    #[test]
    fn templates_are_well_formed() {
        for template in [
            "{spinner} {prefix} [{bar:24}] {msg}",
            "[{bar:32}] {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} {msg}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
