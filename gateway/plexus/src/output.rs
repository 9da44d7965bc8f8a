//! What a call prints: the whole answer, or what a reader wants of it.

use crate::command;
use crate::input::{self, Input};
use crate::session::Session;
use crate::warning;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use plexus_client::{Done, Exit, Stop, out, shell, text};
use plexus_mcp::cut::{self, Cut, Takes};
use plexus_protocol::{
    AuditId, CapabilityId, body::Conversation, error::left_set, id::has_id_form,
};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

/// The most that is printed unasked, in bytes: a reader pays for each word.
const MOST: usize = 16 << 10;

/// How an answer is printed.
#[derive(Args, Clone, Default, Debug, PartialEq)]
pub(crate) struct Printing {
    /// Print the whole answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print all of a long output; else 16 KiB of it, with the command for the rest
    #[arg(long)]
    pub(crate) full: bool,
    /// Write the output to this new file
    #[arg(long, value_name = "FILE", conflicts_with = "full")]
    pub(crate) output: Option<PathBuf>,
    /// Write images, audio and other files of the output into this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
}

impl Printing {
    /// Whether it may be printed so.
    ///
    /// # Errors
    /// A file that exists; and any file where an agent's own command runs: the agent's rules let that one run outside of
    /// its sandbox, and so it writes nowhere that the agent chooses.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        let pinned = std::env::var_os("PLEXUS_PINNED").is_some_and(|value| !value.is_empty());
        if pinned && (self.output.is_some() || self.out.is_some()) {
            return Err(Stop::usage(
                "--output and --out are not for this command: it writes no files",
            )
            .next("use --full"));
        }
        if let Some(path) = self.out.as_ref().filter(|path| !path.is_dir()) {
            let path = text::line(&path.display().to_string());
            return Err(Stop::usage(format!("{path} is no folder")).next("name one that is there"));
        }
        if let Some(path) = self.output.as_ref().filter(|path| path.exists()) {
            let path = text::line(&path.display().to_string());
            let why = format!("{path} exists; --output writes a new file");
            return Err(Stop::usage(why).next("name another file"));
        }
        Ok(())
    }
}

/// An InvokeResponse (docs/protocol/agents.md#call): the bytes as they came, and the members that we read.
pub(crate) struct Answer {
    raw: Box<RawValue>,
    status: u16,
    read: Members,
    /// How the undo of its source is offered; none where this agent may not see it.
    undo_label: Option<&'static str>,
}

#[derive(Deserialize)]
struct Members {
    #[serde(default)]
    id: String,
    ok: bool,
    #[serde(default)]
    output: Value,
    #[serde(default)]
    error: Value,
    #[serde(default)]
    replayed: bool,
    #[serde(default, rename = "outputOmitted")]
    is_output_lost: bool,
    undo: Option<AuditId>,
    run: Option<RunHandle>,
    conversation: Option<Conversation>,
}

/// A call that goes on (docs/protocol/agents.md#call).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunHandle {
    pub(crate) run_id: plexus_protocol::RunId,
    pub(crate) status_url: String,
}

impl Answer {
    /// Reads the body of a reply to `/invoke`. One that has another shape came from before the route: it is a refusal.
    pub(crate) fn of_reply(reply: &plexus_client::Reply) -> Result<Self, Stop> {
        let raw: Result<Box<RawValue>, _> = serde_json::from_slice(&reply.body);
        match raw.map(|raw| Self::of_raw(reply.status, raw)) {
            Ok(Ok(answer)) => Ok(answer),
            _ if !reply.is_success() => Err(crate::session::refusal(reply)),
            Ok(Err(stop)) => Err(stop),
            Err(why) => Err(foreign(&why)),
        }
    }

    /// Reads an answer that came inside another reply; it was dispatched, so its status is 200.
    pub(crate) fn of_raw(status: u16, raw: Box<RawValue>) -> Result<Self, Stop> {
        let read = serde_json::from_str(raw.get()).map_err(|why| foreign(&why))?;
        Ok(Self {
            raw,
            status,
            read,
            undo_label: None,
        })
    }

    /// With what the agent of `session` may do to take the effect back.
    pub(crate) fn seen_in(mut self, session: &Session) -> Self {
        let undo = self.capability().map(|id| format!("{}.undo", id.parts().0));
        let undo = undo.and_then(|undo| undo.parse().ok());
        let entry = undo.and_then(|undo: CapabilityId| session.entry(&undo));
        self.undo_label = entry.map(|entry| match (entry.standing, entry.narrowed) {
            (true, false) => "undo",
            (true, true) => "undo (may ask)",
            (false, _) => "undo (asks)",
        });
        self
    }

    /// How the agent takes the effect back, where it may.
    fn undo(&self) -> Option<String> {
        let (id, undo) = self.capability().zip(self.read.undo.as_ref())?;
        let undo = command::line(format!("{}.undo id={undo}", id.parts().0));
        Some(format!("{}: {undo}", self.undo_label?))
    }

    /// All of it.
    pub(crate) fn raw(&self) -> &str {
        self.raw.get()
    }

    /// The run that it opened.
    pub(crate) fn run(&self) -> Option<&RunHandle> {
        self.read.run.as_ref()
    }

    /// What is left of the conversation that it is a turn of.
    pub(crate) fn conversation(&self) -> Option<&Conversation> {
        self.read.conversation.as_ref()
    }

    /// The capability that was called.
    pub(crate) fn capability(&self) -> Option<CapabilityId> {
        self.read.id.parse().ok()
    }

    /// What the call brought.
    pub(crate) fn output(&self) -> &Value {
        &self.read.output
    }

    /// The change set that it left, which a call that was cut off has too; none where that is no id of one: it stands in a
    /// command that is copied.
    pub(crate) fn change_set(&self) -> Option<&str> {
        let of_output = self.read.output["changes"]["id"].as_str();
        let of_output = of_output.filter(|id| has_id_form(id, "cs_"));
        of_output.or_else(|| left_set(self.read.error.get("detail")))
    }

    /// The end that a failed call stands for.
    pub(crate) fn failure(&self) -> Option<Stop> {
        (!self.read.ok).then(|| self.stop())
    }

    /// The pending item that it waits for.
    pub(crate) fn pending(&self) -> Option<plexus_protocol::PendingId> {
        let id = self.read.error["pendingId"].as_str();
        id.filter(|_| !self.read.ok)?.parse().ok()
    }

    /// A refusal whose `next` is in the words of this command.
    fn advised(&self) -> Option<String> {
        let action = serde_json::from_value(self.read.error["nextAction"].clone()).ok()?;
        let next = self.read.error["next"].as_str().unwrap_or_default();
        let next = command::said(next, &action)?;
        let mut whole: Value = serde_json::from_str(self.raw.get()).ok()?;
        whole["error"]["next"] = next.into();
        Some(whole.to_string())
    }

    fn stop(&self) -> Stop {
        command::advise(Stop::of_reply(
            self.status,
            &json!({"error": self.read.error}),
        ))
    }
}

fn foreign(why: &serde_json::Error) -> Stop {
    plexus_client::Failure::Foreign(format!("its answer is not of the documented form: {why}"))
        .into()
}

/// What to print, and for which call.
pub(crate) struct Form<'a> {
    /// How.
    pub(crate) printing: &'a Printing,
    /// The call, where it is known: for the command that goes on reading.
    pub(crate) call: Option<(&'a CapabilityId, &'a Input, Takes)>,
    /// Whether that call only reads. Any other is never printed to be run again: that would repeat what it did.
    pub(crate) is_read: bool,
    /// The request or run that keeps the answer, where it is known.
    pub(crate) item: Option<&'a str>,
}

impl Form<'_> {
    /// Prints the answer; a failed one becomes the stop that it stands for.
    pub(crate) fn show(&self, answer: &Answer) -> Result<Exit, Stop> {
        let all = self.printing.full || self.printing.output.is_some();
        if self.printing.json {
            let advised = answer.advised();
            match self.shortened(answer).filter(|_| !all) {
                Some(short) => out::line(&short.to_string())?,
                None => self.print(advised.as_deref().unwrap_or(answer.raw.get()))?,
            }
        }
        if !answer.read.ok {
            return Err(answer.stop());
        }
        if answer.read.replayed {
            out::say(plexus_mcp::REPLAYED);
        }
        if answer.read.is_output_lost {
            out::say(plexus_mcp::RESULT_LOST);
        }
        if self.printing.json {
            if self.printing.out.is_some() {
                for note in self.files(&take_files(&mut answer.read.output.clone()))? {
                    out::say(&note);
                }
            }
            // The cut is in the JSON.
            for note in self.notes(&answer.read.output) {
                out::say(&note);
            }
            return Ok(Exit::Ok);
        }
        if !answer.read.is_output_lost {
            self.show_output(&answer.read.output, all)?;
        }
        if let Some(undo) = answer.undo() {
            out::say(&undo);
        }
        Ok(Exit::Ok)
    }

    fn show_output(&self, told: &Value, all: bool) -> Result<(), Stop> {
        let mut output = told.clone();
        for note in self.files(&take_files(&mut output))? {
            out::say(&note);
        }
        let whole = wanted(&output);
        if all || whole.len() <= MOST {
            self.print(&whole)?;
        } else {
            let shown = match self.cut(&mut output) {
                Some(_) => wanted(&output),
                None => cut::at_line(&whole, MOST).to_owned(),
            };
            out::line(&shown)?;
            out::say(&format!(
                "cut: {} of {} bytes are printed",
                shown.len(),
                whole.len()
            ));
            if output["next"] == told["next"]
                && let Some(whole) = self.whole()
            {
                out::say(&format!("all of it: {whole}"));
            }
        }
        for note in self.beside(&output) {
            out::say(&note);
        }
        for note in self.notes(&output) {
            out::say(&note);
        }
        Ok(())
    }

    /// Prints a text that is no answer of the gateway; as JSON it has the form of one.
    pub(crate) fn show_text(&self, text: &str) -> Result<(), Stop> {
        if !self.printing.json {
            return self.print(text);
        }
        self.print(&self.own(true, "output", json!({"content": text})))
    }

    /// An answer in the gateway's form that is the command's own.
    fn own(&self, ok: bool, member: &str, value: Value) -> String {
        let mut own = Map::new();
        let id = self.call.map(|(id, ..)| id.as_str());
        // Scripts know a refusal by it, also one of no call.
        if let Some(id) = id.or((!ok).then_some("")) {
            own.insert("id".into(), json!(id));
        }
        own.insert("ok".into(), json!(ok));
        own.insert(member.into(), value);
        own.insert("auditId".into(), json!(""));
        Value::Object(own).to_string()
    }

    /// Prints it, or writes it to the file that was named.
    pub(crate) fn print(&self, text: &str) -> Result<(), Stop> {
        let Some(path) = &self.printing.output else {
            return out::line(text);
        };
        written(path, text.as_bytes())?;
        out::say(&format!(
            "written to {}: {} bytes",
            path.display(),
            text.len()
        ));
        Ok(())
    }

    /// Writes the files where a folder is named; says of each what it is, or where it was written.
    fn files(&self, taken: &[(&str, Vec<Value>)]) -> Result<Vec<String>, Stop> {
        let mut notes = Vec::new();
        for (name, files) in taken {
            for (at, file) in files.iter().enumerate() {
                let word = |key: &str| file[key].as_str().unwrap_or_default();
                let data = if word("data").is_empty() {
                    word("blob")
                } else {
                    word("data")
                };
                let bytes = STANDARD.decode(data);
                let kind = text::line(word("mimeType"));
                let mut note = format!("{name} {}: {kind}", at + 1);
                if !word("uri").is_empty() {
                    note = format!("{note}, {}", text::line(word("uri")));
                }
                note = match (&bytes, &self.printing.out) {
                    (Err(_), _) => format!("{note}, which is no base64 and left out"),
                    (Ok(bytes), None) => {
                        format!("{note}, {} bytes; --out FOLDER writes it", bytes.len())
                    }
                    (Ok(bytes), Some(folder)) => {
                        let path = folder.join(format!("{name}-{}.{}", at + 1, ending(&kind)));
                        written(&path, bytes)?;
                        format!(
                            "{note}, written to {}: {} bytes",
                            path.display(),
                            bytes.len()
                        )
                    }
                };
                notes.push(note);
            }
        }
        Ok(notes)
    }

    /// The call, where running it again does no more than read again.
    fn repeatable(&self) -> Option<(&CapabilityId, &Input, Takes)> {
        self.call.filter(|_| self.is_read)
    }

    fn cut(&self, output: &mut Value) -> Option<Cut> {
        let (_, input, takes) = self.repeatable()?;
        cut::resumable(output, input, takes, MOST)
    }

    /// The answer as JSON, cut where it is long: valid, and with a `cut` that says so.
    fn shortened(&self, answer: &Answer) -> Option<Value> {
        let whole = answer.raw.get().len();
        if whole <= MOST {
            return None;
        }
        let mut short: Value = serde_json::from_str(answer.raw.get()).ok()?;
        if self.printing.out.is_some()
            && !take_files(&mut short["output"]).is_empty()
            && short.to_string().len() <= MOST
        {
            return Some(short);
        }
        let output = &mut short["output"];
        let next = match self.cut(output) {
            Some(_) => self.rest(output),
            None => {
                // Nothing is half a value: a text is cut, anything else is left out.
                let text = output["content"]
                    .as_str()
                    .map(|text| cut::at_line(text, MOST).to_owned());
                match text {
                    Some(text) => output["content"] = text.into(),
                    None => *output = Value::Null,
                }
                self.whole()
            }
        };
        short["cut"] = json!({"bytes": whole, "next": next});
        Some(short)
    }

    /// The command that prints all of it and does nothing else; none where no such command is known.
    fn whole(&self) -> Option<String> {
        if let Some((id, input, _)) = self.repeatable() {
            return Some(format!("{} --full", command_of(id, input)));
        }
        let item = self.item?;
        Some(command::line(format_args!("wait {item} --full")))
    }

    /// The command that goes on where the output ends, where it says so itself.
    fn rest(&self, output: &Value) -> Option<String> {
        let (id, input, _) = self.repeatable()?;
        let mut input = input.clone();
        input.extend(self.next(output)?);
        Some(command_of(id, &input))
    }

    /// What the call that goes on has in its input; a text is that only where the capability takes a `next`.
    fn next(&self, output: &Value) -> Option<Input> {
        match &output["next"] {
            Value::Object(next) => Some(next.clone()),
            next @ Value::String(_) if self.call.is_some_and(|(.., takes)| takes.next) => {
                Some(Input::from_iter([("next".to_owned(), next.clone())]))
            }
            _ => None,
        }
    }

    /// If the answer is JSON, so is its failure to come.
    pub(crate) fn show_stop(&self, stop: &Stop) -> Result<(), Stop> {
        if !self.printing.json {
            return Ok(());
        }
        let mut error =
            json!({"code": stop.code, "message": stop.why, "effect": stop.done, "next": stop.next});
        match &stop.item {
            Some(item) if item.starts_with("run_") => error["runId"] = json!(item),
            Some(item) => error["pendingId"] = json!(item),
            None => {}
        }
        out::line(&self.own(false, "error", error))
    }

    /// The notes beside a text that is printed alone: which note or file it is of, and the digest that writes it back.
    fn beside(&self, output: &Value) -> Vec<String> {
        if !output["content"].is_string() {
            return Vec::new();
        }
        let asked = self.call.and_then(|(_, input, _)| input.get("path"));
        let mut notes = Vec::new();
        if output["relativePath"].is_string() && asked != Some(&output["relativePath"]) {
            let others = output["alsoFits"].as_array().into_iter().flatten();
            let paths = std::iter::once(&output["relativePath"]).chain(others);
            let paths: Vec<_> = paths.filter_map(Value::as_str).collect();
            notes.push(format!("note: {}", text::listed(&paths, "; also ")));
        }
        if let Some(digest) = output["digest"].as_str() {
            notes.push(format!("digest: {}", text::line(digest)));
        }
        notes
    }

    /// What the printed part does not say: warnings, and how to get the rest.
    fn notes(&self, output: &Value) -> Vec<String> {
        let warnings = output["warnings"].as_array().into_iter().flatten();
        let mut notes: Vec<_> = warnings.map(warning::line).collect();
        if let Some(next) = self.next(output) {
            let more = self.rest(output).unwrap_or_else(|| {
                format!(
                    "the same call with {}",
                    text::line(&Value::Object(next).to_string())
                )
            });
            notes.push(format!("there is more: {more}"));
        }
        notes
    }
}

/// The command line of a call.
fn command_of(id: &CapabilityId, input: &Input) -> String {
    let words = input::to_words(input);
    let words = words.iter().map(|w| text::line(&shell::quote(w)));
    let words: Vec<_> = words.map(|word| format!(" {word}")).collect();
    command::line(format_args!("{id}{}", words.concat()))
}

/// Writes a new file.
fn written(path: &Path, bytes: &[u8]) -> Result<(), Stop> {
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes).inspect_err(|_| {
                // A part would pass for the whole.
                let _ = std::fs::remove_file(path);
            })
        });
    written.map_err(|why| {
        let why = format!("{} could not be written: {why}", path.display());
        Stop::new(Exit::Failed, "output", why)
            .done(Done::Done)
            .next("stop; tell the owner: the call is done, and only its output was not kept")
    })
}

/// Takes the files out of the output of a lent tool: those of a member, with the word for one.
fn take_files(output: &mut Value) -> Vec<(&'static str, Vec<Value>)> {
    let mut take = |member: &str| {
        let all = output.as_object_mut()?;
        if !all.get(member)?.as_array()?.iter().all(is_file) {
            return None;
        }
        match all.shift_remove(member)? {
            Value::Array(files) => Some(files),
            _ => None,
        }
    };
    let members = [("images", "image"), ("audio", "audio"), ("files", "file")];
    let taken = members.into_iter();
    taken
        .filter_map(|(member, name)| Some((name, take(member)?)))
        .collect()
}

/// Whether it is a file in the output of a lent tool.
fn is_file(value: &Value) -> bool {
    value["data"].is_string() || value["blob"].is_string()
}

/// How the name of a file ends whose kind a server says: what is no plain word is not taken from it.
fn ending(kind: &str) -> &str {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    match kind.rsplit_once('/').map_or("", |(_, kind)| kind) {
        "svg+xml" => "svg",
        "plain" => "txt",
        "mpeg" => "mp3",
        word if (1..=8).contains(&word.len())
            && word.bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            word
        }
        _ => "bin",
    }
}

/// What a lent tool says: its text, and what it structured. `None` for another output.
fn said_by_lent(output: &Value) -> Option<String> {
    let members = output.as_object()?;
    let known = [
        "text",
        "structured",
        "images",
        "audio",
        "files",
        "links",
        "warnings",
    ];
    let is_lent = members.keys().all(|key| known.contains(&key.as_str()));
    let text = members
        .get("text")
        .and_then(Value::as_str)
        .filter(|_| is_lent)?;
    let rest = members
        .iter()
        .filter(|(key, _)| matches!(key.as_str(), "structured" | "links"));
    let parts = rest.map(|(_, value)| serde_json::to_string_pretty(value).unwrap_or_default());
    let parts: Vec<_> = std::iter::once(text.to_owned()).chain(parts).collect();
    Some(parts.join("\n\n"))
}

/// The part of an output that a reader wants: a text, its `content`, or all of it.
fn wanted(output: &Value) -> String {
    let content = &output["content"];
    if let Some(said) = said_by_lent(output) {
        return said;
    }
    match (output, content) {
        (Value::String(text), _) | (_, Value::String(text)) => text.clone(),
        (_, Value::Array(parts))
            if parts.iter().all(|p| p["text"].is_string()) && !parts.is_empty() =>
        {
            parts
                .iter()
                .filter_map(|p| p["text"].as_str())
                .collect::<Vec<_>>()
                .join("\n")
        }
        // A value that was parsed can be written.
        _ => serde_json::to_string_pretty(output).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_set_is_named_by_a_failure_too() {
        let named = |answer: Value| {
            let raw = RawValue::from_string(answer.to_string()).unwrap();
            let answer = Answer::of_raw(200, raw).unwrap();
            answer.change_set().map(str::to_owned)
        };
        let done = json!({"ok": true, "output": {"changes": {"id": "cs_1"}}});
        let stopped = json!({"ok": false, "error": {"detail": {"changes": "cs_2"}}});
        assert_eq!(named(done).as_deref(), Some("cs_1"));
        assert_eq!(named(stopped).as_deref(), Some("cs_2"));
        assert_eq!(named(json!({"ok": true, "output": "text"})), None);
        for answer in [
            json!({"ok": true, "output": {"changes": {"id": "cs_1; rm -r ."}}}),
            json!({"ok": false, "error": {"detail": {"changes": "$(id)"}}}),
        ] {
            assert_eq!(named(answer), None);
        }
    }

    #[test]
    fn a_reader_gets_the_text() {
        assert_eq!(wanted(&json!("plain")), "plain");
        assert_eq!(
            wanted(&json!({"content": "# Note\n", "bytes": 7})),
            "# Note\n"
        );
        assert_eq!(
            wanted(&json!({"content": [{"text": "a"}, {"text": "b"}]})),
            "a\nb"
        );
        assert_eq!(wanted(&json!({"hits": []})), "{\n  \"hits\": []\n}");
        assert_eq!(wanted(&json!({"content": []})), "{\n  \"content\": []\n}");
        assert_eq!(wanted(&json!({"text": "a\nb", "warnings": ["w"]})), "a\nb");
        assert_eq!(
            wanted(&json!({"text": "a", "structured": [1]})),
            "a\n\n[\n  1\n]"
        );
        let other = json!({"text": "a", "status": 0});
        assert_eq!(
            wanted(&other),
            serde_json::to_string_pretty(&other).unwrap()
        );
        for (kind, name) in [
            ("image/png", "png"),
            ("image/svg+xml", "svg"),
            ("a/../../x", "x"),
            ("a/..", "bin"),
            ("", "bin"),
        ] {
            assert_eq!(ending(kind), name);
        }
    }

    #[test]
    fn the_rest_is_one_command_away() {
        let id: CapabilityId = "obsidian.vault.read".parse().unwrap();
        let Value::Object(input) = json!({"path": "My Note.md", "offset": 5}) else {
            panic!("an object")
        };
        let printing = Printing::default();
        let form = Form {
            printing: &printing,
            call: Some((&id, &input, Takes::default())),
            is_read: true,
            item: None,
        };
        let output =
            json!({"content": "x", "next": {"offset": 1048576}, "warnings": ["a \u{1b} b"]});
        assert_eq!(
            form.notes(&output),
            [
                "warning: a \\u{1b} b",
                "there is more: plexus obsidian.vault.read 'path=My Note.md' offset=1048576"
            ]
        );
        let blind = Form {
            printing: &printing,
            call: None,
            is_read: false,
            item: Some("pend_1"),
        };
        assert_eq!(blind.whole().unwrap(), "plexus wait pend_1 --full");
        assert_eq!(
            form.whole().unwrap(),
            "plexus obsidian.vault.read 'path=My Note.md' offset=5 --full"
        );
        assert_eq!(
            blind.notes(&output)[1],
            "there is more: the same call with {\"offset\":1048576}"
        );
        assert!(form.notes(&json!({"content": "x"})).is_empty());
        let mut note = json!({"content": "x", "relativePath": "a/N.md", "alsoFits": ["b/N.md"], "digest": "sha256:1"});
        let beside = ["note: a/N.md; also b/N.md", "digest: sha256:1"];
        assert_eq!(form.beside(&note), beside);
        note["relativePath"] = "My Note.md".into();
        assert_eq!(form.beside(&note), beside[1..], "the path that was asked");
        note["content"] = json!([]);
        assert!(form.beside(&note).is_empty(), "all of it is printed");
    }

    #[test]
    fn next_that_is_a_text_is_one_command_away() {
        let id: CapabilityId = "caldav.events.list".parse().unwrap();
        let Value::Object(input) = json!({"start": "2026-11-22", "limit": 2, "next": "1 a"}) else {
            panic!("an object")
        };
        let printing = Printing::default();
        let takes = Takes {
            next: true,
            ..Takes::default()
        };
        let form = |takes| Form {
            printing: &printing,
            call: Some((&id, &input, takes)),
            is_read: true,
            item: None,
        };
        let output = json!({"events": [], "next": "2 it's/b.ics"});
        let [more] = &form(takes).notes(&output)[..] else {
            panic!("one note")
        };
        let command = more.strip_prefix("there is more: plexus ").unwrap();
        let words: Vec<_> = command.split(' ').collect();
        assert_eq!(words[0], "caldav.events.list");
        assert!(
            words.contains(&"start=2026-11-22") && words.contains(&"limit=2"),
            "{more}"
        );
        let next = shell::quote("next=2 it's/b.ics");
        assert!(more.contains(&*next), "{more}");
        // A text of this name that the call does not take is only a text.
        assert!(form(Takes::default()).notes(&output).is_empty());
    }

    #[test]
    fn cut_answer_of_an_effect_repeats_no_call() {
        let id: CapabilityId = "codex.run".parse().unwrap();
        let Value::Object(input) = json!({"prompt": "go"}) else {
            panic!("an object")
        };
        let long = json!({"id": id, "ok": true, "output": {"content": "x".repeat(2 * MOST)}});
        let raw = RawValue::from_string(long.to_string()).unwrap();
        let answer = Answer::of_raw(200, raw).unwrap();
        let printing = Printing::default();
        // The command for the rest, as text and in JSON.
        let next = |is_read, item| {
            let form = Form {
                printing: &printing,
                call: Some((&id, &input, Takes::default())),
                is_read,
                item,
            };
            let json = form.shortened(&answer).unwrap()["cut"]["next"].clone();
            assert_eq!(json.as_str(), form.whole().as_deref());
            form.whole()
        };
        let waits = next(false, Some("run_1")).unwrap();
        assert_eq!(waits, "plexus wait run_1 --full");
        assert_eq!(next(false, None), None);
        assert_eq!(
            next(true, None).unwrap(),
            "plexus codex.run prompt=go --full"
        );
    }
}
