//! [`Organization`]: the fold of an organization's acts: its invitations and its users.
//!
//! Pure: ids and the time are arguments. Stored acts are arrays of their fields: a field is added only at an end, with a
//! default.
//!
//! Invariants: a user, the device and its key come into being in one act, which spends the invitation; no invitation is kept,
//! only its SHA-256; a removed user comes never back, and stays readable, because messages and keys of that device are.

use crate::cell::Fold;
use crate::refusal::Refusal;
use jiff::Timestamp;
use plexus_channels::wire::{Code, Device, Kind, Member, Profile, Register, Registered};
use plexus_channels::{Base64Url, Id, PublicKey, limits, wire};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

const PREFIX: &str = "plxinv_";

/// What happens to an organization.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Act {
    Founded {
        name: String,
    },
    Invited {
        hash: Base64Url,
        kind: Kind,
        uses: u32,
        expires: u64,
    },
    Registered(Registration),
    Removed {
        user: Id,
    },
}

/// A user with their first device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Registration {
    registration_id: Id,
    invitation: Base64Url,
    pub(crate) user: Id,
    device: Id,
    kind: Kind,
    first_name: String,
    last_name: String,
    skills: Vec<String>,
    public_key: Base64Url,
}

#[derive(Debug, Serialize, Deserialize)]
struct Invitation {
    kind: Kind,
    uses: u32,
    expires: u64,
}

/// The fold.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Organization {
    name: String,
    invitations: BTreeMap<Base64Url, Invitation>,
    users: BTreeMap<Id, (u64, Registration)>,
    registrations: BTreeMap<Id, Id>,
    #[serde(default)]
    removed: BTreeSet<Id>,
}

impl Fold for Organization {
    type Act = Act;
    /// A start reads all acts of an organization: there are about as many as users.
    const SNAPSHOT_EVERY: u64 = u64::MAX;

    fn apply(&mut self, id: Id, _: u64, act: &Act) {
        match act {
            Act::Founded { name } => self.name.clone_from(name),
            Act::Invited {
                hash,
                kind,
                uses,
                expires,
            } => {
                let (kind, uses, expires) = (*kind, *uses, *expires);
                let invitation = Invitation {
                    kind,
                    uses,
                    expires,
                };
                self.invitations.insert(hash.clone(), invitation);
            }
            Act::Registered(made) => {
                if let Some(invitation) = self.invitations.get_mut(&made.invitation) {
                    invitation.uses = invitation.uses.saturating_sub(1);
                }
                self.registrations.insert(made.registration_id, made.user);
                self.users.insert(made.user, (id.millis(), made.clone()));
            }
            Act::Removed { user } => {
                self.removed.insert(*user);
            }
        }
    }
}

/// A new invitation to an organization. A secret.
pub(crate) fn invitation_key(organization: Id) -> String {
    let secret = plexus_channels::crypto::random::<32>();
    let secret = plexus_channels::base64url::encode(&secret);
    format!("{PREFIX}{organization}_{secret}")
}

/// Which organization an invitation says that it is to.
pub(crate) fn invited_to(key: &str) -> Option<Id> {
    let (organization, _) = key.strip_prefix(PREFIX)?.split_once('_')?;
    organization.parse().ok()
}

pub(crate) fn invitation_hash(key: &str) -> Base64Url {
    Base64Url(Sha256::digest(key.as_bytes()).to_vec())
}

impl Organization {
    pub(crate) fn wire(&self, id: Id) -> wire::Organization {
        let name = self.name.clone();
        wire::Organization { id, name }
    }

    /// What a registration leads to: nothing new where it is repeated, and its refusal.
    pub(crate) fn register(
        &self,
        register: &Register,
        now: u64,
        (user, device): (Id, Id),
    ) -> Result<Option<Act>, Refusal> {
        let hash = invitation_hash(&register.invitation_key);
        if let Some((_, made)) = self.registered(register.registration_id) {
            if !self.has(made.user) {
                return Err(Self::no_invitation());
            }
            let same = made.invitation == hash && made.public_key == register.device.public_key;
            let refusal = Refusal::new(Code::Conflict, "registered before, with another key");
            return if same { Ok(None) } else { Err(refusal) };
        }
        let invitation = self.invitations.get(&hash);
        let invitation = invitation.filter(|found| found.uses > 0 && found.expires > now);
        let Some(Invitation { kind, .. }) = invitation else {
            return Err(Self::no_invitation());
        };
        if PublicKey::from_bytes(&register.device.public_key.0).is_err() {
            let code = Code::InvalidPublicKey;
            return Err(Refusal::new(code, "not an uncompressed point of P-256"));
        }
        let fits = |text: &str, most: usize| {
            text.chars().count() <= most && !text.chars().any(char::is_control)
        };
        let names = [&register.first_name, &register.last_name];
        let names_fit = names.into_iter().flatten();
        let names_fit = names_fit
            .into_iter()
            .all(|name| fits(name, limits::USER_NAME_CHARS));
        let skills = &register.skills;
        let skills_fit = skills.len() <= limits::SKILLS
            && skills
                .iter()
                .all(|s| !s.is_empty() && fits(s, limits::SKILL_CHARS));
        if !names_fit || !skills_fit {
            return Err(Refusal::invalid(
                "a name or a skill is too long, or has a control character",
            ));
        }
        let given = |name: &Option<String>| name.as_deref().unwrap_or_default().trim().to_owned();
        let mut first_name = given(&register.first_name);
        if first_name.is_empty() {
            // A name that tells users apart, and nothing about them.
            let end = user.to_string().split_off(20);
            first_name = format!(
                "{} {end}",
                if *kind == Kind::Agent {
                    "Agent"
                } else {
                    "Human"
                }
            );
        }
        Ok(Some(Act::Registered(Registration {
            registration_id: register.registration_id,
            invitation: hash,
            user,
            device,
            kind: *kind,
            first_name,
            last_name: given(&register.last_name),
            skills: skills.clone(),
            public_key: register.device.public_key.clone(),
        })))
    }

    /// The end of a user with their device: nothing new where that was before.
    pub(crate) fn remove(&self, user: Id) -> Option<Act> {
        self.has(user).then_some(Act::Removed { user })
    }

    pub(crate) const fn no_invitation() -> Refusal {
        let code = Code::InvalidInvitation;
        Refusal::new(code, "this invitation is not valid")
    }

    fn registered(&self, registration_id: Id) -> Option<&(u64, Registration)> {
        self.users.get(self.registrations.get(&registration_id)?)
    }

    /// The answer to a registration that was taken.
    pub(crate) fn answer(&self, id: Id, registration_id: Id) -> Option<Registered> {
        let (_, made) = self.registered(registration_id)?;
        Some(Registered {
            public_id: made.user,
            agent_id: made.user,
            device_id: made.device,
            kind: made.kind,
            first_name: made.first_name.clone(),
            last_name: made.last_name.clone(),
            skills: made.skills.clone(),
            organization: self.wire(id),
        })
    }

    /// A user's profile, a removed one's too.
    pub(crate) fn profile(&self, user: Id) -> Option<Profile> {
        let (at, made) = self.users.get(&user)?;
        let created_at = moment(*at);
        Some(Profile {
            id: user,
            kind: made.kind,
            first_name: made.first_name.clone(),
            last_name: made.last_name.clone(),
            name: self.name_of(user),
            skills: made.skills.clone(),
            created_at,
            devices: vec![Device {
                device_id: made.device,
                public_key: made.public_key.clone(),
                created_at,
            }],
        })
    }

    pub(crate) fn profiles(&self, kind: Kind) -> Vec<Profile> {
        let users = self.users.iter();
        let users = users.filter(|(user, (_, made))| made.kind == kind && self.has(**user));
        users.filter_map(|(user, _)| self.profile(*user)).collect()
    }

    /// The users with greater ids than this one, as many as a page has, and whether there are more.
    pub(crate) fn page_after(&self, after: Id) -> wire::UserPage {
        let behind = self.users.range((Bound::Excluded(after), Bound::Unbounded));
        let mut ids = behind.map(|(user, _)| *user).filter(|user| self.has(*user));
        let page = ids.by_ref().take(limits::USERS_OF_PAGE);
        let users = page.filter_map(|user| self.profile(user)).collect();
        let has_more = ids.next().is_some();
        wire::UserPage { users, has_more }
    }

    pub(crate) fn name_of(&self, user: Id) -> String {
        self.users.get(&user).map_or_else(String::new, |(_, made)| {
            let name = format!("{} {}", made.first_name, made.last_name);
            name.trim().to_owned()
        })
    }

    pub(crate) fn member(&self, user: Id) -> Option<Member> {
        let (_, made) = self.users.get(&user)?;
        let (kind, name) = (made.kind, self.name_of(user));
        Some(Member {
            id: user,
            kind,
            name,
        })
    }

    /// The devices of a user and their keys; none where there is no such user, or the user was removed.
    pub(crate) fn usable_devices(&self, user: Id) -> Option<Vec<(Id, PublicKey)>> {
        let (_, made) = self.users.get(&user).filter(|_| self.has(user))?;
        let key = PublicKey::from_bytes(&made.public_key.0).ok()?;
        Some(vec![(made.device, key)])
    }

    /// The key of a user's device, a removed one's too.
    pub(crate) fn device_key(&self, user: Id, device: Id) -> Option<PublicKey> {
        let (_, made) = self.users.get(&user)?;
        let found = (made.device == device).then_some(&made.public_key.0)?;
        PublicKey::from_bytes(found).ok()
    }

    /// Whether there is such a user, who was not removed.
    pub(crate) fn has(&self, user: Id) -> bool {
        self.users.contains_key(&user) && !self.removed.contains(&user)
    }
}

/// A time of the wire.
pub(crate) fn moment(millis: u64) -> Timestamp {
    let millis = i64::try_from(millis).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_users_hold_each_who_is_there_once() {
        let mut fold = Organization::default();
        let many = limits::USERS_OF_PAGE * 2 + 2;
        let ids: Vec<Id> = (1..=many as u64).map(|n| Id::from_parts(n, 0)).collect();
        for (nth, user) in ids.iter().copied().enumerate() {
            let made = Registration {
                registration_id: user,
                invitation: Base64Url::default(),
                user,
                device: user,
                kind: if nth % 2 == 0 {
                    Kind::Agent
                } else {
                    Kind::Human
                },
                first_name: "A".to_owned(),
                last_name: String::new(),
                skills: Vec::new(),
                public_key: Base64Url::default(),
            };
            fold.apply(user, 0, &Act::Registered(made));
        }
        // The last one of a page, and one behind it.
        for user in [ids[limits::USERS_OF_PAGE], ids[many - 1]] {
            fold.apply(user, 0, &Act::Removed { user });
        }
        let (mut after, mut seen, mut pages) = (Id::ZERO, Vec::new(), 0);
        loop {
            let page = fold.page_after(after);
            assert!(page.users.len() <= limits::USERS_OF_PAGE);
            seen.extend(page.users.iter().map(|user| user.id));
            pages += 1;
            after = *seen.last().expect("a user");
            if !page.has_more {
                break;
            }
        }
        let there: Vec<Id> = ids.into_iter().filter(|id| fold.has(*id)).collect();
        assert_eq!((seen, pages), (there, 2));
        assert!(fold.page_after(after).users.is_empty());
    }
}
