//! The source's identity: the writer registers it and holds it, the reader looks at it.
//!
//! ```text
//! writer: none ─invitation─▶ registered ─▶ held        reader: none ─waits for the writer─▶ looked at
//!               └─refused: a note says why, for the reader
//! ```
//! Invariant: one source has one identity; a registration that was cut short goes on with the same key.

use crate::{Config, tunnel::Tunnel};
use jiff::Timestamp;
use plexus_channels::account::Account;
use plexus_channels::api::ApiError;
use plexus_channels::dial::{Dial, Endpoint, UNKNOWN_AUTHORITY};
use plexus_channels::identity::{Home, Identity, IdentityError, Registration};
use plexus_channels::wire::Code;
use plexus_ipc::worker::{EgressAccess, OpenError, Role, Secret, Secrets};
use plexus_protocol::Digest;
use serde::{Deserialize, Serialize};
use std::{fs, io, path::Path, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

/// Where the writer says why it could not register.
const NOTE: &str = "registration.json";
/// How long a registration may take; a worker is to be open within 30 s.
const WITHIN: Duration = Duration::from_secs(20);
/// How often the reader looks for what the writer makes: another process, with files between them.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(PartialEq, Serialize, Deserialize)]
struct Note {
    /// Of the invitation that it is about.
    invitation: Digest,
    /// Each attempt has a note of its own.
    at: Timestamp,
    why: String,
}

/// What words to the owner name.
#[derive(Clone, Copy)]
struct Named<'a> {
    /// The field that holds the authority's file.
    field: &'a str,
    /// The source's id.
    source: &'a str,
}

/// The account of a source that is a member of channels, at its relay by way of its egress.
///
/// # Errors
/// Why there is none, with the owner's next step.
pub async fn account(
    scratch: &Path,
    config: &Config,
    secrets: &mut Secrets,
    role: Role,
    egress: impl Into<Arc<EgressAccess>>,
    source: &str,
) -> Result<Arc<Account>, OpenError> {
    // One that is used is needed by nobody: after a restore there is none.
    let invitation = secrets.take("invitation");
    let invitation = invitation.unwrap_or_else(|| Secret::new(String::new()));
    let tunnel = Tunnel::new(egress);
    let field = config.authority_field;
    let tunnel = tunnel.map_err(|why| OpenError::config(format!("{field}: {why}")))?;
    let dial: Arc<dyn Dial> = Arc::new(tunnel);
    let named = Named { field, source };
    let identity = of_source(scratch, config, &invitation, role, Arc::clone(&dial), named).await?;
    let account = Account::open(identity, dial);
    let account = account.map_err(|error| OpenError::internal(error.to_string()))?;
    Ok(Arc::new(account))
}

async fn of_source(
    scratch: &Path,
    config: &Config,
    invitation: &Secret,
    role: Role,
    dial: Arc<dyn Dial>,
    named: Named<'_>,
) -> Result<Identity, OpenError> {
    let endpoint = Endpoint::parse(config.relay.trim());
    let endpoint = endpoint.map_err(|why| OpenError::config(format!("relay: {why}")))?;
    let about = Digest::of(invitation.expose().as_bytes());
    let identity = match role {
        Role::Reader => looked_at(scratch, about, named).await?,
        Role::Writer => {
            let registration = Registration {
                endpoint: endpoint.clone(),
                invitation: Zeroizing::new(invitation.expose().trim().to_owned()),
                first_name: Some(config.display_name.trim().to_owned()),
                last_name: None,
                skills: Vec::new(),
            };
            let held = timeout(WITHIN, held(scratch, dial, &registration, named)).await;
            let late = || OpenError::unavailable("the relay did not answer in 20 s");
            let held = held.map_err(|_| late()).and_then(|held| held);
            let note = scratch.join(NOTE);
            if let Err(why) = &held {
                let why = why.message.to_string();
                let note_of = Note {
                    invitation: about,
                    at: Timestamp::now(),
                    why,
                };
                // Without it the reader waits in vain, and says so.
                let _ = fs::write(note, serde_json::to_vec(&note_of).unwrap_or_default());
            } else {
                let _ = fs::remove_file(note);
            }
            held?
        }
    };
    let of = identity
        .endpoint()
        .map_err(|error| open_error(&error, named))?;
    if of != endpoint {
        return Err(OpenError::config(format!(
            "this source's identity is one of {of}: add another source for another relay"
        )));
    }
    Ok(identity)
}

async fn held(
    scratch: &Path,
    dial: Arc<dyn Dial>,
    registration: &Registration,
    named: Named<'_>,
) -> Result<Identity, OpenError> {
    let home = Home::at(scratch).map_err(|error| open_error(&error, named))?;
    let names = home
        .identities()
        .map_err(|error| open_error(&error, named))?;
    let identity = match names.first() {
        Some(name) => home.open(name),
        None if registration.invitation.is_empty() => {
            let source = named.source;
            return Err(OpenError::config(format!(
                "invitation is not set: plexusctl sources secret {source} invitation"
            )));
        }
        None => home.register(dial, registration).await,
    };
    identity.map_err(|error| open_error(&error, named))
}

async fn looked_at(scratch: &Path, about: Digest, named: Named<'_>) -> Result<Identity, OpenError> {
    let until = Instant::now() + WITHIN;
    let note = || noted(&scratch.join(NOTE)).filter(|note| note.invitation == about);
    // One that is there already is of an earlier attempt, which says nothing about this one.
    let earlier = note();
    loop {
        // The writer makes the folder.
        if let Some(home) = Home::there(scratch) {
            let names = home
                .identities()
                .map_err(|error| open_error(&error, named))?;
            if let Some(name) = names.first() {
                return home.look(name).map_err(|error| open_error(&error, named));
            }
        }
        let is_over = Instant::now() >= until;
        if let Some(note) = note().filter(|note| is_over || Some(note) != earlier.as_ref()) {
            return Err(OpenError::unavailable(note.why));
        }
        if is_over {
            let why = "the source has not registered with its relay yet: test it again";
            return Err(OpenError::unavailable(why));
        }
        sleep(LOOK_EVERY).await;
    }
}

fn noted(path: &Path) -> Option<Note> {
    let read: io::Result<Vec<u8>> = fs::read(path);
    serde_json::from_slice(&read.ok()?).ok()
}

fn open_error(error: &IdentityError, named: Named<'_>) -> OpenError {
    match error {
        IdentityError::Relay(refused) if refused.code() == Some(Code::InvalidInvitation) => {
            OpenError::config(format!(
                "the relay does not accept the invitation: it is unknown, used or expired; ask for \
                 another one, and set it: plexusctl sources secret {} invitation",
                named.source
            ))
        }
        IdentityError::Relay(ApiError::Unreachable { why, .. }) => {
            let next = match why.as_str() {
                UNKNOWN_AUTHORITY => format!(
                    "; for a relay of your own, add the source with {}, the file of its authority",
                    named.field
                ),
                // It answered.
                why if ["certificate", "speak"].iter().any(|of| why.contains(of)) => String::new(),
                _ => "; is the relay up?".to_owned(),
            };
            OpenError::unavailable(format!("{error}{next}"))
        }
        IdentityError::Relay(_) | IdentityError::InUse(_) => {
            OpenError::unavailable(error.to_string())
        }
        _ => OpenError::internal(error.to_string()),
    }
}
