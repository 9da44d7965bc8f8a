//! `plexus mcp`: an MCP server on stdin and stdout.
//!
//! ```text
//! stdin ─thread─▶ lines ─▶ ┌──────┐ ─▶ stdout
//!                          │ core │ ─▶ one task for each call ─▶ gateway
//! gateway's events ─task─▶ └──────┘ ◀───────┘
//! ```
//! The core (`plexus-mcp`) decides what is said; this module carries it.
//!
//! Invariants: it ends at the end of stdin and not before, whatever the gateway does; nothing but messages goes to
//! stdout; one that does not read its messages holds up itself alone; a call that its client gave up is not repeated.
//!
//! Must not know: what a message means.

mod kept;
mod work;

use crate::{cli::Mcp, credential, gateway::Route, session::Session, settings::Settings};
use plexus_client::{Exit, Request, Stop, events::Events, out, span};
use plexus_mcp::{
    Action, Answer, CallNews, CallNumber, Item, Moment, NameLength, Refusal, Server, View,
    message::{id_of_long, too_long},
};
use plexus_protocol::{MAX_BODY, NextAction, NextKind};
use serde_json::Value;
use std::{
    collections::HashMap,
    io::{BufRead, Read, Write},
    rc::Rc,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, LocalSet},
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use work::Pool;

/// Messages that are read ahead.
const AHEAD: usize = 16;
/// How long the first word of the gateway is waited for: a client that starts this one waits a second.
const FIRST_WORD: Duration = Duration::from_millis(400);
/// The same where a list was kept (decision 0099): a gateway that runs has mostly answered by then.
const FIRST_WORD_KEPT: Duration = Duration::from_millis(35);
/// The pause before connecting again.
const RECONNECT: Duration = Duration::from_secs(1);
/// The longest pause where the gateway refuses: each refusal of a credential is on record.
const MAX_RECONNECT: Duration = Duration::from_secs(60);

/// The longest that a list counts: its stream of events ends by then (docs/protocol/events.md).
const MAX_TTL: Duration = Duration::from_secs(3_600);

/// What to do where no gateway answers.
const START: &str = "stop; tell the owner: start plexusd";

/// What stdin holds.
enum Line {
    Message(Vec<u8>),
    /// One of so many bytes that it is passed over; the id of its request.
    TooLong(Value),
}

/// What the gateway says.
enum News {
    Answered(CallNumber, Answer),
    /// What is heard of an item that is followed.
    Heard(CallNumber, CallNews),
    /// What this agent may see now.
    View(View),
    /// Why it cannot be seen.
    Away(Stop),
}

/// Serves until stdin ends.
pub(crate) async fn run(settings: Result<Settings, Stop>, mcp: &Mcp) -> Result<Exit, Stop> {
    let names = NameLength::beside(&mcp.prefix);
    LocalSet::new().run_until(serve(settings, names)).await
}

async fn serve(settings: Result<Settings, Stop>, names: NameLength) -> Result<Exit, Stop> {
    let (tell, mut news) = mpsc::channel(AHEAD);
    let mut lines = lines();
    let (settings, view) = match settings {
        Ok(settings) => {
            let view = first_view(&settings, names);
            (Some(Rc::new(settings)), view)
        }
        Err(stop) => (None, View::without_manifest(refusal(stop))),
    };
    let mut host = Host {
        server: Server::new(env!("CARGO_PKG_VERSION"), view),
        pool: settings
            .as_ref()
            .map(|settings| Rc::new(Pool::new(settings, names))),
        tell: tell.clone(),
        tasks: HashMap::new(),
        began: Instant::now(),
    };
    if let Some(pool) = &host.pool {
        tokio::task::spawn_local(watch(Rc::clone(pool), tell));
        let first_word = match host.server.has_tools() {
            true => FIRST_WORD_KEPT,
            false => FIRST_WORD,
        };
        if let Ok(Some(first)) = timeout(first_word, news.recv()).await {
            host.hear(first)?;
        }
    }
    loop {
        let due = host.server.next_tick().map(|due| host.began + due);
        tokio::select! {
            biased;
            Some(said) = news.recv() => host.hear(said)?,
            line = lines.recv() => match line {
                Some(Line::Message(bytes)) => {
                    let now = host.now();
                    let actions = host.server.read(&bytes, now);
                    host.act(actions)?;
                }
                Some(Line::TooLong(id)) => {
                    let error = too_long(&id, MAX_BODY);
                    host.act(vec![Action::Send(error.line())])?;
                }
                None => return Ok(Exit::Ok),
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let now = host.now();
                let actions = host.server.tick(now);
                host.act(actions)?;
            }
        }
    }
}

/// What can be shown before the gateway has said anything.
fn first_view(settings: &Settings, names: NameLength) -> View {
    match credential::load(settings) {
        Ok((agent, _)) => kept::read(settings, agent.as_ref(), names).unwrap_or_else(|| {
            let stop = Stop::new(
                Exit::Unreachable,
                "unreachable",
                "the gateway has not answered yet.",
            );
            View::without_manifest(refusal(stop))
        }),
        Err(stop) => View::without_manifest(refusal(stop)),
    }
}

/// Carries actions out and answers back.
struct Host {
    server: Server,
    /// None where the command line or the environment is wrong: then nothing can be asked.
    pool: Option<Rc<Pool>>,
    tell: mpsc::Sender<News>,
    tasks: HashMap<CallNumber, AbortHandle>,
    began: Instant,
}

impl Host {
    fn now(&self) -> Moment {
        Moment {
            elapsed: self.began.elapsed(),
            wall: span::now(),
        }
    }

    fn hear(&mut self, news: News) -> Result<(), Stop> {
        let actions = match news {
            News::Answered(number, answer) => {
                self.tasks.remove(&number);
                let now = self.now();
                self.server.answered(number, answer, now)
            }
            News::Heard(number, heard) => {
                self.server.hear(number, heard);
                Vec::new()
            }
            News::View(view) => self.server.show(view),
            // A list that is known stays while the credential does: the gateway comes back, and a pause ends.
            News::Away(stop) if !is_let_in_no_more(&stop) && self.server.has_tools() => Vec::new(),
            News::Away(stop) => self.server.show(View::without_manifest(refusal(stop))),
        };
        self.act(actions)
    }

    fn act(&mut self, actions: Vec<Action>) -> Result<(), Stop> {
        for action in actions {
            let Some(pool) = self.pool.clone() else {
                // Without settings there is no tool that asks for more than messages.
                if let Action::Send(message) = action {
                    send(&message)?;
                }
                continue;
            };
            match action {
                Action::Send(message) => send(&message)?,
                Action::Call(number, call) => {
                    self.begin(number, async move { work::call(&pool, call).await });
                }
                Action::Continue(number, message) => {
                    self.begin(number, async move { work::say(&pool, message).await });
                }
                Action::Follow(number, item) => {
                    let tell = self.tell.clone();
                    let tell = async move |heard| {
                        // Nobody hears it where the command is ending.
                        let _ = tell.send(News::Heard(number, heard)).await;
                    };
                    self.begin(number, async move { work::follow(&pool, item, tell).await });
                }
                Action::Look(number, item) => {
                    self.begin(number, async move { work::look(&pool, item).await });
                }
                Action::Cancel(number, item) => {
                    self.begin(number, async move { work::cancel(&pool, item).await });
                }
                Action::List(number) => {
                    self.begin(number, async move { work::list(&pool).await });
                }
                Action::Refresh(number) => {
                    self.begin(number, async move { work::refresh(&pool).await });
                }
                Action::Drop(number) => {
                    if let Some(task) = self.tasks.remove(&number) {
                        task.abort();
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts work whose answer is told; earlier work of the same number ends.
    fn begin(&mut self, number: CallNumber, work: impl Future<Output = Answer> + 'static) {
        let tell = self.tell.clone();
        let task = tokio::task::spawn_local(async move {
            let answer = work.await;
            // Nobody hears it where the command is ending.
            let _ = tell.send(News::Answered(number, answer)).await;
        });
        if let Some(earlier) = self.tasks.insert(number, task.abort_handle()) {
            earlier.abort();
        }
    }
}

/// Writes one message.
fn send(message: &str) -> Result<(), Stop> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout
        .write_all(message.as_bytes())
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush());
    out::settle(written)
}

/// Reads stdin on a thread of its own: the runtime has no other way to wait for a pipe or a terminal.
fn lines() -> mpsc::Receiver<Line> {
    let (tell, lines) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        while let Ok(Some(line)) = read_line(&mut stdin) {
            let blank = matches!(&line, Line::Message(bytes) if bytes.trim_ascii().is_empty());
            if !blank && tell.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn read_line(stdin: &mut impl BufRead) -> std::io::Result<Option<Line>> {
    let mut bytes = Vec::new();
    let most = MAX_BODY as u64 + 1;
    stdin.take(most).read_until(b'\n', &mut bytes)?;
    if bytes.last() == Some(&b'\n') || bytes.len() <= MAX_BODY {
        return Ok((!bytes.is_empty()).then_some(Line::Message(bytes)));
    }
    let mut rest = RestOfLine {
        stdin,
        ended: false,
    };
    let id = id_of_long(bytes.as_slice().chain(&mut rest));
    std::io::copy(&mut rest, &mut std::io::sink())?;
    Ok(Some(Line::TooLong(id)))
}

/// The rest of a line, which is read and not kept.
struct RestOfLine<'a, R> {
    stdin: &'a mut R,
    ended: bool,
}

impl<R: BufRead> Read for RestOfLine<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.ended || into.is_empty() {
            return Ok(0);
        }
        let part = self.stdin.fill_buf()?;
        let part = part.get(..into.len()).unwrap_or(part);
        let mut line = part.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let at_end = line.len() < part.len();
        self.ended = at_end || part.is_empty();
        let length = line.read(into)?;
        self.stdin.consume(length + usize::from(at_end));
        Ok(length)
    }
}

/// Tells what this agent may see, now and whenever it changes, for ever.
async fn watch(pool: Rc<Pool>, tell: mpsc::Sender<News>) {
    let mut known = String::new();
    let mut pause = RECONNECT;
    loop {
        match listen(&pool, &tell, &mut known).await {
            Ok(()) => pause = RECONNECT,
            Err(stop) => {
                // Neither costs the gateway anything.
                let free = matches!(
                    stop.exit,
                    Exit::Unreachable | Exit::NotEnrolled | Exit::Usage
                );
                pause = if free {
                    RECONNECT
                } else {
                    (pause * 2).min(MAX_RECONNECT)
                };
                if tell.send(News::Away(stop)).await.is_err() {
                    return;
                }
            }
        }
        sleep(pause).await;
    }
}

/// Whether the gateway takes this agent's credential no more, or there is none.
fn is_let_in_no_more(stop: &Stop) -> bool {
    stop.exit == Exit::NotEnrolled || stop.code == "session_expired"
}

/// Follows one stream of events to its end. `known` is what was kept last.
async fn listen(pool: &Pool, tell: &mpsc::Sender<News>, known: &mut String) -> Result<(), Stop> {
    let mut session = Session::open(&pool.settings).await?;
    let path = session.gateway.path(Route::Events);
    let mut events = Events::of(session.stream(path).await?);
    // What changes from here on is told by the stream.
    loop {
        let view = manifest(pool).await?;
        let due = Instant::now() + view.ttl().clamp(RECONNECT, MAX_TTL);
        let kept = view.kept();
        if kept != *known {
            kept::write(&pool.settings, session.agent.as_ref(), &kept);
            *known = kept;
        }
        if tell.send(News::View(view)).await.is_err() {
            return Ok(());
        }
        loop {
            let Ok(event) = timeout_at(due, events.next()).await else {
                break;
            };
            match event? {
                None => return Ok(()),
                Some(event) if matches!(event.kind.as_str(), "manifest_changed" | "missed") => {
                    break;
                }
                Some(_) => {}
            }
        }
    }
}

async fn manifest(pool: &Pool) -> Result<View, Stop> {
    let mut session = pool.take().await?;
    let path = session.gateway.path(Route::Manifest);
    let reply = session.send(Request::get(path)).await?;
    if !reply.is_success() {
        return Err(crate::session::refusal(&reply));
    }
    let view = View::named(&reply.body, pool.names)
        .map_err(|why| plexus_client::Failure::Foreign(why.to_string()))?;
    pool.give_back(session);
    Ok(view)
}

/// A stop in the words of the core.
fn refusal(mut stop: Stop) -> Refusal {
    let code = match stop.exit {
        Exit::Unreachable => "unreachable".to_owned(),
        _ => stop.code,
    };
    match stop.exit {
        Exit::Unreachable if stop.next.is_empty() => stop.next = START.to_owned(),
        // It is about the command line, which stands in the settings of the client.
        Exit::Unreachable | Exit::Usage
            if stop.item.is_none() && !stop.next.starts_with("stop; ") =>
        {
            stop.next = format!(
                "stop; tell the owner: start this server otherwise ({})",
                stop.next
            );
        }
        _ => {}
    }
    Refusal {
        code,
        effect: stop.done,
        message: stop.why,
        next: stop.next,
        action: match stop.action {
            Some(action) => Some(*action),
            None => stop.item.as_deref().and_then(waits_for),
        },
    }
}

/// What to do about an item or a run that goes on.
fn waits_for(item: &str) -> Option<NextAction> {
    let waits = NextAction::new(NextKind::Wait);
    let (pending_id, run_id) = match item.parse().ok()? {
        Item::Pending(id) => (Some(id), None),
        Item::Run(id) => (None, Some(id)),
    };
    Some(NextAction {
        pending_id,
        run_id,
        ..waits
    })
}

/// An InvokeResponse that the gateway sent.
fn replied(answer: &crate::output::Answer) -> Answer {
    Answer::Replied(serde_json::from_str(answer.raw()).unwrap_or(Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<Option<usize>> {
        let mut text = text;
        std::iter::from_fn(|| read_line(&mut text).unwrap())
            .map(|line| match line {
                Line::Message(bytes) => Some(bytes.len()),
                Line::TooLong(_) => None,
            })
            .collect()
    }

    #[test]
    fn words_to_type_otherwise_are_the_owners() {
        let flags = Stop::usage("flags").next("run it again without them");
        let address = Stop::new(Exit::Unreachable, "unreachable", "why").next("give --url");
        for (stop, says) in [
            (flags, "run it again without them"),
            (address, "give --url"),
        ] {
            let next = format!("stop; tell the owner: start this server otherwise ({says})");
            assert_eq!(refusal(stop).next, next);
        }
        let away = Stop::new(Exit::Unreachable, "unreachable", "why");
        assert_eq!(refusal(away).next, START);
        let waits = Stop::new(Exit::Unreachable, "unreachable", "why").next("as it was");
        assert_eq!(refusal(waits.item("run_1")).next, "as it was");
    }

    #[test]
    fn too_long_line_is_passed_over() {
        let mut text = vec![b'x'; MAX_BODY + 5];
        text.extend(b"\n{}\nend");
        assert_eq!(read(&text), [None, Some(3), Some(3)]);
        let mut just = vec![b'x'; MAX_BODY];
        just.push(b'\n');
        assert_eq!(read(&just), [Some(MAX_BODY + 1)]);
        assert_eq!(read(b""), []);
    }

    #[test]
    fn too_long_request_is_answered_by_its_id() {
        let long = "x".repeat(MAX_BODY);
        for (head, tail, id) in [
            (
                r#"{"id":7,"method":"m","params":{"id":8,"t":""#,
                r#""}}"#,
                "7",
            ),
            (
                r#"{"method":"m","params":{"t":""#,
                r#""},"id":"a"}"#,
                "\"a\"",
            ),
            (r#"{"method":"m","params":{"id":8,"t":""#, r#""}}"#, "null"),
            (r#"{"id":7,"result":{"t":""#, r#""}}"#, "null"),
            (r#"{"id":7,"method":"m","params":{"t":""#, "", "null"),
        ] {
            let text = format!("{head}{long}{tail}\n{{}}\n");
            let mut text = text.as_bytes();
            match read_line(&mut text).unwrap() {
                Some(Line::TooLong(found)) => assert_eq!(found.to_string(), id, "{head}"),
                _ => panic!("{head}"),
            }
            assert_eq!(text, b"{}\n", "{head}");
        }
    }
}
