//! Requests to the gateway's owner end, and the key that they carry.
//!
//! Invariant: each exchange has a connection of its own, so that none is open while a person is asked. A prompt blocks
//! this program's one thread, and a kept connection that the gateway closes meanwhile would be found out by a request.

use hyper::{Method, Response, body::Incoming};
use plexus_client::{
    Address, Connection, Done, Exit, Home, Reply, Request, Stop,
    private_file::{self, Unusable},
};
use plexus_owner::OwnerCall;
use plexus_protocol::{ErrorCode, KEY_HEADER, credential::ConnectionKey, shell};
use serde_json::Value;
use std::{env, path::PathBuf, pin::pin, time::Duration};
use tokio::time::timeout;

/// The code of a stop where an answer is not of its call's form: another build gave it.
pub const UNREADABLE: &str = "unreadable_answer";

/// After this, a person wants to know what is waited for.
const SLOW: Duration = Duration::from_secs(3);

/// How much later than it was to wait the gateway may answer.
const SLACK: Duration = Duration::from_secs(10);

/// The next step where what is in the key's file is no key.
const PUT_BACK: &str = "put the file back, or move it away: without one, the next start of the gateway makes a new key";

/// Reads the connection key of this state directory.
///
/// # Errors
/// There is none, or it is not the owner's alone.
pub fn read_key(home: &Home) -> Result<ConnectionKey, Stop> {
    let path = home.connection_key();
    let text = private_file::read(&path).map_err(|why| match why {
        Unusable::Missing(_) if home.runtime().exists() => {
            let why = format!("{} is gone", path.display());
            let next = "put the file back, or restart the gateway: it makes a new key";
            Stop::new(Exit::Unreachable, "unreachable", why).next(next)
        }
        Unusable::Missing(_) => {
            let why = format!(
                "there is no connection key in {}: no gateway has run with it",
                home.path().display()
            );
            let stop = Stop::new(Exit::Unreachable, "unreachable", why);
            match leave_stale(home) {
                Some(next) => stop.next(next),
                None => start(stop, home),
            }
        }
        Unusable::Open { .. } => Stop::new(Exit::Refused, "key_not_private", why.to_string()).next(
            format!("chmod 600 {}; then: plexusctl key rotate", path.display()),
        ),
        other => {
            let stop = Stop::new(Exit::Refused, "key_unusable", other.to_string());
            match other {
                Unusable::Foreign { .. } => stop.next("run it as that user"),
                Unusable::Strange(_) => stop.next(PUT_BACK),
                Unusable::Io { .. } => {
                    let home = shell::quote(&home.path().to_string_lossy());
                    stop.next(format!("plexusctl --home {home} doctor"))
                }
                _ => stop,
            }
        }
    })?;
    ConnectionKey::parse(&text).ok_or_else(|| {
        Stop::new(
            Exit::Refused,
            "key_unusable",
            format!("{} holds no connection key", path.display()),
        )
        .next(PUT_BACK)
    })
}

/// The next step where `home` has no key and `~/.plexus` has one: its name is probably a stale one.
fn leave_stale(home: &Home) -> Option<String> {
    let person = env::var_os("HOME").filter(|person| !person.is_empty())?;
    let own = Home::at(PathBuf::from(person).join(".plexus"));
    if own == *home || !own.connection_key().exists() {
        return None;
    }
    let is_named = Home::resolve(None).is_ok_and(|usual| usual == *home);
    let leave = if is_named {
        "unset PLEXUS_HOME"
    } else {
        "leave --home out"
    };
    let own = own.path().display();
    Some(format!("a gateway has its state in {own}: {leave}"))
}

/// Adds the command that starts the gateway of `home`, which is not the usual one where a flag named it.
fn start(stop: Stop, home: &Home) -> Stop {
    if Home::resolve(None).is_ok_and(|usual| usual == *home) {
        return stop.next("start it: plexusd (or `cargo xtask start` in the source tree)");
    }
    let home = shell::quote(&home.path().to_string_lossy());
    stop.next(format!("start it: plexusd --home {home}"))
}

/// The gateway, asked with the owner's authority.
pub struct Owner {
    home: Home,
    socket: Address,
    key: ConnectionKey,
    when_slow: Option<fn()>,
}

impl Owner {
    /// Reads the key from its file, and checks that the owner's socket answers.
    ///
    /// # Errors
    /// As [`read_key`]; no gateway answers.
    pub async fn open(home: &Home) -> Result<Self, Stop> {
        let key = read_key(home)?;
        let socket = Address::Unix(home.owner_socket());
        let owner = Self {
            home: home.clone(),
            socket,
            key,
            when_slow: None,
        };
        match owner.connect().await {
            // It is removed when a gateway has ended.
            Err(stop) if home.runtime().exists() => {
                let next = format!("{}; if one is stopping, wait until it has ended", stop.next);
                Err(stop.next(next))
            }
            connected => connected.map(|_| owner),
        }
    }

    /// Has `tell` called where an exchange takes longer than 3 s, but for calls that name their own time.
    #[must_use]
    pub fn when_slow(mut self, tell: fn()) -> Self {
        self.when_slow = Some(tell);
        self
    }

    async fn connect(&self) -> Result<Connection, Stop> {
        let opened = Connection::open(self.socket.clone()).await;
        opened.map_err(|why| start(why.into(), &self.home))
    }
    /// Makes a call of the owner's table.
    ///
    /// # Errors
    /// The refusal; an answer that is not of the call's form.
    pub async fn call<C: OwnerCall>(&mut self, call: &C) -> Result<C::Reply, Stop> {
        self.asked(call, None).await
    }

    /// The same where the gateway may take so long.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_within<C: OwnerCall>(
        &mut self,
        call: &C,
        deadline: Duration,
    ) -> Result<C::Reply, Stop> {
        self.asked(call, Some(deadline)).await
    }

    /// The same of a call by which the gateway waits on purpose, for so many seconds.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_waiting<C: OwnerCall>(
        &mut self,
        call: &C,
        wait: u64,
    ) -> Result<C::Reply, Stop> {
        let deadline = Duration::from_secs(wait) + SLACK;
        self.asked(call, Some(deadline)).await
    }

    async fn asked<C: OwnerCall>(
        &mut self,
        call: &C,
        deadline: Option<Duration>,
    ) -> Result<C::Reply, Stop> {
        let tell = self.when_slow;
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
        let asked = Box::pin(self.ask(request));
        let answer = match tell.filter(|_| deadline.is_none()) {
            Some(tell) => tell_if_slow(asked, SLOW, tell).await,
            None => asked.await,
        };
        let answer = answer.map_err(|stop| match wire.method {
            // A read without an answer has done nothing.
            plexus_owner::Method::Get => stop.done(Done::None),
            _ => stop,
        })?;
        serde_json::from_value(answer).map_err(|why| {
            let why = format!("the gateway answered what this command cannot read: {why}");
            Stop::new(Exit::Failed, UNREADABLE, why)
                .done(match wire.method {
                    plexus_owner::Method::Get => Done::None,
                    _ => Done::Unknown,
                })
                .next("plexusctl and plexusd of one build read each other: plexusctl upgrade")
        })
    }
    /// GET of a path of the surface for shells, which is not in the table.
    ///
    /// # Errors
    /// The refusal.
    pub async fn get(&mut self, path: &str) -> Result<Value, Stop> {
        self.ask(Request::get(path)).await
    }
    /// The same by POST, of a JSON body.
    ///
    /// # Errors
    /// The refusal.
    pub async fn post(&mut self, path: &str, body: &Value) -> Result<Value, Stop> {
        self.ask(Request::post(path, body)).await
    }
    /// The same by PUT.
    ///
    /// # Errors
    /// The refusal.
    pub async fn put(&mut self, path: &str, body: &Value) -> Result<Value, Stop> {
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
    ///
    /// # Errors
    /// The refusal.
    pub async fn stream(&mut self, path: &str) -> Result<Response<Incoming>, Stop> {
        let request = Request::get(path).secret(KEY_HEADER, self.key.expose());
        let response = self.connect().await?.stream(request).await?;
        if response.status() != 200 {
            return Err(refusal(&Reply::collect(response).await?));
        }
        Ok(response)
    }
}

/// Waits for `work`; calls `tell` once where that takes longer than `after`.
pub async fn tell_if_slow<T>(
    work: impl Future<Output = T>,
    after: Duration,
    tell: impl FnOnce(),
) -> T {
    let mut work = pin!(work);
    match timeout(after, &mut work).await {
        Ok(done) => return done,
        Err(_) => tell(),
    }
    work.await
}

fn refusal(reply: &Reply) -> Stop {
    let body = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    let mut stop = Stop::of_reply(reply.status, &body);
    // The wire's word for a request that is not of its form (docs/decisions/0104) blames the gateway; a person typed it. A
    // source that is refused has no word at all.
    let is_wordless = reply.status == 422 && body["error"].is_null();
    if is_wordless || reply.status == 400 && stop.code == ErrorCode::InternalError.as_str() {
        stop.code = "value_not_allowed".to_owned();
        // The gateway's own command is better than any.
        if is_wordless || !stop.next.starts_with("plexusctl ") {
            stop.next =
                "correct the value; `--help` after the command says what is allowed".to_owned();
        }
    }
    if stop.code == ErrorCode::UnknownCapability.as_str() && !stop.next.starts_with("plexusctl ") {
        stop.next = "plexusctl status".to_owned();
    }
    if stop.code == "unauthorized" {
        // The gateway's own words here are for a client without a key.
        stop.why =
            "the gateway does not accept the connection key that this command has read".to_owned();
        stop.next = "run it again if the key was just rotated; else: is this the state directory of the running \
                     gateway? (--home)"
            .to_owned();
    }
    stop
}
