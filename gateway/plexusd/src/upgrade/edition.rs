//! What a build of the gateway says of itself, and whether one may take over from another.
//!
//! Invariant: members are only added; a build reads what it knows of another's.

pub(crate) use plexus_desk::upgrade::{Build, own_build};
use semver::Version;
use serde::{Deserialize, Serialize};

/// The version of what is handed over: the variable, and which sockets there are.
const HANDOVER: u32 = 1;

/// What a build says of itself when it is asked to (`plexusd edition`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Edition {
    #[serde(flatten)]
    pub(crate) build: Build,
    /// Formats of the ledger that it opens.
    ledger_formats: Vec<u64>,
    /// Handovers that it takes.
    handovers: Vec<u32>,
    /// Why it would not start here, with these arguments; empty if it would, as far as can be told beforehand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

impl Edition {
    /// This one, with what it found in its way.
    pub(crate) fn own(problems: Vec<String>) -> Self {
        Self {
            build: own_build(),
            ledger_formats: plexus_ledger::FORMATS.to_vec(),
            handovers: vec![HANDOVER],
            problems,
        }
    }

    /// Whether `next` may take over from this one, which has the ledger open.
    ///
    /// # Errors
    /// Why not, in words for the owner.
    pub(crate) fn yields_to(&self, next: &Self) -> Result<(), String> {
        let (is, was) = (&next.build.version, &self.build.version);
        let (Ok(later), Ok(earlier)) = (Version::parse(is), Version::parse(was)) else {
            return Err(format!("{is:?} is no version"));
        };
        if later < earlier {
            return Err(format!(
                "it is version {is}, older than {was}, which runs: it may not know all that {was} has written"
            ));
        }
        // What this one writes is what the next one finds.
        let format = self.ledger_formats.first().copied().unwrap_or_default();
        if !next.ledger_formats.contains(&format) {
            return Err(format!(
                "it does not know format {format} of the ledger, only {:?}",
                next.ledger_formats
            ));
        }
        if !next.handovers.contains(&HANDOVER) {
            return Err(format!(
                "it cannot take over from a running gateway of version {was}"
            ));
        }
        match next.problems.as_slice() {
            [] => Ok(()),
            problems => Err(format!("it would not start here: {}", problems.join("; "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: &str) -> Edition {
        let mut edition = Edition::own(Vec::new());
        edition.build.version = version.to_owned();
        edition
    }

    #[test]
    fn the_same_and_later_versions_follow_and_earlier_ones_do_not() {
        for (was, is) in [
            ("0.9.0", "0.9.0"),
            ("0.9.0", "0.10.0"),
            ("1.2.3-rc.1", "1.2.3"),
            ("1.2.3-rc.9", "1.2.3-rc.10"),
        ] {
            assert_eq!(of(was).yields_to(&of(is)), Ok(()), "{was} {is}");
        }
        for (was, is) in [
            ("0.10.0", "0.9.9"),
            ("1.2.3", "1.2.3-rc.1"),
            ("1.0.0", "0.99.99"),
        ] {
            let why = of(was).yields_to(&of(is)).unwrap_err();
            assert!(why.contains(is) && why.contains("older than"), "{why}");
        }
        for is in ["", "1", "1.2", "1.2.3.4", "one.two.three", "1.2.-3"] {
            let why = format!("{is:?} is no version");
            assert_eq!(of("0.0.1").yields_to(&of(is)), Err(why));
        }
    }

    #[test]
    fn what_cannot_read_the_ledger_or_take_over_does_not_follow() {
        let running = of("1.0.0");
        let refused = |change: &dyn Fn(&mut Edition), words: &str| {
            let mut next = of("1.0.0");
            assert_eq!(running.yields_to(&next), Ok(()));
            change(&mut next);
            let why = running.yields_to(&next).unwrap_err();
            assert!(why.contains(words), "{words}: {why}");
        };
        refused(&|next| next.ledger_formats = vec![1], "only [1]");
        refused(&|next| next.handovers = vec![2], "cannot take over");
        refused(
            &|next| next.problems = vec!["no launcher".into()],
            "no launcher",
        );
        // A later one that still reads the older format.
        let mut next = of("2.0.0");
        next.ledger_formats = vec![3, 2];
        next.handovers = vec![2, 1];
        assert_eq!(running.yields_to(&next), Ok(()));
    }

    #[test]
    fn what_a_later_build_adds_is_passed_over() {
        let mut said = serde_json::to_value(of("1.0.0")).unwrap();
        said["more"] = true.into();
        let read: Edition = serde_json::from_value(said).unwrap();
        assert_eq!(read, of("1.0.0"));
        let why = serde_json::from_str::<Edition>(r#"{"name":"plexusd"}"#).unwrap_err();
        assert!(why.to_string().starts_with("missing field"), "{why}");
    }
}
