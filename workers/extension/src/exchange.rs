//! One question and its answer in lines of JSON, over any two pipes.
//!
//! ```text
//! {"capability": "find", "input": {…}} ─▶
//!     ◀─ {"progress": "half of it"} …  ◀─ {"output": …} | {"error": {"message": "…", "effect": "none"}}
//! ```
//! Invariants: one question, one answer; no more than the declared output is held; what follows the answer is not read.
//!
//! Must not know: who is at the other end.

use plexus_ipc::worker::{CallContext, SourceError};
use plexus_protocol::{Effect, json};
use serde::Deserialize;
use serde_json::{Value, json as object};
use std::io;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};

/// Levels of what others say: an output adds one.
const MAX_DEPTH: usize = json::MAX_DEPTH - 1;
/// Longest output that is asked for beyond the declared one: the end of its last line.
const LINE_END: u64 = 1;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The other end said more than it may.
    TooLong,
    /// It ended, or broke off, before it answered.
    Ended(io::Error),
    /// It said what is no line of these.
    NotALine(String),
}

/// What the other end says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ExchangeLine {
    Progress(Value),
    Output(Value),
    Error(Failure),
}

/// What it says of its failure.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failure {
    message: String,
    /// What it has done by then, by its own word.
    #[serde(default)]
    effect: Option<Effect>,
}

impl Failure {
    /// For the caller; `unsaid` is what may have been done where it does not say.
    pub(crate) fn told(&self, name: &str, unsaid: Effect) -> SourceError {
        let what = format!("{name} answers: {}", self.message);
        SourceError::transport("refused", what).effect(match unsaid {
            // A read has done nothing, whatever it says.
            Effect::None => Effect::None,
            _ => self.effect.unwrap_or(unsaid),
        })
    }
}

/// What a program is asked.
pub(crate) fn question(capability: &str, input: &Value) -> Value {
    object!({"capability": capability, "input": input})
}

/// What a program or an app said in JSON, as every reader takes it, and what was changed for that.
pub(crate) fn repaired(bytes: &[u8]) -> Result<(Value, Vec<String>), json::NotStrict> {
    let read = json::repaired(bytes, MAX_DEPTH)?;
    // What was written again is JSON that this reader takes.
    let value = serde_json::from_str(&read.text).unwrap_or_default();
    Ok((value, read.changes.sentences("")))
}

/// An output, with what was changed in it.
pub(crate) fn with(mut output: Value, warnings: Vec<String>) -> Value {
    if !warnings.is_empty() {
        output["warnings"] = warnings.into();
    }
    output
}

/// Asks, and hears the other end until it answers: `{"output": …}`.
pub(crate) async fn ask(
    to: &mut (impl AsyncWrite + Unpin),
    from: impl AsyncRead + Unpin,
    (capability, input): (&str, &Value),
    limit: u32,
    call: &CallContext,
) -> Result<Result<Value, Failure>, NoAnswer> {
    let question = format!("{}\n", question(capability, input));
    to.write_all(question.as_bytes())
        .await
        .map_err(NoAnswer::Ended)?;
    to.flush().await.map_err(NoAnswer::Ended)?;
    let limit = u64::from(limit);
    let mut lines = BufReader::new(from.take(limit + LINE_END));
    let (mut line, mut heard) = (Vec::new(), 0);
    loop {
        line.clear();
        let read = lines.read_until(b'\n', &mut line).await;
        heard += read.map_err(NoAnswer::Ended)? as u64;
        if heard > limit {
            return Err(NoAnswer::TooLong);
        }
        if line.last() != Some(&b'\n') {
            return Err(NoAnswer::Ended(io::ErrorKind::UnexpectedEof.into()));
        }
        let said = repaired(&line).map_err(|why| NoAnswer::NotALine(why.to_string()))?;
        let (said, warnings) = said;
        let said = json::read_value(said).map_err(|why| NoAnswer::NotALine(why.to_string()))?;
        match said {
            ExchangeLine::Output(output) => {
                return Ok(Ok(with(object!({"output": output}), warnings)));
            }
            ExchangeLine::Error(failure) => return Ok(Err(failure)),
            ExchangeLine::Progress(Value::String(mut text)) => {
                // Each is a line of its own, also to a follower that joins the pieces.
                if !text.ends_with('\n') {
                    text.push('\n');
                }
                call.progress(text).await;
            }
            // One that is too large is lost; its answer is not.
            ExchangeLine::Progress(event) => drop(call.progress_event(&event).await),
        }
    }
}
