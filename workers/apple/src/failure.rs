//! Why an app does not answer, and what the person does about it.
//!
//! Invariant: consent that is missing, refused by the organisation or for adding alone, and an app that hangs, are reasons
//! of their own; each that the owner can fix names the place.
//!
//! Must not know: which call failed.

use plexus_ipc::worker::{OpenError, SourceError};
use plexus_protocol::Effect;
use serde_json::json;

/// One of the person's apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    /// Calendar.
    Calendar,
    /// Reminders.
    Reminders,
}

impl App {
    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calendar => "Calendar",
            Self::Reminders => "Reminders",
        }
    }

    /// The list of System Settings that holds the consent to its data.
    const fn pane(self) -> &'static str {
        match self {
            Self::Calendar => "System Settings > Privacy & Security > Calendars",
            Self::Reminders => "System Settings > Privacy & Security > Reminders",
        }
    }
}

/// Why an app does not answer, or does not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The person did not consent to EventKit.
    ConsentDenied,
    /// The person has not answered the question yet.
    ConsentPending,
    /// The person let Plexus add and not read: every list would be empty.
    AddOnly,
    /// The organisation that manages this Mac forbids it.
    Restricted,
    /// The app did not answer in time ([`crate::PATIENCE`]).
    Hanging,
    /// There is no such thing any more.
    Gone,
    /// Somebody changed it since it was looked at.
    Changed,
    /// The account takes no changes of this list.
    ReadOnly,
    /// The app failed, with its number.
    Failed(i64),
    /// The store gave no answer, or one that cannot be read.
    BadAnswer,
    /// The worker's own file for changes cannot be read or written.
    Store,
}

impl Failure {
    /// The word for programs: `detail.reason` of the answer.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::ConsentDenied => "consent_denied",
            Self::ConsentPending => "consent_pending",
            Self::AddOnly => "consent_add_only",
            Self::Restricted => "consent_restricted",
            Self::Hanging => "app_hangs",
            Self::Gone => "not_found",
            Self::Changed => "changed",
            Self::ReadOnly => "read_only",
            Self::Failed(_) => "app_failed",
            Self::BadAnswer => "bad_answer",
            Self::Store => "store",
        }
    }

    /// What is wrong and what to do, in one sentence of at most 256 bytes.
    #[must_use]
    pub fn words(&self, app: App) -> String {
        let (name, pane) = (app.name(), app.pane());
        match self {
            Self::ConsentDenied => {
                format!(
                    "macOS does not let Plexus read {name}: allow Full Access in {pane}, for plexusd or the terminal that started it, then retry"
                )
            }
            Self::ConsentPending => {
                format!(
                    "macOS asks at the screen whether Plexus may read {name}, and nobody has answered: answer there, or in {pane}, then retry"
                )
            }
            Self::AddOnly => {
                format!(
                    "macOS lets Plexus add to {name} and not read it: change Add Only to Full Access in {pane}, then retry"
                )
            }
            Self::Restricted => {
                format!(
                    "a profile of this Mac's organisation keeps Plexus from {name}: ask its administrator"
                )
            }
            Self::Hanging => format!(
                "{name} did not answer within {} s: look whether it asks something, then retry",
                crate::PATIENCE.as_secs()
            ),
            Self::Gone => "there is nothing with this id any more; list again".to_owned(),
            Self::Changed => {
                "somebody changed it meanwhile; nothing was done; list again".to_owned()
            }
            Self::ReadOnly => "this list can be read and not changed".to_owned(),
            Self::Failed(number) => format!("{name} failed with error {number}"),
            Self::BadAnswer => format!("{name} gave an answer that cannot be read"),
            Self::Store => "the worker's own file of changes cannot be used".to_owned(),
        }
    }

    /// Whether the owner has to do something before anything works.
    #[must_use]
    pub const fn is_ailment(&self) -> bool {
        matches!(
            self,
            Self::ConsentDenied
                | Self::ConsentPending
                | Self::AddOnly
                | Self::Restricted
                | Self::Hanging
        )
    }

    /// As the agent is told: a call that failed.
    #[must_use]
    pub fn told(&self, app: App) -> SourceError {
        let (reason, words) = (self.reason(), self.words(app));
        let detail = json!({ "reason": reason });
        match self {
            Self::ConsentDenied | Self::ConsentPending | Self::AddOnly | Self::Restricted => {
                SourceError::denied(words).detail(detail)
            }
            Self::Hanging => SourceError::unavailable(words).detail(detail),
            Self::Changed => SourceError::changed(reason, words),
            Self::Store => SourceError::internal(words),
            Self::Gone | Self::ReadOnly | Self::Failed(_) | Self::BadAnswer => {
                SourceError::transport(reason, words)
            }
        }
    }

    /// What a change may have done where it failed so: an app that hangs may still do it.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::Hanging | Self::BadAnswer | Self::Failed(_) => Effect::Unknown,
            _ => Effect::None,
        }
    }

    /// As the owner is told who adds the source.
    #[must_use]
    pub fn open_error(&self, app: App) -> OpenError {
        OpenError::unavailable(self.words(app))
    }
}

/// What macOS says of the consent to an app, by the numbers of Apple's `EKAuthorizationStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consent(pub isize);

impl Consent {
    /// Nobody was asked yet.
    pub const UNASKED: Self = Self(0);
    /// The organisation that manages this Mac forbids it.
    pub const RESTRICTED: Self = Self(1);
    /// Reading and changing; before macOS 14 the only consent there was.
    pub const FULL: Self = Self(3);
    /// Adding alone.
    pub const ADD_ONLY: Self = Self(4);

    /// # Errors
    /// Whatever is not full, and so every number that is unknown here.
    pub const fn judged(self) -> Result<(), Failure> {
        match self {
            Self::FULL => Ok(()),
            Self::ADD_ONLY => Err(Failure::AddOnly),
            Self::RESTRICTED => Err(Failure::Restricted),
            Self::UNASKED => Err(Failure::ConsentPending),
            _ => Err(Failure::ConsentDenied),
        }
    }
}

/// Why there is no list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoList {
    /// The input is wrong.
    Invalid(&'static str),
    /// Nobody waits for it any more.
    Over,
    /// The store failed.
    Failed(Failure),
}

impl NoList {
    /// As the agent is told.
    #[must_use]
    pub fn told(&self, app: App) -> SourceError {
        match self {
            Self::Invalid(why) => SourceError::invalid(*why),
            Self::Over => SourceError::cancelled(Effect::None),
            Self::Failed(failure) => failure.told(app),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Failure; 11] = [
        Failure::ConsentDenied,
        Failure::ConsentPending,
        Failure::AddOnly,
        Failure::Restricted,
        Failure::Hanging,
        Failure::Gone,
        Failure::Changed,
        Failure::ReadOnly,
        Failure::Failed(-1),
        Failure::BadAnswer,
        Failure::Store,
    ];

    #[test]
    fn each_failure_has_its_own_reason_and_whole_sentence() {
        let mut reasons: Vec<_> = ALL.iter().map(Failure::reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), ALL.len());
        for app in [App::Calendar, App::Reminders] {
            for failure in &ALL {
                // Longer ones would be cut where the owner reads them.
                assert!(failure.words(app).len() <= 256, "{failure:?}");
            }
        }
    }

    #[test]
    fn full_consent_alone_is_enough() {
        let judged = [0, 1, 2, 4, 5, -1].map(|number| Consent(number).judged().unwrap_err());
        let expected = [
            Failure::ConsentPending,
            Failure::Restricted,
            Failure::ConsentDenied,
            Failure::AddOnly,
            // What a later release may add.
            Failure::ConsentDenied,
            Failure::ConsentDenied,
        ];
        assert_eq!(judged, expected);
        assert_eq!(Consent(3).judged(), Ok(()));
    }

    #[test]
    fn missing_consent_names_the_pane_of_its_app() {
        let reminders = Failure::ConsentDenied.words(App::Reminders);
        assert!(
            reminders.contains("Privacy & Security > Reminders")
                && reminders.contains("Full Access")
        );
        assert!(
            Failure::AddOnly
                .words(App::Calendar)
                .contains("Privacy & Security > Calendars")
        );
    }
}
