//! Sign-ins of the owner at MCP servers that are under way (OAuth 2.1): what waits for a browser, and what came of it.
//!
//! ```text
//! begun ─▶ Waiting ─browser, state and issuer as begun─▶ SignedIn(record) ─renewed by an egress─▶ SignedIn ─▶ taken
//!             └─refused, or not as begun─▶ Refused                   any ─10 minutes─▶ forgotten
//! ```
//! Invariants: an answer of a browser counts once, for the sign-in whose state it holds; where the authorization server says
//! that it names itself, an answer without its name is refused; records are in no answer.
//!
//! Must not know: how a host is asked, what a token is for.

use plexus_ipc::{
    egress::{Client, Digest, Grant, SignIn},
    message::Secret,
    text::Line,
};
use plexus_owner::sign_ins::{SignInProgress, SignInStage};
use plexus_protocol::{Scopes, SourceId};
use serde::Deserialize;
use std::{
    collections::HashMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::Notify, time::timeout_at};

/// How long one is kept.
pub(crate) const WITHIN: Duration = Duration::from_secs(600);
/// Most at a time.
const MOST: usize = 16;
/// Longest code, in bytes.
const MAX_CODE: usize = 4_096;

/// All that are under way.
#[derive(Default)]
pub struct SignIns {
    all: Mutex<HashMap<String, PendingSignIn>>,
    changed: Notify,
}

/// One that is under way.
pub(crate) struct PendingSignIn {
    pub(crate) name: SourceId,
    pub(crate) url: String,
    /// The token endpoint.
    pub(crate) tokens: String,
    /// Digest of what the browser has to bring back.
    pub(crate) state: Digest,
    /// As the authorization server writes it itself.
    pub(crate) issuer: String,
    /// The authorization server says that it names itself.
    pub(crate) names_itself: bool,
    pub(crate) began: Instant,
    pub(crate) stage: Stage,
}

pub(crate) enum Stage {
    /// For a code: who Plexus is there, what for, and what the code is exchanged with.
    Waiting {
        client: Client,
        resource: String,
        verifier: Secret,
        redirect: String,
        scope: Option<Scopes>,
        /// The path at the token endpoint's host where it is ended.
        revocation: Option<String>,
    },
    SignedIn(Secret),
    Refused(String),
}

/// What a browser brings back.
#[derive(Deserialize)]
pub(crate) struct BrowserAnswer {
    state: Option<String>,
    code: Option<String>,
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

impl SignIns {
    fn all(&self) -> MutexGuard<'_, HashMap<String, PendingSignIn>> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, one| one.began.elapsed() < WITHIN);
        all
    }

    /// Keeps one; says no where too many wait.
    pub(crate) fn begin(&self, id: String, one: PendingSignIn) -> bool {
        let mut all = self.all();
        // Of one source the last counts: a command that was ended left one behind.
        all.retain(|_, other| other.name != one.name);
        if all.len() >= MOST {
            return false;
        }
        all.insert(id, one);
        true
    }

    /// Takes what a browser brought back; the words for its page.
    pub(crate) fn answered(&self, answer: BrowserAnswer) -> Result<(), String> {
        let state = answer.state.as_deref().unwrap_or_default();
        let state = Digest::of(state.as_bytes());
        let mut all = self.all();
        let one = all.values_mut().find(|one| one.state == state);
        let one = one.ok_or("No sign-in waits for this: it is too old, or was made elsewhere.")?;
        let Stage::Waiting { .. } = one.stage else {
            return Err("This sign-in has ended already.".to_owned());
        };
        let judged = judged(one, &answer);
        let told = judged.as_ref().map(|_| ()).map_err(Clone::clone);
        one.stage = match (
            judged,
            std::mem::replace(&mut one.stage, Stage::Refused(String::new())),
        ) {
            (
                Ok(code),
                Stage::Waiting {
                    client,
                    resource,
                    verifier,
                    redirect,
                    scope,
                    revocation,
                },
            ) => {
                let record = SignIn {
                    client,
                    resource,
                    grant: Grant::Code {
                        code,
                        verifier,
                        redirect,
                    },
                    access: None,
                    scope,
                    revocation,
                };
                match record.text() {
                    Some(text) => Stage::SignedIn(text),
                    None => Stage::Refused("what it brought back is too long".to_owned()),
                }
            }
            (Err(why), _) => Stage::Refused(why),
            (Ok(_), ended) => ended,
        };
        drop(all);
        self.changed.notify_waiters();
        told
    }

    /// How far one is; none that is not known.
    pub(crate) async fn progress(&self, id: &str, wait: Duration) -> Option<SignInProgress> {
        let until = tokio::time::Instant::now() + wait;
        loop {
            let changed = self.changed.notified();
            let told = match &self.all().get(id)?.stage {
                Stage::Waiting { .. } => (SignInStage::Waiting, None),
                Stage::SignedIn(_) => (SignInStage::SignedIn, None),
                Stage::Refused(why) => (SignInStage::Refused, Some(why.clone())),
            };
            let is_over = told.0 != SignInStage::Waiting;
            if is_over || timeout_at(until, changed).await.is_err() {
                return Some(SignInProgress {
                    stage: told.0,
                    why: told.1,
                });
            }
        }
    }

    /// What a sign-in of this id is for: source, URL and token endpoint; where it is made.
    pub(crate) fn made(&self, id: &str) -> Option<(SourceId, String, String)> {
        let all = self.all();
        let one = all.get(id)?;
        let of = || (one.name.clone(), one.url.clone(), one.tokens.clone());
        matches!(one.stage, Stage::SignedIn(_)).then(of)
    }

    /// Its record, as it is now.
    pub(crate) fn record(&self, id: &str) -> Option<Secret> {
        match &self.all().get(id)?.stage {
            Stage::SignedIn(record) => Some(Secret::new(record.expose().to_owned())),
            Stage::Waiting { .. } | Stage::Refused(_) => None,
        }
    }

    /// Keeps what an egress made of its record.
    pub(crate) fn keep(&self, id: &str, was: Digest, now: &Secret) -> io::Result<()> {
        match self.all().get_mut(id).map(|one| &mut one.stage) {
            Some(Stage::SignedIn(record)) if Digest::of(record.expose().as_bytes()) == was => {
                *record = Secret::new(now.expose().to_owned());
                Ok(())
            }
            _ => Err(io::Error::other("the sign-in was forgotten")),
        }
    }

    /// Forgets one.
    pub(crate) fn forget(&self, id: &str) {
        self.all().remove(id);
    }
}

/// The code, where all is as it was begun.
fn judged(one: &PendingSignIn, answer: &BrowserAnswer) -> Result<Secret, String> {
    let issuer = &one.issuer;
    match &answer.iss {
        // Byte for byte (RFC 9207, section 2.4).
        Some(iss) if iss != issuer => {
            return Err(format!(
                "The browser came back from {}, and was sent to {issuer}: nothing was taken.",
                Line::<200>::new(iss)
            ));
        }
        None if one.names_itself => {
            return Err(format!(
                "{issuer} did not name itself in its answer, though it says that it does: nothing was taken."
            ));
        }
        Some(_) | None => {}
    }
    if let Some(error) = &answer.error {
        let words = answer.error_description.as_deref().unwrap_or_default();
        let words = Line::<400>::new(format!("{error} {words}").trim());
        return Err(format!("{issuer} did not sign you in: {words}"));
    }
    match &answer.code {
        Some(code) if !code.is_empty() && code.len() <= MAX_CODE => Ok(Secret::new(code.clone())),
        _ => Err(format!("{issuer} gave no code of use.")),
    }
}
