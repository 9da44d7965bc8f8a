//! [`Pins`]: the first public key that was seen of each device.
//!
//! ```text
//! known_devices   one line for each pin, in the order in which they were made:
//!                 device_id user_id public_key milliseconds
//! ```
//! Invariants: a pin is never changed; nothing is wrapped for a key, and nothing from it is opened, that is not pinned; pins are
//! appended, with one sync for all of a page, and are on disk before they count; half a line at the end was never acted on.

use crate::crypto::PublicKey;
use crate::identity::{IdentityError, io_error, open_private, read_json, write_private};
use crate::wire::{Profile, StateDevice};
use crate::{Base64Url, Id, base64url};
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

const KNOWN_DEVICES: &str = "known_devices";
/// Of clients of before, which wrote all pins anew for each one.
const EARLIER: &str = "known_devices.json";

#[derive(Clone, Deserialize)]
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

/// The first key seen for each device.
pub struct Pins {
    folder: PathBuf,
    pins: BTreeMap<Id, Pin>,
    users: BTreeSet<Id>,
    /// Bytes of the file that were read or written here: whole lines.
    length: u64,
    /// Whether what it learns is kept.
    is_kept: bool,
}

impl Pins {
    /// The pins in an identity's folder; none where there is no file yet. A file of before is moved over.
    ///
    /// # Errors
    /// Where a file is not private or damaged, or the disk refuses.
    pub fn open(folder: &Path) -> Result<Self, IdentityError> {
        let (earlier, file) = (folder.join(EARLIER), folder.join(KNOWN_DEVICES));
        let mut pins = Self::look(folder)?;
        pins.is_kept = true;
        if earlier.exists() {
            if !file.exists() {
                let lines: Vec<u8> = pins.pins.iter().flat_map(line).collect();
                write_private(folder, KNOWN_DEVICES, &lines)?;
                pins.length = lines.len() as u64;
            }
            fs::remove_file(&earlier).map_err(|why| io_error(&earlier, why))?;
        }
        Ok(pins)
    }

    /// The same for a process that changes no file: what it learns, it knows until it ends.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn look(folder: &Path) -> Result<Self, IdentityError> {
        let mut pins = Self {
            folder: folder.to_owned(),
            pins: BTreeMap::new(),
            users: BTreeSet::new(),
            length: 0,
            is_kept: false,
        };
        let earlier = folder.join(EARLIER);
        if !folder.join(KNOWN_DEVICES).exists() && earlier.exists() {
            match read_json::<BTreeMap<Id, Pin>>(&earlier) {
                Ok(kept) => {
                    for (device_id, pin) in kept {
                        pins.insert(device_id, pin);
                    }
                }
                // The writer has moved it meanwhile.
                Err(IdentityError::Io { why, .. }) if why.kind() == ErrorKind::NotFound => {}
                Err(why) => return Err(why),
            }
        }
        pins.reload()?;
        Ok(pins)
    }

    /// Reads what was appended to the file: another process has it. Its pins win over what this one has learned.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn reload(&mut self) -> Result<(), IdentityError> {
        let path = self.folder.join(KNOWN_DEVICES);
        if !path.exists() {
            return Ok(());
        }
        let mut file = open_private(&path, false)?;
        let mut read = || {
            let mut appended = Vec::new();
            file.seek(SeekFrom::Start(self.length))?;
            file.read_to_end(&mut appended)?;
            Ok(appended)
        };
        let appended: Vec<u8> = read().map_err(|why| io_error(&path, why))?;
        let whole = appended.iter().rposition(|byte| *byte == b'\n');
        let whole = &appended[..whole.map_or(0, |last| last + 1)];
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            let (device_id, pin) = parsed(line).ok_or_else(|| IdentityError::Damaged {
                file: path.clone(),
                why: "a line is no pin".to_owned(),
            })?;
            self.insert(device_id, pin);
        }
        self.length += whole.len() as u64;
        Ok(())
    }

    /// Pins the devices of profiles that were not seen before.
    ///
    /// # Errors
    /// Where the disk refuses: nothing is pinned.
    pub fn learn(&mut self, profiles: &[Profile]) -> Result<Vec<RefusedDevice>, IdentityError> {
        let (mut news, mut new) = (Vec::new(), BTreeMap::new());
        let mut met = BTreeSet::new();
        for profile in profiles {
            let user_id = profile.id;
            for device in &profile.devices {
                let device_id = device.device_id;
                if let Some(pin) = self.pins.get(&device_id).or(new.get(&device_id)) {
                    if pin.user_id != user_id || pin.public_key != device.public_key {
                        news.push(RefusedDevice { user_id, device_id });
                    }
                    continue;
                }
                let second = self.users.contains(&user_id) || met.contains(&user_id);
                let valid = PublicKey::from_bytes(&device.public_key.0).is_ok();
                // A relay gives a user one device. A further one comes by the signed state of a channel alone.
                if !valid || second {
                    news.push(RefusedDevice { user_id, device_id });
                    continue;
                }
                met.insert(user_id);
                new.insert(device_id, Pin::new(user_id, &device.public_key));
            }
        }
        self.add(new)?;
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
    /// Where the disk refuses: nothing is pinned.
    pub fn trust(&mut self, devices: &[StateDevice]) -> Result<(), IdentityError> {
        let mut new = BTreeMap::new();
        for device in devices {
            if !self.pins.contains_key(&device.device_id) {
                let pin = || Pin::new(device.user_id, &device.public_key);
                new.entry(device.device_id).or_insert_with(pin);
            }
        }
        self.add(new)
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

    fn add(&mut self, new: BTreeMap<Id, Pin>) -> Result<(), IdentityError> {
        if self.is_kept && !new.is_empty() {
            let lines: Vec<u8> = new.iter().flat_map(line).collect();
            self.append(&lines)?;
        }
        for (device_id, pin) in new {
            self.insert(device_id, pin);
        }
        Ok(())
    }

    /// Appends whole lines behind the last whole one: what a failed attempt or a crash left there goes.
    fn append(&mut self, lines: &[u8]) -> Result<(), IdentityError> {
        let path = self.folder.join(KNOWN_DEVICES);
        let is_new = !path.exists();
        let mut file = open_private(&path, true)?;
        let mut append = || {
            file.set_len(self.length)?;
            file.seek(SeekFrom::End(0))?;
            file.write_all(lines)?;
            file.sync_all()?;
            match is_new {
                true => File::open(&self.folder)?.sync_all(),
                false => Ok(()),
            }
        };
        append().map_err(|why| io_error(&path, why))?;
        self.length += lines.len() as u64;
        Ok(())
    }

    fn insert(&mut self, device_id: Id, pin: Pin) {
        self.users.insert(pin.user_id);
        self.pins.insert(device_id, pin);
    }
}

impl Pin {
    fn new(user_id: Id, public_key: &Base64Url) -> Self {
        Self {
            user_id,
            public_key: public_key.clone(),
            first_seen: Timestamp::now(),
        }
    }
}

fn line((device_id, pin): (&Id, &Pin)) -> Vec<u8> {
    let key = base64url::encode(&pin.public_key.0);
    let at = pin.first_seen.as_millisecond();
    format!("{device_id} {} {key} {at}\n", pin.user_id).into_bytes()
}

fn parsed(line: &[u8]) -> Option<(Id, Pin)> {
    let line = str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let mut words = line.split(' ');
    let device_id = words.next()?.parse().ok()?;
    let pin = Pin {
        user_id: words.next()?.parse().ok()?,
        public_key: Base64Url(base64url::decode(words.next()?).ok()?),
        first_seen: Timestamp::from_millisecond(words.next()?.parse().ok()?).ok()?,
    };
    words.next().is_none().then_some((device_id, pin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceKey;
    use crate::identity::write_json;
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
            pins.learn(&[profile(user, Kind::Agent, &[(device, &key)])])
                .expect("pinned")
                .is_empty()
        );
        let mut pins = Pins::open(folder.path()).expect("opens");
        let refused = |user_id, device_id| vec![RefusedDevice { user_id, device_id }];
        let swapped = pins.learn(&[profile(user, Kind::Agent, &[(device, &false_key)])]);
        assert_eq!(swapped.expect("read"), refused(user, device));
        let moved = pins.learn(&[profile(other, Kind::Agent, &[(device, &key)])]);
        assert_eq!(moved.expect("read"), refused(other, device));
        let more = pins.learn(&[profile(
            user,
            Kind::Agent,
            &[(device, &key), (second, &false_key)],
        )]);
        assert_eq!(more.expect("read"), refused(user, second));
        assert_eq!(pins.key(user, device).as_ref(), Some(key.public()));
        assert_eq!(pins.key(other, device), None);
        assert_eq!(pins.key(user, second), None);
        // One that only looks keeps nothing, and hears of what the other has kept since.
        let newcomer = profile(other, Kind::Agent, &[(second, &false_key)]);
        let mut looks = Pins::look(folder.path()).expect("opens");
        looks.learn(&[newcomer]).expect("known");
        assert!(looks.key(other, second).is_some());
        let mut pins = Pins::open(folder.path()).expect("opens");
        assert_eq!(pins.key(other, second), None);
        let truth = profile(other, Kind::Agent, &[(second, &key)]);
        pins.learn(&[truth]).expect("pinned");
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
            fs::create_dir(&folder).expect("made");
            let mut pins = Pins::open(&folder).expect("opens");
            let both = profile(user, kind, &[(device, &key), (second, &other)]);
            let news = pins.learn(&[both]).expect("pinned");
            let refused = RefusedDevice {
                user_id: user,
                device_id: second,
            };
            assert_eq!(news, [refused]);
            assert!(pins.key(user, device).is_some() && pins.key(user, second).is_none());
        }
    }

    #[test]
    fn pins_of_an_older_version_are_moved_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let [user, device, second] = [1, 2, 3].map(|n| Id::from_parts(n, 0));
        let [key, other] = [DeviceKey::generate(), DeviceKey::generate()];
        let earlier = serde_json::json!({
            device.to_string(): {"user_id": user, "public_key": key.public().to_wire(), "first_seen": "2026-11-23T05:31:38Z"},
        });
        write_json(folder.path(), EARLIER, &earlier).expect("written");
        let mut looks = Pins::look(folder.path()).expect("opens");
        assert!(
            folder.path().join(EARLIER).exists(),
            "a reader moves nothing"
        );
        let mut pins = Pins::open(folder.path()).expect("opens");
        assert!(!folder.path().join(EARLIER).exists());
        let changed = [
            profile(user, Kind::Human, &[(device, &other)]),
            profile(second, Kind::Human, &[(second, &other)]),
        ];
        assert_eq!(pins.learn(&changed).expect("pinned").len(), 1);
        let again = Pins::open(folder.path()).expect("opens");
        looks.reload().expect("read");
        for pins in [&pins, &again, &looks] {
            assert_eq!(pins.key(user, device).as_ref(), Some(key.public()));
            assert_eq!(pins.key(second, second).as_ref(), Some(other.public()));
        }
        // A crash between the two steps of the move: the new file counts.
        write_json(folder.path(), EARLIER, &serde_json::json!({})).expect("written");
        let again = Pins::open(folder.path()).expect("opens");
        assert!(again.key(user, device).is_some());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn pins_survive_a_power_cut() {
        let [first, second] = [1, 2].map(|n| Id::from_parts(n, 0));
        let key = DeviceKey::generate();
        let learn = |top: &Path, id| {
            let mut pins = Pins::open(top).expect("opens");
            pins.learn(&[profile(id, Kind::Agent, &[(id, &key)])])
                .expect("pinned");
        };
        let pinned = |top: &Path, id| Pins::look(top).is_ok_and(|pins| pins.key(id, id).is_some());
        let act = |disk: &plexus_power_cut::Disk, ()| learn(&disk.path(), second);
        let done = |top: &Path| pinned(top, second);
        plexus_power_cut::holds(|_| (), act, done, &[]);
        let both = |top: &Path| pinned(top, first) && pinned(top, second);
        plexus_power_cut::holds(|top| learn(top, first), act, both, &[]);
    }

    #[test]
    fn half_a_line_is_dropped_and_a_damaged_one_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(KNOWN_DEVICES);
        let [first, second] = [1, 2].map(|n| Id::from_parts(n, 0));
        let key = DeviceKey::generate();
        let one = |id| [profile(id, Kind::Agent, &[(id, &key)])];
        let mut pins = Pins::open(folder.path()).expect("opens");
        pins.learn(&one(first)).expect("pinned");
        let whole = fs::read(&file).expect("pins");
        fs::write(&file, [&whole[..], &whole[..30]].concat()).expect("written");
        // Of the same process after a failed attempt, or of the next one.
        for mut pins in [pins, Pins::open(folder.path()).expect("opens")] {
            pins.learn(&one(second)).expect("pinned");
            assert!(
                Pins::look(folder.path())
                    .expect("opens")
                    .key(second, second)
                    .is_some()
            );
            fs::write(&file, [&whole[..], &whole[..30]].concat()).expect("written");
        }
        fs::write(&file, [&whole[..30], b"\n", &whole[..]].concat()).expect("written");
        let damaged = Pins::open(folder.path());
        assert!(matches!(damaged, Err(IdentityError::Damaged { .. })));
    }
}
