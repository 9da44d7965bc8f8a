//! The owner's protocol: what the gateway's management API takes and answers, as one table of typed calls.
//!
//! ```text
//! table.rs: method, path, act, request -> reply ─▶ plexus-desk: a handler for each, behind the guard of its act
//!                                               └▶ plexusctl: `owner.call(Stop { … }).await? -> Stopping`
//! ```
//! Invariants: a row of the table is served by one handler and asked by its request alone; its act decides the guard of
//! the server. A member that is `null` is absent, where the row does not say that it takes away. Members of a request
//! that its type does not have are ignored; those of a reply are as well, so that a command reads what a newer gateway
//! says.
//!
//! Not in the table are the surface for shells below `/v1`, which has versions of its own, and what answers with something
//! else than one JSON value: the export of the audit log, streams of events, metrics, the guide for extensions, the console's
//! pages.
//!
//! Must not know: HTTP beyond a method and a path; how an act is decided or carried out; how a view is laid out.

pub mod activity;
pub mod agents;
pub mod audit;
pub mod backup;
pub mod boards;
pub mod calls;
pub mod changes;
pub mod channels;
pub mod client_servers;
pub mod console;
pub mod explain;
pub mod exposure;
pub mod extensions;
pub mod grants;
pub mod kinds;
pub mod lend;
pub mod network;
pub mod pause;
pub mod pending;
pub mod plan;
pub mod profile;
pub mod python;
pub mod review;
mod secret_texts;
pub mod secrets;
pub mod settings;
pub mod sign_ins;
pub mod source_settings;
pub mod sources;
pub mod status;
mod table;
pub mod troubles;
pub mod undo;
pub mod unsettled;
pub mod upgrade;
mod wire;

pub use table::{TABLE, Tabled};
pub use wire::{Malformed, WireRequest, encoded, of_members, read, write};

use serde::{Serialize, de::DeserializeOwned};

/// The method of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// It changes nothing.
    Get,
    /// An act.
    Post,
    /// A value that is set.
    Put,
    /// Something that goes.
    Delete,
}

impl Method {
    /// As HTTP spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// What a call does to what agents may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Nothing.
    Reads,
    /// It only takes away: it waits for nobody, and no terminal is asked for.
    Narrows,
    /// It may give somebody something: a person does it, at a terminal.
    Widens,
    /// One of both, as its request says ([`MayWiden`]).
    Either,
}

/// An act as a type: a server ties a guard to it.
pub trait ActClass<C> {
    /// The same as a value.
    const ACT: Act;
    /// What this very request does: never [`Act::Either`].
    fn of(_: &C) -> Act {
        Self::ACT
    }
}

/// [`Act::Reads`].
pub struct Reads;
/// [`Act::Narrows`].
pub struct Narrows;
/// [`Act::Widens`].
pub struct Widens;
/// [`Act::Widens`], of a call whose handler looks at the machine before it acts: a look holds up no rotation of the key.
pub struct WidensAfterLook;
/// [`Act::Either`].
pub struct Either;

/// A request that says whether it gives or takes.
pub trait MayWiden {
    /// Whether it may give somebody something.
    fn widens(&self) -> bool;
}

impl<C> ActClass<C> for Reads {
    const ACT: Act = Act::Reads;
}

impl<C> ActClass<C> for Narrows {
    const ACT: Act = Act::Narrows;
}

impl<C> ActClass<C> for Widens {
    const ACT: Act = Act::Widens;
}

impl<C> ActClass<C> for WidensAfterLook {
    const ACT: Act = Act::Widens;
}

impl<C: MayWiden> ActClass<C> for Either {
    const ACT: Act = Act::Either;
    fn of(call: &C) -> Act {
        match call.widens() {
            true => Act::Widens,
            false => Act::Narrows,
        }
    }
}

/// A call of the owner's: the request, with what is fixed of it. Rows of the table make the implementations.
pub trait OwnerCall: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its method.
    const METHOD: Method;
    /// Its path below `/admin/api`: `/boards/{id}/stop?source`. Members in braces are parts of the path, those behind
    /// `?` are query parameters; all others are the body's.
    const PATH: &'static str;
    /// The status of an answer that is no refusal.
    const STATUS: u16;
    /// Whether a member that is `null` says something else than its absence.
    const NULL_CLEARS: bool;
    /// What it does, as a type.
    type Class: ActClass<Self>;
    /// What is answered.
    type Reply: Serialize + DeserializeOwned + Send;

    /// What this very request does.
    fn act(&self) -> Act {
        Self::Class::of(self)
    }
}

/// `true`, and nothing else: the `ok` of a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(try_from = "bool", into = "bool")]
pub struct Done;

impl TryFrom<bool> for Done {
    type Error = &'static str;
    fn try_from(ok: bool) -> Result<Self, Self::Error> {
        ok.then_some(Self).ok_or("`ok` is not true")
    }
}

impl From<Done> for bool {
    fn from(_: Done) -> Self {
        true
    }
}
