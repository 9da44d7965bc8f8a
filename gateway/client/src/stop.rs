//! Why a command stopped: the three answers that every refusal gives (docs/design.md#the-life-of-a-call), and the exit
//! status.

use crate::{Exit, http::Failure, text};
use plexus_protocol::{
    Effect, ErrorCode, NextAction,
    error::{NOTHING_DONE, SET_ALONE, left_set, system_words},
};
use serde::Deserialize as _;
use serde_json::Value;
use std::{fmt, io, path::Path};

/// Whether anything was done, as far as this side can tell.
pub type Done = Effect;

/// The end of a command that did not do what was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    /// For the program that started the command.
    pub exit: Exit,
    /// A word to branch on: the wire's code, or one of ours for what never reached the gateway.
    pub code: String,
    /// A source's own word for why it failed: a person reads it instead of the code.
    pub reason: Option<Box<str>>,
    /// First answer: was anything done.
    pub done: Done,
    /// Whether it left a change set, which `why` names, where nothing else was done.
    pub left_set: bool,
    /// Second answer: why not.
    pub why: String,
    /// Third answer: what to do next; empty where there is nothing to say.
    pub next: String,
    /// The same as data, where the gateway said so.
    pub action: Option<Box<NextAction>>,
    /// The pending item or run that goes on without this command.
    pub item: Option<Box<str>>,
}

impl Stop {
    /// Nothing was done, because of `why`.
    pub fn new(exit: Exit, code: &str, why: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            reason: None,
            done: Done::None,
            left_set: false,
            why: system_words(&why.into()),
            next: String::new(),
            action: None,
            item: None,
        }
    }

    /// The command line or an input is not of its form.
    pub fn usage(why: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", why).next("`--help` after the command says how it is typed")
    }

    /// The parser of a command line refuses it: `told` is all that it says, and `usage` the part about how the command is typed.
    #[must_use]
    pub fn command_line(told: &str, usage: Option<&str>) -> Self {
        // A typed word is quoted in it and may look like any part of it: the parser's own end is the last one.
        let end = usage.unwrap_or("For more information, try ");
        let error = told.rsplit_once(end).map_or(told, |(error, _)| error);
        let error = error.strip_prefix("error: ").unwrap_or(error);
        let error = error
            .replace("\n\n  tip: ", "; ")
            .replace("\n  tip: ", "; ");
        let words: Vec<_> = error.split_whitespace().collect();
        let stop = Self::usage(words.join(" "));
        let usage = usage.and_then(|usage| usage.strip_prefix("Usage: "));
        match usage {
            Some(usage) => {
                let ways: Vec<_> = usage.lines().map(str::trim).collect();
                stop.next(format!("it is typed so: {}", ways.join(", or: ")))
            }
            None => stop,
        }
    }

    /// A file or folder that the command line names cannot be used as it is.
    #[must_use]
    pub fn path(path: &Path, error: &io::Error) -> Self {
        let shown = text::line(&path.display().to_string());
        let next = match error.kind() {
            io::ErrorKind::NotFound => format!("name one that exists: {shown} does not"),
            io::ErrorKind::AlreadyExists => format!("choose another name, or remove {shown}"),
            io::ErrorKind::PermissionDenied => "name one that you may use".to_owned(),
            _ => "name another".to_owned(),
        };
        Self::usage(format!("{shown}: {error}")).next(next)
    }

    /// The same of a file that was to be made there.
    #[must_use]
    pub fn new_file(path: &Path, error: &io::Error) -> Self {
        let folder = path
            .parent()
            .filter(|_| error.kind() == io::ErrorKind::NotFound);
        let named = match folder {
            // A bare name is one in the working directory.
            Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
            folder => folder.unwrap_or(path),
        };
        Self::path(named, error)
    }

    /// A file that the command line names holds what cannot be read: `why`, with the line where that is known.
    #[must_use]
    pub fn content(path: &Path, why: &str) -> Self {
        let shown = text::line(&path.display().to_string());
        let at = why.rsplit_once(" at line ").map(|(_, at)| at);
        let line = at.and_then(|at| at.split(' ').next());
        let next = match line {
            // The parser meets a comma's absence on the next line.
            Some(line) if why.starts_with("expected `,`") => {
                format!("correct line {line} of {shown}, or the end of the line before it")
            }
            Some(line) => format!("correct line {line} of {shown}"),
            None => format!("correct {shown}, or name another file"),
        };
        Self::usage(format!("{shown}: {why}")).next(next)
    }

    /// Says what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self.action = None;
        self
    }

    /// Says what is known of whether anything was done.
    #[must_use]
    pub fn done(mut self, done: Done) -> Self {
        self.done = done;
        self
    }

    /// Names what goes on without this command.
    #[must_use]
    pub fn item(mut self, id: impl Into<String>) -> Self {
        self.item = Some(id.into().into_boxed_str());
        self
    }

    /// Reads the error object of a reply (docs/protocol/errors.md) that came with HTTP `status`. A reply without one is
    /// described.
    #[must_use]
    pub fn of_reply(status: u16, body: &Value) -> Self {
        let error = body.get("error").unwrap_or(&Value::Null);
        let said = |key: &str| {
            let text = error.get(key).and_then(Value::as_str);
            text.filter(|t| !t.is_empty()).map(str::to_owned)
        };
        let code = said("code").unwrap_or_else(|| format!("http_{status}"));
        let reason = error.pointer("/detail/reason").and_then(Value::as_str);
        let why = said("message")
            // Result objects put their sentence in `reason` beside `ok: false` (docs/protocol/errors.md).
            .or_else(|| {
                body.get("reason")
                    .and_then(Value::as_str)
                    .map(str::to_owned)
            })
            .unwrap_or_else(|| format!("the gateway answered {status} without saying why"));
        let done = match error.get("effect").filter(|effect| effect.is_string()) {
            Some(effect) => Done::deserialize(effect).unwrap_or(Done::Unknown),
            // An older gateway does not say: what it refuses before dispatch it refuses with 4xx or 503.
            None if (400..500).contains(&status) || status == 503 => Done::None,
            None => Done::Unknown,
        };
        Self {
            exit: exit_of(&code),
            reason: reason
                .filter(|_| code == ErrorCode::TransportError.as_str())
                .map(Into::into),
            code,
            done,
            left_set: left_set(error.get("detail")).is_some(),
            why,
            next: said("next").unwrap_or_default(),
            action: serde_json::from_value(error["nextAction"].clone()).ok(),
            item: said("pendingId").map(String::into_boxed_str),
        }
    }
}

/// The exit status of a refusal by its code. "Refused" is what the owner decided or did not allow; a call that failed,
/// or could not be tried now, is "failed".
fn exit_of(code: &str) -> Exit {
    let known = ErrorCode::ALL.iter().find(|c| c.as_str() == code);
    match known {
        Some(ErrorCode::ApprovalRequired | ErrorCode::GrantPendingUser) => Exit::Waiting,
        Some(
            ErrorCode::DeniedByOwner
            | ErrorCode::GrantRequired
            | ErrorCode::CapabilityUnexposed
            | ErrorCode::StandingNotAllowed
            | ErrorCode::CardChanged
            | ErrorCode::InputRequired
            | ErrorCode::PlanFailed
            | ErrorCode::Unauthorized
            | ErrorCode::HostForbidden
            | ErrorCode::Paused,
        ) => Exit::Refused,
        _ => Exit::Failed,
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        let (exit, code, done) = match &failure {
            Failure::Unreachable { .. } => (Exit::Unreachable, "unreachable", Done::None),
            Failure::Foreign(_) => (Exit::Unreachable, "not_a_gateway", Done::Unknown),
            Failure::Lost(_) => (Exit::Failed, "connection_lost", Done::Unknown),
            Failure::TimedOut { .. } => (Exit::Failed, "no_answer", Done::Unknown),
            Failure::TooLarge { .. } => (Exit::Failed, "reply_too_large", Done::Unknown),
        };
        Self {
            exit,
            code: code.to_owned(),
            reason: None,
            done,
            left_set: false,
            why: failure.to_string(),
            next: String::new(),
            action: None,
            item: None,
        }
    }
}

impl fmt::Display for Stop {
    /// One line for each answer; every text is escaped, because most of it is somebody else's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = match self.done {
            Done::None if self.exit == Exit::Waiting && self.item.is_some() => {
                "nothing so far; it still may be"
            }
            Done::None if self.left_set => SET_ALONE,
            Done::None => NOTHING_DONE,
            Done::Partial => "a part of it was done; look before you repeat it",
            // Its source did it, and failed at it or after it.
            Done::Done if self.code == ErrorCode::TransportError.as_str() => {
                "it ran; look before you repeat it"
            }
            Done::Done => "it was done",
            Done::Unknown => "not known; look before you repeat it",
        };
        let word = self.reason.as_deref().unwrap_or(&self.code);
        writeln!(f, "stopped: {}", text::line(word))?;
        writeln!(f, "done: {done}")?;
        write!(f, "why: {}", text::line(&self.why))?;
        if !self.next.is_empty() {
            write!(f, "\nnext: {}", text::line(&self.next))?;
        }
        Ok(())
    }
}

impl std::error::Error for Stop {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn file_that_cannot_be_used_says_what_to_name() {
        let path = Path::new("box.json");
        let next = |kind: io::ErrorKind| Stop::path(path, &kind.into()).next;
        assert!(next(io::ErrorKind::NotFound).starts_with("name one that exists"));
        let taken = next(io::ErrorKind::AlreadyExists);
        assert_eq!(taken, "choose another name, or remove box.json");
        for (file, folder) in [("box.json", "."), ("away/box.json", "away")] {
            let stop = Stop::new_file(Path::new(file), &io::ErrorKind::NotFound.into());
            assert_eq!(
                stop.next,
                format!("name one that exists: {folder} does not")
            );
        }
        let line = Stop::content(path, "expected `,` or `}` at line 4 column 9");
        assert_eq!(
            line.next,
            "correct line 4 of box.json, or the end of the line before it"
        );
        assert_eq!(line.exit, Exit::Usage);
        let twice = Stop::content(path, "the key \"label\" twice at line 5 column 9");
        assert_eq!(twice.next, "correct line 5 of box.json");
        let whole = Stop::content(path, "it has more than 1 MiB");
        assert_eq!(whole.next, "correct box.json, or name another file");
    }

    #[test]
    fn parser_of_a_line_answers_three_questions() {
        let usage = "Usage: plexus call [OPTIONS] <CAPABILITY>\n       plexus call <COMMAND>";
        let told = format!(
            "error: unexpected argument '--wiat' found\n\n  tip: to pass it as a value, use '--'\n  tip: '--wait' exists\n\n\
             {usage}\n\nFor more information, try '--help'.\n"
        );
        assert_eq!(
            Stop::command_line(&told, Some(usage)).to_string(),
            "stopped: usage\ndone: nothing was done\n\
             why: unexpected argument '--wiat' found; to pass it as a value, use '--'; '--wait' exists\n\
             next: it is typed so: plexus call [OPTIONS] <CAPABILITY>, or: plexus call <COMMAND>"
        );
        let several = "error: the following required arguments were not provided:\n  <A>\n  <B>\n\n\
                       For more information, try '--help'.\n";
        let stop = Stop::command_line(several, None);
        assert_eq!(
            stop.why,
            "the following required arguments were not provided: <A> <B>"
        );
        assert_eq!(stop.next, Stop::usage("").next);
    }

    #[test]
    fn typed_paragraphs_are_no_words_of_the_parser() {
        let told = "error: invalid value 'a\n\nUsage: sh evil\n\nerror: b' for '--wait <SECONDS>': no number\n\n\
                    For more information, try '--help'.\n";
        let stop = Stop::command_line(told, None);
        let why = "invalid value 'a Usage: sh evil error: b' for '--wait <SECONDS>': no number";
        assert_eq!((&*stop.why, &stop.next), (why, &Stop::usage("").next));
    }

    #[test]
    fn a_refusal_answers_three_questions() {
        let stop = Stop::of_reply(
            403,
            &json!({"error": {"code": "denied_by_owner", "message": "not \u{1b}[31mnow",
                "effect": "none", "next": "stop; tell the owner: it was denied"}}),
        );
        assert_eq!(stop.exit, Exit::Refused);
        assert_eq!(
            stop.to_string(),
            "stopped: denied_by_owner\ndone: nothing was done\nwhy: not \\u{1b}[31mnow\n\
             next: stop; tell the owner: it was denied"
        );
    }

    #[test]
    fn what_is_not_said_is_not_taken_for_granted() {
        let silent = |status| Stop::of_reply(status, &json!({})).done;
        assert_eq!(silent(404), Done::None);
        assert_eq!(silent(503), Done::None);
        assert_eq!(silent(200), Done::Unknown);
        assert_eq!(silent(500), Done::Unknown);
        let odd = json!({"error": {"code": "new_code", "effect": "perhaps"}});
        let odd = Stop::of_reply(409, &odd);
        assert_eq!((odd.done, odd.exit), (Done::Unknown, Exit::Failed));
        let part = json!({"error": {"code": "persist_failed", "effect": "partial"}});
        assert_eq!(Stop::of_reply(500, &part).done, Done::Partial);
        let word = |code: &str| {
            let detail = json!({"reason": "not_found"});
            let stop = Stop::of_reply(200, &json!({"error": {"code": code, "detail": detail}}));
            let said = stop.to_string();
            (said.lines().next().unwrap().to_owned(), stop.code)
        };
        let (said, code) = word("transport_error");
        assert_eq!((&*said, &*code), ("stopped: not_found", "transport_error"));
        assert_eq!(word("rate_limited").0, "stopped: rate_limited");
        // A run on a copy that left a change set did something; whatever is no id of one says nothing.
        for (detail, words) in [
            (json!({"changes": "cs_1"}), SET_ALONE),
            (json!({"changes": "all"}), NOTHING_DONE),
            (
                json!({"changes": format!("cs_{}", "1".repeat(62))}),
                NOTHING_DONE,
            ),
            (json!(null), NOTHING_DONE),
        ] {
            let failed =
                json!({"error": {"code": "cancelled", "effect": "none", "detail": detail}});
            let said = Stop::of_reply(200, &failed).to_string();
            assert!(said.contains(&format!("done: {words}\n")), "{said}");
        }
        let ran = |code: &str| {
            let failed = json!({"error": {"code": code, "effect": "done", "message": "says that it failed"}});
            Stop::of_reply(200, &failed).to_string()
        };
        let words = "done: it ran; look before you repeat it\nwhy: says that it failed";
        assert!(ran("transport_error").contains(words));
        assert!(ran("expired").contains("done: it was done\n"));
        let reason = json!({"ok": false, "reason": "no such path"});
        assert_eq!(Stop::of_reply(422, &reason).why, "no such path");
    }
}
