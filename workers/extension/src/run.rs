//! One run of a command, from its start to its end.
//!
//! Invariants: no more than the declared output is held; a run that is cancelled, late or too long is ended, with all that
//! descends from it, before its failure is answered.

use crate::{
    Command, Extension,
    exchange::{self, Failure, NoAnswer},
};
use plexus_ipc::{
    manifest::ARGUMENTS,
    worker::{
        CallContext, Role, SourceError,
        children::{Child, Ending, LastWords},
    },
};
use plexus_protocol::Effect;
use serde_json::{Value, json as object};
use std::{
    io,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

/// How long a run that broke off may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How many of its last lines of standard error a failure names, and of how many bytes: a message that is cut loses its end.
const LINES: usize = 5;
const WORDS: usize = 800;

/// Why a run has no answer.
enum Stopped {
    Late,
    Cancelled,
    TooLong,
    Pipe(io::Error),
    /// Of an exchange: it said what is no line.
    NotALine(String),
}

impl From<NoAnswer> for Stopped {
    fn from(why: NoAnswer) -> Self {
        match why {
            NoAnswer::TooLong => Self::TooLong,
            NoAnswer::Ended(error) => Self::Pipe(error),
            NoAnswer::NotALine(why) => Self::NotALine(why),
        }
    }
}

impl Extension {
    pub(crate) async fn run(
        &self,
        command: &Command,
        line: &[String],
        input: &Value,
        call: &CallContext,
    ) -> Result<Value, SourceError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let _slot = slot.map_err(|_| SourceError::internal("no slot"))?;
        let run = format!("call-{}", self.next_run.fetch_add(1, Ordering::Relaxed));
        let arguments: String = line
            .iter()
            .map(|argument| format!("{argument}\0"))
            .collect();
        let child = &command.line.child;
        let arguments = [(ARGUMENTS, arguments.as_str())];
        let children = self.children.as_ref();
        let children = children.ok_or_else(|| unavailable(command, "it has no keeper"))?;
        let started = children.start(child, &run, &arguments, &[]).await;
        let mut child = started.map_err(|error| unavailable(command, &error.to_string()))?;
        // From here on it may have done something.
        let unknown = match self.role {
            Role::Reader => Effect::None,
            Role::Writer => Effect::Unknown,
        };
        let last_words = LastWords::default();
        let limit = u64::from(command.line.output_bytes);
        let limit_of_time = call
            .remaining()
            .min(Duration::from_millis(command.line.timeout_ms.into()));
        if command.line.exchange {
            let answer = converse(&mut child, command, input, call, &last_words);
            let answer = tokio::select! {
                answer = timeout(limit_of_time, answer) => answer.unwrap_or(Err(Stopped::Late)),
                () = call.cancelled() => Err(Stopped::Cancelled),
            };
            // It stays for one call alone.
            child.end();
            let ended = child.wait().await;
            let answer = answer.map_err(|why| stopped(command, why, unknown, &last_words))?;
            let output = answer.map_err(|failure| failure.told(&command.name, unknown))?;
            ended.map_err(|error| gone(command, &error).effect(unknown))?;
            return Ok(output);
        }
        let stdin = command.stdin(input).as_bytes();
        // It may close its output and go on: its end counts too.
        let whole = async {
            let output = serve(&mut child, stdin, limit, &last_words).await?;
            Ok((output, child.wait().await))
        };
        let whole = tokio::select! {
            whole = timeout(limit_of_time, whole) => whole.unwrap_or(Err(Stopped::Late)),
            () = call.cancelled() => Err(Stopped::Cancelled),
        };
        let (served, ended) = match whole {
            Ok((output, ended)) => (Ok(output), ended),
            Err(why) => {
                child.end();
                (Err(why), child.wait().await)
            }
        };
        let output = served.map_err(|why| stopped(command, why, unknown, &last_words))?;
        let (ending, _) = ended.map_err(|error| gone(command, &error).effect(unknown))?;
        let ran = match self.role {
            Role::Reader => Effect::None,
            Role::Writer => Effect::Done,
        };
        let words = said(&last_words);
        let failed = |what: String| SourceError::transport("command_failed", what);
        let name = &command.name;
        let status = match ending {
            Ending::Exited(status) => status,
            Ending::Signaled(signal) => {
                let what = format!("{name} was ended by signal {signal}{words}");
                return Err(failed(what).effect(unknown));
            }
            Ending::TooMuchMemory
            | Ending::TooManyProcesses
            | Ending::TooManyThreads
            | Ending::TooMuchDisk
            | Ending::DiskFull => {
                let what = format!(
                    "{name} used more memory, processes or threads than it may, and was ended"
                );
                return Err(failed(what).effect(unknown));
            }
        };
        let is_answer = u8::try_from(status).is_ok_and(|s| command.line.exit_statuses.contains(&s));
        if !is_answer {
            let what = format!("{name} ran and exited with status {status}{words}");
            return Err(failed(what).effect(ran));
        }
        let unreadable = |reason: &str, what: &str| {
            SourceError::transport(reason, format!("{name} ran; its output is {what}")).effect(ran)
        };
        if command.line.json {
            // As programs answer that found nothing.
            if output.trim_ascii().is_empty() {
                return Ok(object!({"status": status, "json": null}));
            }
            let read = exchange::repaired(&output);
            let (value, warnings) = read.map_err(|_| unreadable("not_json", "no JSON"))?;
            return Ok(exchange::with(
                object!({"status": status, "json": value}),
                warnings,
            ));
        }
        let text =
            String::from_utf8(output).map_err(|_| unreadable("not_text", "no UTF-8 text"))?;
        Ok(object!({"status": status, "text": text}))
    }
}

/// The end of its standard error as a part of a message. Many programs name the fault first, and then where to read on.
fn said(last_words: &LastWords) -> String {
    let lines = last_words.lines();
    let mut bytes = 0;
    let last = lines.iter().rev().take(LINES).take_while(|line| {
        // The last one is named however long it is.
        let fits = bytes == 0 || bytes + line.len() <= WORDS;
        bytes += line.len();
        fits
    });
    let mut last: Vec<&str> = last.map(|line| line.trim_start()).collect();
    last.reverse();
    match last.is_empty() {
        true => String::new(),
        false => format!(": {}", last.join(" / ")),
    }
}

/// What a run that was stopped means to the caller.
fn stopped(
    command: &Command,
    why: Stopped,
    unknown: Effect,
    last_words: &LastWords,
) -> SourceError {
    let name = &command.name;
    match why {
        Stopped::Cancelled => SourceError::cancelled(unknown),
        Stopped::Late => {
            let what = format!("{name} took longer than it may, and was ended");
            SourceError::transport("timed_out", what).effect(unknown)
        }
        Stopped::Pipe(_) if command.line.exchange => {
            let words = said(last_words);
            let what = format!("{name} ended before it answered{words}");
            SourceError::transport("command_failed", what).effect(unknown)
        }
        Stopped::Pipe(error) => unavailable(command, &error.to_string()).effect(unknown),
        Stopped::TooLong => {
            let limit = command.line.output_bytes;
            let what = format!("{name} said more than {limit} bytes, and was ended");
            SourceError::transport("too_large", what).effect(unknown)
        }
        Stopped::NotALine(why) => {
            let what = format!(
                "{name} said what is no line of JSON with an output, an error or progress: {why}"
            );
            SourceError::transport("not_json", what).effect(unknown)
        }
    }
}

/// Asks a run, which keeps its input until it has answered.
async fn converse(
    child: &mut Child,
    command: &Command,
    input: &Value,
    call: &CallContext,
    last_words: &LastWords,
) -> Result<Result<Value, Failure>, Stopped> {
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut to), Some(from), Some(error)) = pipes else {
        return Err(Stopped::Pipe(io::ErrorKind::BrokenPipe.into()));
    };
    let question = (command.name.as_str(), input);
    let output = command.line.output_bytes;
    let mut asking = pin!(exchange::ask(&mut to, from, question, output, call));
    let mut hearing = pin!(last_words.hear(error));
    let mut heard = false;
    loop {
        tokio::select! {
            answer = &mut asking => {
                if answer.is_err() && !heard {
                    let _ = timeout(LAST_WORDS, hearing).await;
                }
                return Ok(answer?);
            }
            // It may close that pipe alone.
            () = &mut hearing, if !heard => heard = true,
        }
    }
}

/// Gives a run its input, and reads its output to the end.
async fn serve(
    child: &mut Child,
    stdin: &[u8],
    limit: u64,
    last_words: &LastWords,
) -> Result<Vec<u8>, Stopped> {
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut input), Some(output), Some(error)) = pipes else {
        return Err(Stopped::Pipe(io::ErrorKind::BrokenPipe.into()));
    };
    let writes = async move {
        // A program need not read its input.
        let _ = input.write_all(stdin).await;
        Ok(())
    };
    let hears = async {
        last_words.hear(error).await;
        Ok(())
    };
    let reads = async {
        let mut read = Vec::new();
        let length = output.take(limit + 1).read_to_end(&mut read).await;
        match length.map_err(Stopped::Pipe)? as u64 > limit {
            true => Err(Stopped::TooLong),
            false => Ok(read),
        }
    };
    let ((), (), read) = tokio::try_join!(writes, hears, reads)?;
    Ok(read)
}

fn gone(command: &Command, error: &io::Error) -> SourceError {
    unavailable(command, &format!("its keeper is gone: {error}"))
}

fn unavailable(command: &Command, why: &str) -> SourceError {
    SourceError::unavailable(format!("{} cannot be run: {why}", command.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_names_the_last_lines() {
        let long = format!("{}\nlast", "x".repeat(900));
        for (words, told) in [
            ("no option -x\nUse -h.\n", ": no option -x / Use -h."),
            ("1\n2\n\n3\n  4\n5\n6\n", ": 2 / 3 / 4 / 5 / 6"),
            (long.as_str(), ": last"),
            (" \n", ""),
        ] {
            let held = LastWords::default();
            held.keep(words.as_bytes());
            assert_eq!(said(&held), told);
        }
    }
}
