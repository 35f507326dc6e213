//! What this process logs about one run, kept in memory until it goes into the bundle as `operator.log`: as much of its
//! beginning and of its end as fits.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use debugbundle_format::text::bounded;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Span, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    layer::Context,
    registry::{LookupSpan, Scope},
};

/// Bytes kept of a run's beginning and of its end.
const HEAD: usize = 1 << 20;
const TAIL: usize = 3 << 20;
/// Longest value of a field (bytes).
const FIELD: usize = 4 * 1024;
/// Name of the span in which a run logs.
const RUN: &str = "run";

/// The span of a run: every line logged in it is kept for its bundle.
pub fn span(bundle: &str, uid: &str, attempt: i64) -> Span {
    tracing::info_span!(RUN, bundle, uid, attempt)
}

/// Keeps the lines of each run: all of ours, and the warnings of libraries.
pub fn layer<S: Subscriber + for<'s> LookupSpan<'s>>() -> impl Layer<S> {
    let ours = Targets::new().with_default(LevelFilter::WARN).with_target(env!("CARGO_CRATE_NAME"), Level::DEBUG);
    Keep.with_filter(ours)
}

/// The lines of the current run so far: JSON, one object per line. Empty if no [`layer`] is installed.
pub fn kept() -> Vec<u8> {
    let lines = Span::current().with_subscriber(|(id, dispatch)| {
        let registry = dispatch.downcast_ref::<Registry>()?;
        log_of(registry.span(id)?.scope())
    });
    lines.flatten().map(|log| log.text()).unwrap_or_default()
}

fn log_of<'r, R: LookupSpan<'r>>(scope: Scope<'r, R>) -> Option<RunLog> {
    scope.into_iter().find_map(|span| span.extensions().get::<RunLog>().cloned())
}

/// The lines of one run.
#[derive(Clone, Debug, Default)]
struct RunLog(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    head: String,
    tail: VecDeque<String>,
    tail_bytes: usize,
    left_out: u64,
}

impl RunLog {
    fn add(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.tail.is_empty() && lines.head.len() + line.len() <= HEAD {
            lines.head.push_str(&line);
            return;
        }
        lines.tail_bytes += line.len();
        lines.tail.push_back(line);
        while lines.tail_bytes > TAIL {
            let Some(oldest) = lines.tail.pop_front() else { break };
            lines.tail_bytes -= oldest.len();
            lines.left_out += 1;
        }
    }

    fn text(&self) -> Vec<u8> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = lines.head.clone().into_bytes();
        if lines.left_out > 0 {
            let mut marker = Map::new();
            marker.insert("message".to_owned(), format!("{} lines left out here", lines.left_out).into());
            text.extend_from_slice(line(marker).as_bytes());
        }
        lines.tail.iter().for_each(|line| text.extend_from_slice(line.as_bytes()));
        text
    }
}

fn line(fields: Map<String, Value>) -> String {
    let mut line = Value::Object(fields).to_string();
    line.push('\n');
    line
}

struct Keep;

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Keep {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let ours = attributes.metadata().name() == RUN && attributes.metadata().target() == module_path!();
        if let Some(span) = context.span(id).filter(|_| ours) {
            span.extensions_mut().insert(RunLog::default());
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(log) = context.event_scope(event).and_then(log_of) else { return };
        let mut fields = Fields(Map::new());
        fields.add("timestamp", format!("{:.6}", Timestamp::now()).into());
        fields.add("level", event.metadata().level().as_str().into());
        event.record(&mut fields);
        fields.add("target", event.metadata().target().into());
        log.add(line(fields.0));
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn add(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        self.add(field.name(), bounded(&text, FIELD).into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), bounded(value, FIELD).into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn of(name: &str) -> Span {
        span(name, &format!("uid-{name}"), 1)
    }

    fn lines(log: &[u8]) -> Vec<Value> {
        log.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    #[test]
    fn each_run_keeps_its_own_lines_and_nobody_elses() {
        let ended = tracing::subscriber::with_default(Registry::default().with(layer()), || {
            tracing::info!("before");
            let (one, two) = (of("one"), of("two"));
            one.in_scope(|| tracing::info!(items = 3, "first of one"));
            two.in_scope(|| tracing::warn!(why = "no\u{1b}answer", "first of two"));
            one.in_scope(|| tracing::debug_span!("item").in_scope(|| tracing::debug!(done = true, "within an item")));
            one.in_scope(|| tracing::trace!("too fine"));
            one.in_scope(|| tracing::info!(target: "hyper", "a library's chatter"));
            one.in_scope(|| tracing::warn!(target: "hyper", "a library's warning"));
            [one.in_scope(kept), two.in_scope(kept)]
        });
        let [one, two] = ended.map(|log| lines(&log));
        let said: Vec<&str> = one.iter().filter_map(|line| line["message"].as_str()).collect();
        assert_eq!(said, ["first of one", "within an item", "a library's warning"]);
        assert_eq!((&one[0]["level"], &one[0]["items"], &one[1]["done"]), (&"INFO".into(), &3.into(), &true.into()));
        assert!(one[0]["timestamp"].as_str().unwrap().parse::<Timestamp>().is_ok());
        assert_eq!((two.len(), &two[0]["why"]), (1, &"no\u{1b}answer".into()));
    }

    #[test]
    fn a_run_that_logs_without_end_keeps_its_beginning_and_its_end() {
        let log = tracing::subscriber::with_default(Registry::default().with(layer()), || {
            of("long").in_scope(|| {
                let filler = "x".repeat(10_000);
                (0..3000).for_each(|n| tracing::info!(n, filler, "line"));
                kept()
            })
        });
        assert!(log.len() <= HEAD + TAIL + 1000, "{}", log.len());
        let lines = lines(&log);
        assert_eq!((&lines[0]["n"], &lines.last().unwrap()["n"]), (&0.into(), &2999.into()));
        let marker = lines.iter().find(|line| line["n"].is_null()).unwrap();
        let left_out = 3000 - (lines.len() - 1);
        assert_eq!(marker["message"], format!("{left_out} lines left out here"));
        assert!(lines.iter().all(|line| line["filler"].as_str().is_none_or(|filler| filler.len() <= FIELD)));
    }

    #[test]
    fn without_a_keeper_there_is_nothing() {
        assert!(kept().is_empty());
        assert!(of("x").in_scope(kept).is_empty());
    }
}
