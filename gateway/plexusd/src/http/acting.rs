//! The guards of the owner's acts. A route that changes something cannot be written without one: [`super::owner::act`] asks
//! for it, and only a request's credential makes it.
//!
//! ```text
//! credential ─▶ Narrowing: takes away, waits for nobody
//!                  └─wider─▶ Acting: before a rotation of the key, or refused
//! ```
//! Invariants: a credential is looked at again once the body has arrived, and for an [`Acting`] under the lock that the
//! key's rotation takes alone. Nobody looks at a folder with an [`Acting`] in hand, which a rotation would wait for; the
//! turn is held over commits and nothing else.

use super::{
    authenticate::{self, is_owner},
    reply::Refused,
    throttle::Peer,
};
use crate::{
    app::App,
    console::{door, sessions::Visitor},
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use std::{ops::Deref, sync::Arc};
use tokio::sync::{Mutex, MutexGuard, OwnedRwLockReadGuard, RwLock, RwLockWriteGuard};

/// What the owner's acts wait for.
#[derive(Default)]
pub(crate) struct Acts {
    /// Held for reading from the last look at a credential to the act's end; for writing by the key's rotation.
    credential: Arc<RwLock<()>>,
    /// Several steps that belong together. Taken after the other.
    turn: Mutex<()>,
}

impl Acts {
    /// Until it is dropped the key is not rotated.
    pub(crate) async fn begin(&self) -> OwnedRwLockReadGuard<()> {
        self.credential.clone().read_owned().await
    }

    /// What was begun with the old key has ended, and nothing begins with it.
    pub(crate) async fn rotation(&self) -> RwLockWriteGuard<'_, ()> {
        self.credential.write().await
    }

    /// What is read of a source or a setting stays so until it is changed.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }
}

/// Proof that an act is the owner's.
pub(crate) struct Acting {
    _begun: Option<OwnedRwLockReadGuard<()>>,
}

/// Proof for an act that only takes away: it does no harm after a rotation either, and does not wait for one.
pub(crate) struct Narrowing {
    by: Credential,
    acting: Acting,
}

enum Credential {
    Key(Box<HeaderMap>, Peer),
    Console(Visitor),
}

impl Credential {
    fn stands(&self, app: &App) -> bool {
        match self {
            Self::Key(headers, _) => is_owner(app, headers),
            Self::Console(who) => app.console.stands(*who, door::present(app)),
        }
    }

    async fn refused(&self, app: &Arc<App>) -> Refused {
        match self {
            Self::Console(_) => door::signed_out(),
            // Rotated meanwhile: refused like any other wrong key.
            Self::Key(headers, peer) => match authenticate::owner(app, headers, *peer).await {
                Err(refused) => refused,
                Ok(_) => Refused::malformed("the key changed while the request arrived; repeat it"),
            },
        }
    }
}

impl Narrowing {
    /// Whether the credential still does.
    pub(crate) fn stands(&self, app: &App) -> bool {
        self.by.stands(app)
    }

    /// The refusal of a credential that does not.
    pub(crate) async fn refused(&self, app: &Arc<App>) -> Refused {
        self.by.refused(app).await
    }

    /// For an act that widens.
    ///
    /// # Errors
    /// 401: the credential does not stand any more.
    pub(crate) async fn wider(&self, app: &Arc<App>) -> Result<Acting, Refused> {
        let begun = app.acts.begin().await;
        if self.stands(app) {
            let _begun = Some(begun);
            return Ok(Acting { _begun });
        }
        drop(begun);
        Err(self.refused(app).await)
    }
}

impl Deref for Narrowing {
    type Target = Acting;
    fn deref(&self) -> &Acting {
        &self.acting
    }
}

impl From<Narrowing> for Acting {
    fn from(narrowing: Narrowing) -> Self {
        narrowing.acting
    }
}

impl FromRequestParts<Arc<App>> for Narrowing {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        let by = match parts.extensions.get::<Visitor>() {
            Some(who) => Credential::Console(*who),
            None => Credential::Key(
                Box::new(parts.headers.clone()),
                authenticate::peer_of(&parts.extensions),
            ),
        };
        if !by.stands(app) {
            return Err(by.refused(app).await);
        }
        let acting = Acting { _begun: None };
        Ok(Self { by, acting })
    }
}

impl FromRequestParts<Arc<App>> for Acting {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        let narrowing = Narrowing::from_request_parts(parts, app).await?;
        narrowing.wider(app).await
    }
}
