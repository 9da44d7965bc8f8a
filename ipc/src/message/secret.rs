//! Secrets on their way to the one worker that needs them.
//!
//! Invariants: a secret cannot be printed, compared, cloned or serialized, except in a field of a start message; its memory is
//! wiped when it goes.

use std::{collections::BTreeMap, fmt};
use zeroize::Zeroizing;

/// Most secrets of a source.
pub(crate) const MAX_SECRETS: usize = 16;
/// Longest secret, in bytes.
pub const MAX_SECRET: usize = 16 * 1024;

/// One secret.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes it over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
    /// The secret itself. The caller sends it to the app it belongs to and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// The secrets of one source, by field name.
#[derive(Debug, Default)]
pub struct Secrets(BTreeMap<String, Secret>);

impl Secrets {
    /// The secret of that field.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&Secret> {
        self.0.get(field)
    }
    /// Takes the secret of that field out.
    pub fn take(&mut self, field: &str) -> Option<Secret> {
        self.0.remove(field)
    }
    /// All of them, each with its field.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.iter().map(|(field, secret)| (&**field, secret))
    }
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, Secret)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, Secret)>>(secrets: I) -> Self {
        Self(secrets.into_iter().collect())
    }
}

/// How a single [`Secret`] travels.
pub(crate) mod single {
    use super::{MAX_SECRET, Secret};
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(secret: &Secret, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(secret.expose())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Secret, D::Error> {
        let secret = Secret::new(String::deserialize(d)?);
        if secret.expose().len() > MAX_SECRET {
            return Err(de::Error::custom("a longer secret than there is"));
        }
        Ok(secret)
    }
}

/// How [`Secrets`] travel inside a `Start`.
pub(super) mod wire {
    use super::{MAX_SECRET, MAX_SECRETS, Secret, Secrets};
    use serde::de::{self, Deserializer, MapAccess, Visitor};
    use serde::{Serializer, ser::SerializeMap};
    use std::{collections::BTreeMap, fmt};

    pub(in crate::message) fn serialize<S: Serializer>(
        secrets: &Secrets,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(secrets.0.len()))?;
        for (field, secret) in &secrets.0 {
            map.serialize_entry(field, secret.expose())?;
        }
        map.end()
    }

    pub(in crate::message) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Secrets, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Secrets;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("secrets by field name")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secrets, A::Error> {
                let mut out = BTreeMap::new();
                while let Some((field, text)) = map.next_entry::<String, String>()? {
                    let secret = Secret::new(text);
                    if out.len() == MAX_SECRETS
                        || field.len() > 64
                        || secret.expose().len() > MAX_SECRET
                    {
                        return Err(de::Error::custom(
                            "more or longer secrets than a source has",
                        ));
                    }
                    out.insert(field, secret);
                }
                Ok(Secrets(out))
            }
        }
        d.deserialize_map(Map)
    }
}
