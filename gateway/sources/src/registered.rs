//! An offer that is ready to serve: its schemas compiled within a [budget](SchemaBudget), and all that its sources are granted
//! upon as rules.
//!
//! Invariant: whatever widens what a worker reaches changes a rule or the digest of the profile; another wording changes
//! neither.

use crate::{
    budget::SchemaBudget,
    profile,
    schema::{PatternHolder, Schema},
};
use plexus_ipc::{
    manifest::{Audience, Egress, EgressEntry, EgressHost, Manifest, SocketPath, UnixEgress},
    offer::Offer,
};
use plexus_protocol::{CapabilityId, Digest, SourceId, json};
use plexus_trust::Facts;
use serde_json::{Value, json as object};
use std::{collections::BTreeMap, sync::Arc};

/// An offer, read and compiled.
pub struct Registered {
    /// Its manifest, profile and program.
    pub offer: Arc<Offer>,
    /// Digest of the profile without comments and white space: a changed reason is no changed right.
    pub profile_digest: Digest,
    /// Its rules in the same spelling.
    pub rules: Vec<String>,
    /// The rest of what its workers may do, as rules: imports and system calls of the cage, egress, programs, commands
    /// and requests. The owner grants upon them as upon the profile's own.
    pub base: Vec<String>,
    /// By the manifest's name of the capability.
    pub schemas: BTreeMap<String, Schema>,
}

impl Registered {
    /// Compiles an offer whose schemas are within their budget.
    pub(crate) fn of(offer: Arc<Offer>) -> anyhow::Result<Self> {
        let mut whole = Self::uncompiled(offer)?;
        let manifest = &whole.offer.manifest;
        let callable = manifest.capabilities.iter().filter(|c| c.callable());
        let inputs = callable.clone().filter_map(|c| c.input.as_ref());
        let empty = object!({"type": "object"});
        let named = |why| anyhow::anyhow!("{}: {why}", manifest.connector);
        SchemaBudget::check(inputs).map_err(named)?;
        let holder = match manifest.mcp.is_some() {
            true => PatternHolder::Server,
            false => PatternHolder::Gateway,
        };
        let mut schemas = BTreeMap::new();
        for capability in callable {
            let schema = Schema::compile(capability.input.as_ref().unwrap_or(&empty), holder);
            let schema = schema.map_err(|why| {
                anyhow::anyhow!("{}: {}: {why}", manifest.connector, capability.name)
            })?;
            schemas.insert(capability.name.clone(), schema);
        }
        whole.schemas = schemas;
        Ok(whole)
    }

    /// An offer to look at: its schemas are not compiled, so no call of it is let through.
    pub(crate) fn uncompiled(offer: Arc<Offer>) -> anyhow::Result<Self> {
        let (manifest, profile) = (&offer.manifest, &*offer.profile);
        let mut base = base_of(profile)?;
        base.extend(egress_of(manifest));
        base.extend(programs_of(&offer));
        base.extend(commands_of(manifest));
        base.extend(requests_of(manifest));
        Ok(Self {
            profile_digest: profile_digest(profile),
            rules: profile::rules(profile),
            base,
            schemas: BTreeMap::new(),
            offer,
        })
    }

    /// The facts of each capability that the trust machine decides by, for a source of this id.
    pub fn facts(&self, source: &SourceId) -> BTreeMap<CapabilityId, Facts> {
        let shown = self.offer.manifest.capabilities.iter();
        // Agents neither see nor are granted a capability of the owner alone.
        let shown = shown.filter(|capability| capability.audience == Audience::Agents);
        let facts = shown.filter_map(|capability| {
            let id = CapabilityId::of(source, &capability.name).ok()?;
            let schema = capability.input.clone().unwrap_or(Value::Null);
            let properties = schema.get("properties").and_then(Value::as_object);
            let resolved: Vec<String> = capability
                .constrainable
                .iter()
                .filter(|c| c.touched.is_some())
                .map(|c| c.field.clone())
                .collect();
            let mut shape = object!({
                "verbs": capability.verbs,
                "sensitivity": capability.sensitivity,
                "input": without_wording(&schema),
                "constrainable": capability.constrainable,
            });
            // Absent where there is none: a new member of every shape would suspend every earlier grant.
            if let Some(turns) = &capability.conversation {
                shape["conversation"] = object!(turns);
            }
            if let Some(calls) = &capability.children {
                shape["children"] = object!(calls);
            }
            Some((
                id,
                Facts {
                    verbs: capability.verbs,
                    sensitivity: capability.sensitivity,
                    fields: properties
                        .map(|p| p.keys().cloned().collect())
                        .unwrap_or_default(),
                    resolved,
                    shape: json::digest(&shape),
                    input: Some(without_wording(&schema)),
                    narrow: object!(capability.constrainable),
                    staged: capability.staged,
                },
            ))
        });
        facts.collect()
    }
}

/// A schema without the members that only people read.
fn without_wording(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => members
            .iter()
            .filter(|(key, value)| {
                !(value.is_string() && matches!(key.as_str(), "description" | "title" | "$comment")
                    || value.is_array() && *key == "examples")
            })
            .map(|(key, value)| (key.clone(), without_wording(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_wording).collect(),
        other => other.clone(),
    }
}

/// The grants of a profile's cage beside its rules, as rules: each import by itself, and the system calls by their digest.
fn base_of(profile: &str) -> anyhow::Result<Vec<String>> {
    let profile = plexus_sandbox::profile::Profile::parse(profile)?;
    let mut base = Vec::new();
    if profile.import.is_some() {
        let rules = plexus_sandbox::base_rules();
        base.extend(rules.iter().map(|rule| profile::spelled(rule)));
    }
    let calls = plexus_sandbox::system_calls(&profile)?;
    if !calls.is_empty() {
        base.push(profile::system_calls(&Digest::of(&calls)));
    }
    Ok(base)
}

/// The hosts and sockets that a connector's workers reach through the source's egress, as rules: the owner reviews a
/// release that names another host as one whose profile has another rule.
fn egress_of(manifest: &Manifest) -> Vec<String> {
    let of_host = |entry: &Egress| {
        let host = match &entry.host {
            EgressHost::Fixed(host) => format!("\"{host}:{}\"", entry.port),
            EgressHost::Owner { field } => format!("(param \"{field}\") {}", entry.port),
            EgressHost::Agreed { agreed, .. } => format!("\"{agreed}\""),
        };
        if !entry.is_forwarded() {
            return format!("(allow plexus-egress (remote tcp {host}))");
        }
        let secret = entry.secret.as_ref();
        let secret = secret.map_or_else(String::new, |name| {
            let field = manifest.field(name);
            let unless = field.and_then(|field| field.unless.as_ref());
            let unless = unless.map_or_else(String::new, |by| format!(" (unless \"{by}\")"));
            format!(" (secret \"{name}\"{unless})")
        });
        let reads = match entry.reads.is_empty() {
            true => String::new(),
            false => format!(" (reads \"{}\")", entry.reads.join("\" \"")),
        };
        let pin = match &entry.host {
            EgressHost::Agreed { certificate, .. } => certificate.as_ref(),
            EgressHost::Fixed(_) | EgressHost::Owner { .. } => entry.pin.as_ref(),
        };
        let pin = pin.map_or_else(String::new, |pin| format!(" (pin \"{pin}\")"));
        let paths = entry.paths.join("\" \"");
        let below = match entry.below {
            true => " (below owner)",
            false => "",
        };
        // Of what ships, how a secret is added is the release's.
        let auth = match entry.is_agreed() && !secret.is_empty() {
            true => format!(" (as {})", object!(entry.auth)),
            false => String::new(),
        };
        format!(
            "(allow plexus-egress (remote tcp {host}){secret}{auth} (paths \"{paths}\"){below}{reads}{pin})"
        )
    };
    let of_socket = |entry: &UnixEgress| {
        let socket = match &entry.unix {
            SocketPath::Fixed(path) => format!("\"{path}\""),
            SocketPath::Owner { field } => format!("(param \"{field}\")"),
        };
        let listed = |what: &str, names: &[String]| match names.is_empty() {
            true => String::new(),
            false => format!(" ({what} \"{}\")", names.join("\" \"")),
        };
        let (asks, reads) = (listed("asks", &entry.asks), listed("reads", &entry.reads));
        format!("(allow plexus-egress (remote unix-socket {socket}){asks}{reads})")
    };
    let rule = |entry: &EgressEntry| match entry {
        EgressEntry::Host(host) => of_host(host),
        EgressEntry::Socket(socket) => of_socket(socket),
    };
    manifest.egress.iter().map(rule).collect()
}

/// The arguments and rights of each program, as one rule: another program, argument or right is another rule.
fn programs_of(offer: &Offer) -> impl Iterator<Item = String> {
    offer.manifest.children.iter().map(|child| {
        let mut profiles = offer.children.iter();
        let profile = profiles.find(|(name, _)| *name == child.name);
        let profile = profile.map_or("", |(_, text)| text);
        let whole = format!("{}{}", object!(child), profile::spelled(profile));
        format!("child {} {}", child.name, Digest::of(whole.as_bytes()))
    })
}

/// The commands of an extension, as rules: the owner reviews another argument as another right.
fn commands_of(manifest: &Manifest) -> impl Iterator<Item = String> {
    let commands = manifest.commands().into_iter();
    commands.map(|(name, command)| format!("command {name} {}", object!(command)))
}

/// The requests of an extension, as rules: the owner reviews another query or body as another right.
fn requests_of(manifest: &Manifest) -> impl Iterator<Item = String> {
    let requests = manifest.requests();
    requests.map(|(name, request)| format!("request {name} {}", object!(request)))
}

/// Digest of a profile's rules: comments and runs of white space outside strings do not count.
fn profile_digest(profile: &str) -> Digest {
    Digest::of(profile::spelled(profile).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipped::SHIPPED;

    #[test]
    fn wording_is_no_right() {
        let profile = "(version 1)\n(allow file-read* (subpath \"a ;b\")) ; why\n";
        let other = "(version 1) ; other words\n\n  (allow file-read*   (subpath \"a ;b\"))";
        assert_eq!(profile_digest(profile), profile_digest(other));
        let wider = "(version 1)(allow file-read* (subpath \"a ;c\"))";
        assert_ne!(profile_digest(profile), profile_digest(wider));
        let schema =
            object!({"properties": {"description": {"type": "string", "description": "words"}}});
        let bare = object!({"properties": {"description": {"type": "string"}}});
        assert_eq!(without_wording(&schema), bare);
    }

    /// The imports of a cage are kept with the profile's own rules, entry by entry.
    #[test]
    fn what_is_imported_is_kept_with_the_rules() {
        let granted = plexus_sandbox::base_rules();
        assert_eq!(granted.is_empty(), cfg!(target_os = "macos"));
        for connector in SHIPPED {
            let mut base = base_of(connector.profile).unwrap();
            let calls = (!cfg!(target_os = "macos")).then(|| base.pop().unwrap());
            assert_eq!(base, granted, "{}", connector.name);
            base.extend(calls);
            assert!(
                !base.is_empty() || cfg!(target_os = "macos"),
                "{}",
                connector.name
            );
            for rule in &base {
                assert_eq!(profile::rules(rule), std::slice::from_ref(rule));
            }
        }
    }

    /// Another host, another port, another path of a secret: each is another rule.
    #[test]
    fn hosts_are_kept_with_the_rules() {
        let manifest = include_str!("../../../tests/fixture/manifest.json");
        let rules = egress_of(&Manifest::parse(manifest).unwrap());
        assert_eq!(
            rules,
            [
                "(allow plexus-egress (remote tcp (param \"server\") 443) (secret \"token\") (paths \"/dav\" \"GET /menu\") (reads \"GET\" \"POST /dav/find\"))",
                "(allow plexus-egress (remote tcp (param \"peer\") 443))",
                "(allow plexus-egress (remote unix-socket (param \"app\")))",
            ]
        );
        for rule in &rules {
            assert_eq!(profile::rules(rule), std::slice::from_ref(rule));
            assert!(profile::words(rule).starts_with("reach over the network: "));
        }
        let moved = manifest.replace("[\"/dav\", ", "[\"/\", ");
        assert_ne!(egress_of(&Manifest::parse(&moved).unwrap()), rules);
        // Reads below a path are methods alone.
        let methods = manifest.replace("[\"GET\", \"POST /dav/find\"]", "[\"GET\"]");
        let below = methods.replace(
            "\"paths\": [\"/dav\"",
            "\"below\": true, \"paths\": [\"/dav\"",
        );
        let rules_of = |text: &str| egress_of(&Manifest::parse(text).unwrap());
        assert_ne!(rules_of(&below), rules_of(&methods));
        let wider = manifest.replace("\"reads\": [\"GET\", \"POST /dav/find\"], ", "");
        assert_ne!(egress_of(&Manifest::parse(&wider).unwrap()), rules);
    }

    /// The system calls are no rule of the profile, and are granted upon all the same.
    #[test]
    #[cfg(target_os = "linux")]
    fn system_calls_are_kept_with_the_rules() {
        let calls = |more: &str| {
            let base = base_of(&format!("(version 1)\n(deny default)\n{more}")).unwrap();
            let [calls] = &base[..] else {
                panic!("{base:?}")
            };
            calls.clone()
        };
        let leaf = calls("");
        assert_eq!(leaf, calls("(define plexus-system-calls \"leaf\")"));
        assert_eq!(leaf, calls("(allow process-fork)"));
        assert_ne!(leaf, calls("(define plexus-system-calls \"agent\")"));
        assert!(
            profile::words(&leaf).starts_with("ask the kernel for: "),
            "{leaf}"
        );
    }
}
