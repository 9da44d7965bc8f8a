//! [`Pins`]: the first public key that was seen of each device.
//!
//! Invariant: a pin is never changed; nothing is wrapped for a key, and nothing from it is opened, that is not pinned.

use crate::crypto::PublicKey;
use crate::identity::{IdentityError, read_json, write_json};
use crate::wire::{Profile, StateDevice};
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

/// A device that shows another key or another owner than before, or a user's second one. It is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedDevice {
    /// Whose, as the relay says.
    pub user_id: Id,
    /// Which.
    pub device_id: Id,
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
    pub fn learn(&mut self, profile: &Profile) -> Result<Vec<RefusedDevice>, IdentityError> {
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
                    news.push(RefusedDevice { user_id, device_id });
                }
                continue;
            }
            let second = known + added > 0;
            let valid = PublicKey::from_bytes(&device.public_key.0).is_ok();
            // A relay gives a user one device. A further one comes by the signed state of a channel alone.
            if !valid || second {
                news.push(RefusedDevice { user_id, device_id });
                continue;
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

    /// Whether a signed state may name this key for a device: no other one is pinned.
    #[must_use]
    pub fn fits(&self, device: &StateDevice) -> bool {
        let pin = self.pins.get(&device.device_id);
        pin.is_none_or(|pin| pin.user_id == device.user_id && pin.public_key == device.public_key)
    }

    /// Pins the devices that a signed state names.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn trust(&mut self, devices: &[StateDevice]) -> Result<(), IdentityError> {
        let before = self.pins.len();
        for device in devices {
            self.pins.entry(device.device_id).or_insert_with(|| Pin {
                user_id: device.user_id,
                public_key: device.public_key.clone(),
                first_seen: Timestamp::now(),
            });
        }
        if self.pins.len() > before && self.is_kept {
            write_json(&self.folder, KNOWN_DEVICES, &self.pins)?;
        }
        Ok(())
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
    use crate::wire::{Device, Kind};

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
        let refused = |user_id, device_id| vec![RefusedDevice { user_id, device_id }];
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
    fn second_device_in_the_directory_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let [user, device, second] = [1, 2, 3].map(|n| Id::from_parts(n, 0));
        let [key, other] = [DeviceKey::generate(), DeviceKey::generate()];
        for (nth, kind) in [Kind::Human, Kind::Agent].into_iter().enumerate() {
            let folder = folder.path().join(nth.to_string());
            std::fs::create_dir(&folder).expect("made");
            let mut pins = Pins::open(&folder).expect("opens");
            let both = profile(user, kind, &[(device, &key), (second, &other)]);
            let news = pins.learn(&both).expect("pinned");
            let refused = RefusedDevice {
                user_id: user,
                device_id: second,
            };
            assert_eq!(news, [refused]);
            assert!(pins.key(user, device).is_some() && pins.key(user, second).is_none());
        }
    }
}
