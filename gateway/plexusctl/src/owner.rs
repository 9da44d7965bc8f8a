//! Requests to the gateway's owner end, and the key that they carry.
//!
//! Invariant: each exchange has a connection of its own, so that none is open while a person is asked. A prompt blocks
//! this program's one thread, and a kept connection that the gateway closes meanwhile would be found out by a request.

use crate::act::{self, CallerContext, PersonsCall};
use hyper::{Method, Response, body::Incoming};
use plexus_client::{
    Address, Connection, Exit, Home, Reply, Request, Stop, out,
    private_file::{self, Unusable},
    text,
};
use plexus_owner::{Act, OwnerCall};
use plexus_protocol::{ErrorCode, KEY_HEADER, credential::ConnectionKey};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// The code of a stop where an answer is not of its call's form: another build gave it.
pub(crate) const UNREADABLE: &str = "unreadable_answer";

/// What every sub-command is given: where things are, how to print, and who is at the keyboard.
pub(crate) struct Desk {
    /// The state directory.
    pub(crate) home: Home,
    /// Print as JSON.
    pub(crate) json: bool,
    /// Who acts.
    pub(crate) caller: CallerContext,
}

impl Desk {
    /// Reads the key from its file, and checks that the owner's socket answers.
    pub(crate) async fn open(&self) -> Result<Owner, Stop> {
        let key = read_key(&self.home)?;
        let socket = Address::Unix(self.home.owner_socket());
        let owner = Owner { socket, key };
        owner.connect().await?;
        Ok(owner)
    }

    /// Refuses a call of this kind, unless a person makes it.
    pub(crate) fn ask_for_person<C: PersonsCall>(&self) -> Result<(), Stop> {
        self.widen(C::WORDS)
    }

    /// The same of a call that gives or takes, as its members say.
    pub(crate) fn ask_for_person_by<C: PersonsCall>(&self, call: &C) -> Result<(), Stop> {
        match call.act() {
            Act::Widens => self.ask_for_person::<C>(),
            Act::Reads | Act::Narrows | Act::Either => Ok(()),
        }
    }

    /// Refuses an act that gives somebody something and is no call of the table, unless a person does it.
    pub(crate) fn widen(&self, act: &str) -> Result<(), Stop> {
        act::judge(act, &self.caller)
    }

    /// Whether a person can be asked for a yes: there is a terminal, and what the yes is to was shown on it. With
    /// `--json` nothing is.
    pub(crate) fn can_ask(&self) -> bool {
        self.caller.terminal && !self.json
    }

    /// Prints `value` as it is, or as `text` says it to a person.
    pub(crate) fn show(
        &self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<Exit, Stop> {
        let shown = match self.json {
            true => json_line(value)?,
            false => text(),
        };
        out::line(&shown).map(|()| Exit::Ok)
    }
}

/// Reads the connection key of this state directory.
pub(crate) fn read_key(home: &Home) -> Result<ConnectionKey, Stop> {
    let path = home.connection_key();
    let text = private_file::read(&path).map_err(|why| match why {
        Unusable::Missing(_) => {
            let why = format!(
                "there is no connection key in {}: no gateway has run with it",
                home.path().display()
            );
            start(Stop::new(Exit::Unreachable, "unreachable", why))
        }
        Unusable::Open { .. } => Stop::new(Exit::Refused, "key_not_private", why.to_string()).next(
            format!("chmod 600 {}; then: plexusctl key rotate", path.display()),
        ),
        other => Stop::new(Exit::Refused, "key_unusable", other.to_string()),
    })?;
    ConnectionKey::parse(&text).ok_or_else(|| {
        Stop::new(
            Exit::Refused,
            "key_unusable",
            format!("{} holds no connection key", path.display()),
        )
    })
}

/// A value as one line of JSON.
///
/// # Errors
/// Where it has no such form.
pub(crate) fn json_line(value: &impl Serialize) -> Result<String, Stop> {
    serde_json::to_string(value)
        .map_err(|why| Stop::new(Exit::Failed, "internal_error", why.to_string()))
}

fn start(stop: Stop) -> Stop {
    stop.next("start it: plexusd (or `cargo xtask start` in the source tree)")
}

/// The gateway, asked with the owner's authority.
pub(crate) struct Owner {
    socket: Address,
    key: ConnectionKey,
}

impl Owner {
    async fn connect(&self) -> Result<Connection, Stop> {
        let opened = Connection::open(self.socket.clone()).await;
        opened.map_err(|why| start(why.into()))
    }
    /// Makes a call of the owner's table.
    ///
    /// # Errors
    /// The refusal; an answer that is not of the call's form.
    pub(crate) async fn call<C: OwnerCall>(&mut self, call: &C) -> Result<C::Reply, Stop> {
        self.asked(call, None).await
    }

    /// The same where the gateway may take so long.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(crate) async fn call_within<C: OwnerCall>(
        &mut self,
        call: &C,
        deadline: Duration,
    ) -> Result<C::Reply, Stop> {
        self.asked(call, Some(deadline)).await
    }

    async fn asked<C: OwnerCall>(
        &mut self,
        call: &C,
        deadline: Option<Duration>,
    ) -> Result<C::Reply, Stop> {
        let wire = plexus_owner::write(call);
        let method = match wire.method {
            plexus_owner::Method::Get => Method::GET,
            plexus_owner::Method::Post => Method::POST,
            plexus_owner::Method::Put => Method::PUT,
            plexus_owner::Method::Delete => Method::DELETE,
        };
        let mut request = Request::new(method, format!("/admin/api{}", wire.path));
        if let Some(body) = &wire.body {
            request = request.json(body);
        }
        if let Some(deadline) = deadline {
            request = request.within(deadline);
        }
        let answer = self.ask(request).await?;
        serde_json::from_value(answer).map_err(|why| {
            let why = format!("the gateway answered what this command cannot read: {why}");
            Stop::new(Exit::Failed, UNREADABLE, why)
                .next("plexusctl and plexusd of one build read each other: plexusctl upgrade")
        })
    }
    /// GET of a path of the surface for shells, which is not in the table.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Value, Stop> {
        self.ask(Request::get(path)).await
    }
    /// The same by POST, of a JSON body.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Result<Value, Stop> {
        self.ask(Request::post(path, body)).await
    }
    /// The same by PUT.
    pub(crate) async fn put(&mut self, path: &str, body: &Value) -> Result<Value, Stop> {
        self.ask(Request::new(Method::PUT, path).json(body)).await
    }
    /// One exchange; an error reply, or `ok: false` in a result, becomes the stop that it stands for.
    async fn ask(&mut self, request: Request) -> Result<Value, Stop> {
        let request = request.secret(KEY_HEADER, self.key.expose());
        let reply = self.connect().await?.send(request).await?;
        if !reply.is_success() {
            return Err(refusal(&reply));
        }
        let value: Value = reply.json()?;
        if value["ok"] == Value::Bool(false)
            && (value["error"].is_object() || value["reason"].is_string())
        {
            return Err(refusal(&reply));
        }
        Ok(value)
    }

    /// Opens an answer that is read while it comes.
    pub(crate) async fn stream(&mut self, path: &str) -> Result<Response<Incoming>, Stop> {
        let request = Request::get(path).secret(KEY_HEADER, self.key.expose());
        let response = self.connect().await?.stream(request).await?;
        if response.status() != 200 {
            return Err(refusal(&Reply::collect(response).await?));
        }
        Ok(response)
    }
}

fn refusal(reply: &Reply) -> Stop {
    let body = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    let mut stop = Stop::of_reply(reply.status, &body);
    // The wire's word for a request that is not of its form (docs/decisions/0104) blames the gateway; a person typed it. A
    // source that is refused has no word at all.
    let is_wordless = reply.status == 422 && body["error"].is_null();
    if is_wordless || reply.status == 400 && stop.code == ErrorCode::InternalError.as_str() {
        stop.code = "value_not_allowed".to_owned();
        stop.next = "correct the value; `--help` after the command says what is allowed".to_owned();
    }
    if stop.code == ErrorCode::UnknownCapability.as_str() {
        stop.next = "plexusctl status".to_owned();
    }
    if stop.code == "unauthorized" {
        // What the gateway says here is meant for whoever tried without a key.
        stop.why =
            "the gateway does not accept the connection key that this command has read".to_owned();
        stop.next = "run it again if the key was just rotated; else: is this the state directory of the running \
                     gateway? (--home)"
            .to_owned();
    }
    stop
}

/// Holds that what was typed can be an id of `what`, which `list` shows. Ids are of these characters; another one could only
/// name another path.
pub(crate) fn check_id(id: &str, what: &str, list: &str) -> Result<(), Stop> {
    match id
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    {
        true => Ok(()),
        false => {
            let why = format!("{:?} is no id of a {what}", text::line(id));
            Err(Stop::usage(why).next(list))
        }
    }
}

pub(crate) fn is_digest(value: &str) -> bool {
    plexus_protocol::Digest::parse(value).is_some()
}

/// A member as text, of what another program or a file says; nothing where it is absent.
pub(crate) fn text_of<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or("")
}

/// The same of a member that is a list: its elements.
pub(crate) fn list_of<'v>(value: &'v Value, member: &str) -> &'v [Value] {
    value[member].as_array().map_or(&[], Vec::as_slice)
}
