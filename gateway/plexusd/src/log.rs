//! The daemon's log: one JSON object a line, in files of bounded size under `logs/`; for a person at a terminal also as
//! text on standard error. Elsewhere standard error gets warnings and errors only: a service manager's own log is
//! neither rotated nor private by us.
//!
//! ```text
//! start ─▶ kept in memory ─attach: the ledger is ours─▶ files
//! ```
//! Invariant: only the daemon that holds the ledger writes the files; two never rotate them under each other.
//! Invariant: what a worker says goes to a file of its source's own, so that its noise pushes nothing else out.
//! Invariant: a log that cannot be written costs lines, never a call.
//!
//! Must not know: anything secret. What is logged is what the callers of `tracing` name; a story holds that no
//! credential is among it.

mod rotating;
mod spoken;

use plexus_protocol::Timestamp;
use rotating::Rotating;
use serde_json::{Map, Value};
use spoken::Spoken;
use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer, layer::Context, layer::SubscriberExt, util::SubscriberInitExt,
};

/// The target of what workers say on their standard error: it goes to their source's file.
pub(crate) use plexus_supervisor::LOG_TARGET as WORKER;
/// The event of a line that a library wrote. Its fields are in `detail`.
const LIBRARY: &str = "library";
/// Lines kept until the files can be written.
const EARLY: usize = 256;
/// Longest text of one field, in bytes; the rest is cut.
const FIELD: usize = 2_048;
/// Size of the daemon's file and of each source's, in bytes, and how many older ones are kept of it.
const DAEMON: (u64, usize) = (4 << 20, 3);
const SOURCE: (u64, usize) = (1 << 20, 2);

/// The open log. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Sink>>);

#[derive(Default)]
struct Sink {
    dir: Option<PathBuf>,
    /// By file name.
    files: HashMap<String, Rotating>,
    early: Vec<(String, Vec<u8>)>,
}

/// Starts logging in this process; the files come with [`Log::attach`].
pub(crate) fn start() -> Log {
    let log = Log::default();
    let asked = std::env::var("PLEXUS_LOG").ok();
    let asked = asked.filter(|asked| !asked.is_empty());
    let (filter, refused) = match EnvFilter::try_new(asked.as_deref().unwrap_or("info")) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let spoken = Spoken::here();
    let least = spoken.least();
    // A second subscriber in one process (tests) leaves the first in place.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(Files(log.clone()))
        .with(spoken.with_filter(least))
        .try_init();
    if let Some(error) = refused {
        tracing::warn!(name: "log.filter_refused", %error, "PLEXUS_LOG is not a filter, so what is `info` or more is logged");
    }
    log
}

impl Log {
    /// Writes to files in `dir` from now on, what was kept first. To be called by the holder of the ledger.
    pub(crate) fn attach(&self, dir: &Path) {
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sink.dir = Some(dir.to_owned());
        for (name, line) in std::mem::take(&mut sink.early) {
            sink.write(name, &line);
        }
    }

    fn write(&self, name: String, line: Vec<u8>) {
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sink.dir.is_some() {
            sink.write(name, &line);
        } else if sink.early.len() < EARLY {
            sink.early.push((name, line));
        }
    }
}

impl Sink {
    fn write(&mut self, name: String, line: &[u8]) {
        let Some(dir) = &self.dir else { return };
        let file = self.files.entry(name).or_insert_with_key(|name| {
            let (limit, older) = match name.as_str() {
                "plexusd.log" => DAEMON,
                _ => SOURCE,
            };
            Rotating::new(dir.join(name), limit, older)
        });
        file.write(line);
    }
}

/// The layer that hands each event to its file.
struct Files(Log);

impl<S: Subscriber> Layer<S> for Files {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = Line::of(event);
        let source = line.fields.get("source").and_then(Value::as_str);
        let name = match source {
            // A source's id is letters, digits and `-`: it names a file and nothing else.
            Some(source) if line.target == WORKER => format!("source-{source}.log"),
            _ => "plexusd.log".to_owned(),
        };
        self.0.write(name, line.json(*event.metadata().level()));
    }
}

/// One line before it is written down.
struct Line {
    time: Timestamp,
    event: &'static str,
    target: &'static str,
    fields: Map<String, Value>,
}

impl Line {
    fn of(event: &Event<'_>) -> Self {
        let meta = event.metadata();
        let mut members = Members::default();
        event.record(&mut members);
        let mut fields = members.0;
        // Ours are named one by one, on the page and in code (a story compares them).
        let is_ours = meta.target().starts_with("plexus");
        if !is_ours {
            let message = fields.shift_remove_entry("message");
            let detail = bounded(Value::Object(fields).to_string());
            fields = message.into_iter().collect();
            fields.insert("detail".into(), detail.into());
        }
        Self {
            time: now(),
            event: if is_ours { meta.name() } else { LIBRARY },
            target: meta.target(),
            fields,
        }
    }

    fn json(self, at: Level) -> Vec<u8> {
        let head = [
            self.time.to_string(),
            level(at).to_owned(),
            self.event.to_owned(),
            self.target.to_owned(),
        ];
        let mut line: Map<String, Value> = ["time", "level", "event", "target"]
            .into_iter()
            .zip(head)
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        for (name, value) in self.fields {
            line.entry(name).or_insert(value);
        }
        let mut line = Value::Object(line).to_string().into_bytes();
        line.push(b'\n');
        line
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// The fields of an event, `message` among them, as JSON.
#[derive(Default)]
struct Members(Map<String, Value>);

impl Members {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

/// As much of a text as one field may hold.
fn bounded(mut text: String) -> String {
    if text.len() > FIELD {
        text.truncate(text.floor_char_boundary(FIELD));
        text.push('…');
    }
    text
}

impl Visit for Members {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, bounded(format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_go_to_the_file_of_their_source_each_as_one_object() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::default();
        let subscriber = tracing_subscriber::registry().with(Files(log.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(name: "daemon.serving", port = 7, "before there are files");
            log.attach(dir.path());
            tracing::warn!(name: "worker.said", target: WORKER, source = %"notes", line = "a\nb\"", "worker");
            tracing::error!(name: "source.unusable", source = %"notes", error = "x".repeat(5_000), time = 1, "ours");
            tracing::warn!(target: "hyper", odd = "a", time = 2, "a library's");
        });
        let lines = |name: &str| -> Vec<Value> {
            let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
            let parse = |line| serde_json::from_str(line).unwrap();
            text.lines().map(parse).collect()
        };
        let daemon = lines("plexusd.log");
        assert_eq!(daemon.len(), 3);
        assert_eq!(daemon[0]["message"], "before there are files");
        assert_eq!(
            (&daemon[0]["port"], &daemon[0]["level"]),
            (&7.into(), &"info".into())
        );
        assert!(daemon[1]["error"].as_str().unwrap().len() < FIELD + 4);
        assert!(
            daemon[1]["time"].as_str().unwrap().ends_with('Z'),
            "ours, not the field"
        );
        assert_eq!(daemon[1]["event"], "source.unusable");
        assert_eq!(
            (&daemon[2]["event"], &daemon[2]["detail"]),
            (&"library".into(), &r#"{"odd":"a","time":2}"#.into())
        );
        let worker = lines("source-notes.log");
        assert_eq!(worker.len(), 1);
        assert_eq!(
            (&worker[0]["line"], &worker[0]["level"]),
            (&"a\nb\"".into(), &"warn".into())
        );
    }
}
