//! The guards of the owner's acts. A route that changes something cannot be written without one: `acts::act` and
//! `acts::narrow` ask for it, and only a request's credential makes it.
//!
//! ```text
//! credential ─▶ Narrowing: takes away, waits for nobody
//!                  ├─wider─▶ Acting: before a rotation of the key, or refused
//!                  └─alone─▶ Acting: the rotation itself
//! ```
//! Invariants: a `Narrowing` is no `Acting`, and submits nothing that gives somebody something; a credential is looked
//! at again once the body has arrived, and for an `Acting` under the lock that the key's rotation takes alone. An
//! `Acting`, which a rotation waits for, is held over what is recorded and nothing slower: no look at a folder, no host
//! that is asked, no effect of a worker beyond its intent.

use crate::desk::Desk;
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use plexus_edge::{
    authenticate::{self, is_owner},
    browser,
    reply::Refused,
    sessions::Visitor,
    throttle::Peer,
};
use std::sync::Arc;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard};

/// Proof that an act is the owner's.
pub(crate) enum Acting {
    /// Begun beside others, before a rotation.
    Begun { _lock: OwnedRwLockReadGuard<()> },
    /// The rotation.
    Alone { _lock: OwnedRwLockWriteGuard<()> },
}

/// Proof for an act that only takes away: it does no harm after a rotation either, and does not wait for one.
pub(crate) struct Narrowing(Credential);

enum Credential {
    Key(Box<HeaderMap>, Peer),
    Console(Visitor),
}

impl Credential {
    fn stands(&self, desk: &Desk) -> bool {
        match self {
            Self::Key(headers, _) => is_owner(desk, headers),
            Self::Console(who) => desk.console.stands(*who, browser::present(desk)),
        }
    }

    async fn refused(&self, desk: &Arc<Desk>) -> Refused {
        match self {
            Self::Console(_) => browser::signed_out(),
            // Rotated meanwhile: refused like any other wrong key.
            Self::Key(headers, peer) => match authenticate::owner(&desk.edge, headers, *peer).await
            {
                Err(refused) => refused,
                Ok(_) => Refused::malformed("the key changed while the request arrived; repeat it"),
            },
        }
    }
}

impl Narrowing {
    /// For an act that widens.
    ///
    /// # Errors
    /// 401: the credential does not stand any more.
    pub(crate) async fn wider(&self, desk: &Arc<Desk>) -> Result<Acting, Refused> {
        let _lock = desk.key_lock.begin().await;
        self.checked(desk, Acting::Begun { _lock }).await
    }

    /// For a rotation of the key: what was begun with the old one has ended, and nothing begins with it.
    ///
    /// # Errors
    /// 401: another rotation came first.
    pub(crate) async fn alone(&self, desk: &Arc<Desk>) -> Result<Acting, Refused> {
        let _lock = desk.key_lock.rotation().await;
        self.checked(desk, Acting::Alone { _lock }).await
    }

    async fn checked(&self, desk: &Arc<Desk>, acting: Acting) -> Result<Acting, Refused> {
        if self.0.stands(desk) {
            return Ok(acting);
        }
        drop(acting);
        Err(self.0.refused(desk).await)
    }
}

impl FromRequestParts<Arc<Desk>> for Narrowing {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Refused> {
        let by = match parts.extensions.get::<Visitor>() {
            Some(who) => Credential::Console(*who),
            None => Credential::Key(
                Box::new(parts.headers.clone()),
                authenticate::peer_of(&parts.extensions),
            ),
        };
        if !by.stands(desk) {
            return Err(by.refused(desk).await);
        }
        Ok(Self(by))
    }
}

impl FromRequestParts<Arc<Desk>> for Acting {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Refused> {
        let narrowing = Narrowing::from_request_parts(parts, desk).await?;
        narrowing.wider(desk).await
    }
}
