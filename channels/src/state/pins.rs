//! [`Pins`]: the first public key that was seen of each device.
//!
//! Invariant: a pin is never changed; nothing is wrapped for a key, and nothing from it is opened, that is not pinned.

use crate::crypto::PublicKey;
use crate::identity::{IdentityError, read_json, write_json};
use crate::wire::{Kind, Profile};
use crate::{Base64Url, Id};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const KNOWN_DEVICES: &str = "known_devices.json";

#[derive(Clone, Serialize, Deserialize)]
struct Pin {
    user_id: Id,
    public_key: Base64Url,
    first_seen: Timestamp,
}

/// Something about the devices of a user that a person should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceNews {
    /// A human shows one more device; it is used from now on.
    Added {
        /// Whose.
        user_id: Id,
        /// Which.
        device_id: Id,
    },
    /// A device shows another key, or another owner; or an agent shows a second device. It is not used.
    Refused {
        /// Whose, as the relay says.
        user_id: Id,
        /// Which.
        device_id: Id,
    },
}

/// What `known_devices.json` holds: the first key seen for each device.
pub struct Pins {
    folder: PathBuf,
    pins: BTreeMap<Id, Pin>,
    /// Whether what it learns is kept.
    is_kept: bool,
}

impl Pins {
    /// The pins in an identity's folder; none where there is no file yet.
    ///
    /// # Errors
    /// Where the file is not private or damaged.
    pub fn open(folder: &Path) -> Result<Self, IdentityError> {
        Ok(Self {
            folder: folder.to_owned(),
            pins: kept_pins(folder)?,
            is_kept: true,
        })
    }

    /// The same for a process that changes no file: what it learns, it knows until it ends.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn look(folder: &Path) -> Result<Self, IdentityError> {
        let mut pins = Self::open(folder)?;
        pins.is_kept = false;
        Ok(pins)
    }

    /// Reads the file again: another process has it. Its pins win over what this one has learned.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn reload(&mut self) -> Result<(), IdentityError> {
        self.pins.extend(kept_pins(&self.folder)?);
        Ok(())
    }

    /// Pins the devices of a profile that were not seen before.
    ///
    /// # Errors
    /// Where the disk refuses: nothing may be wrapped then.
    pub fn learn(&mut self, profile: &Profile) -> Result<Vec<DeviceNews>, IdentityError> {
        let user_id = profile.id;
        let known = self
            .pins
            .values()
            .filter(|pin| pin.user_id == user_id)
            .count();
        let (mut news, mut added) = (Vec::new(), 0);
        for device in &profile.devices {
            let device_id = device.device_id;
            if let Some(pin) = self.pins.get(&device_id) {
                if pin.user_id != user_id || pin.public_key != device.public_key {
                    news.push(DeviceNews::Refused { user_id, device_id });
                }
                continue;
            }
            let second = known + added > 0;
            let valid = PublicKey::from_bytes(&device.public_key.0).is_ok();
            if !valid || second && profile.kind == Kind::Agent {
                news.push(DeviceNews::Refused { user_id, device_id });
                continue;
            }
            if known > 0 {
                news.push(DeviceNews::Added { user_id, device_id });
            }
            added += 1;
            let pin = Pin {
                user_id,
                public_key: device.public_key.clone(),
                first_seen: Timestamp::now(),
            };
            self.pins.insert(device_id, pin);
        }
        if added > 0 && self.is_kept {
            write_json(&self.folder, KNOWN_DEVICES, &self.pins)?;
        }
        Ok(news)
    }

    /// The pinned key of a user's device.
    #[must_use]
    pub fn key(&self, user_id: Id, device_id: Id) -> Option<PublicKey> {
        let pin = self
            .pins
            .get(&device_id)
            .filter(|pin| pin.user_id == user_id)?;
        PublicKey::from_bytes(&pin.public_key.0).ok()
    }
}

fn kept_pins(folder: &Path) -> Result<BTreeMap<Id, Pin>, IdentityError> {
    let path = folder.join(KNOWN_DEVICES);
    if path.exists() {
        read_json(&path)
    } else {
        Ok(BTreeMap::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceKey;
    use crate::wire::Device;

    fn profile(id: Id, kind: Kind, devices: &[(Id, &DeviceKey)]) -> Profile {
        let device = |(device_id, key): &(Id, &DeviceKey)| Device {
            device_id: *device_id,
            public_key: key.public().to_wire(),
            created_at: Timestamp::UNIX_EPOCH,
        };
        Profile {
            id,
            kind,
            first_name: String::new(),
            last_name: String::new(),
            name: String::new(),
            skills: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH,
            devices: devices.iter().map(device).collect(),
        }
    }

    #[test]
    fn first_key_of_device_is_kept_over_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let (user, other, device, second) = (
            Id::generate(),
            Id::generate(),
            Id::generate(),
            Id::generate(),
        );
        let (key, false_key) = (DeviceKey::generate(), DeviceKey::generate());
        let mut pins = Pins::open(folder.path()).expect("opens");
        assert_eq!(pins.key(user, device), None);
        assert!(
            pins.learn(&profile(user, Kind::Agent, &[(device, &key)]))
                .expect("pinned")
                .is_empty()
        );
        let mut pins = Pins::open(folder.path()).expect("opens");
        let refused = |user_id, device_id| vec![DeviceNews::Refused { user_id, device_id }];
        let swapped = pins.learn(&profile(user, Kind::Agent, &[(device, &false_key)]));
        assert_eq!(swapped.expect("read"), refused(user, device));
        let moved = pins.learn(&profile(other, Kind::Agent, &[(device, &key)]));
        assert_eq!(moved.expect("read"), refused(other, device));
        let more = pins.learn(&profile(
            user,
            Kind::Agent,
            &[(device, &key), (second, &false_key)],
        ));
        assert_eq!(more.expect("read"), refused(user, second));
        assert_eq!(pins.key(user, device).as_ref(), Some(key.public()));
        assert_eq!(pins.key(other, device), None);
        assert_eq!(pins.key(user, second), None);
        // One that only looks keeps nothing, and hears of what the other has kept since.
        let newcomer = profile(other, Kind::Agent, &[(second, &false_key)]);
        let mut looks = Pins::look(folder.path()).expect("opens");
        looks.learn(&newcomer).expect("known");
        assert!(looks.key(other, second).is_some());
        let mut pins = Pins::open(folder.path()).expect("opens");
        assert_eq!(pins.key(other, second), None);
        let truth = profile(other, Kind::Agent, &[(second, &key)]);
        pins.learn(&truth).expect("pinned");
        looks.reload().expect("read");
        assert_eq!(looks.key(other, second).as_ref(), Some(key.public()));
    }

    #[test]
    fn further_device_of_human_is_reported_and_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let (user, device, second) = (Id::generate(), Id::generate(), Id::generate());
        let key = DeviceKey::generate();
        let mut pins = Pins::open(folder.path()).expect("opens");
        pins.learn(&profile(user, Kind::Human, &[(device, &key)]))
            .expect("pinned");
        let news = pins.learn(&profile(
            user,
            Kind::Human,
            &[(device, &key), (second, &key)],
        ));
        assert_eq!(
            news.expect("pinned"),
            [DeviceNews::Added {
                user_id: user,
                device_id: second
            }]
        );
        assert!(pins.key(user, second).is_some());
    }
}
