//! EventKit's values as this connector has them, and what a change sets.
//!
//! Must not know: EventKit's objects.

use crate::store::{Content, Due};
use jiff::civil;
use plexus_apple::time::{Clock, Typed};

/// A due date by its parts, as the app keeps it; none for a part that is not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DueParts {
    pub(crate) year: Option<isize>,
    pub(crate) month: Option<isize>,
    pub(crate) day: Option<isize>,
    pub(crate) hour: Option<isize>,
    pub(crate) minute: Option<isize>,
    pub(crate) second: Option<isize>,
    /// The name of its zone.
    pub(crate) zone: Option<String>,
}

impl DueParts {
    /// A day, where no hour is set; else the moment in the zone of the parts, or `here`. A minute that is not set is none.
    pub(crate) fn due(&self, here: &str) -> Due {
        self.read(here).unwrap_or(Due::Unread)
    }

    fn read(&self, here: &str) -> Option<Due> {
        let part = |value: Option<isize>| i8::try_from(value?).ok();
        let year = i16::try_from(self.year?).ok()?;
        let day = civil::Date::new(year, part(self.month)?, part(self.day)?).ok()?;
        if self.hour.is_none() {
            return Some(Due::Day(day));
        }
        let small = |value: Option<isize>| part(value.or(Some(0)));
        let time = civil::Time::new(
            part(self.hour)?,
            small(self.minute)?,
            small(self.second)?,
            0,
        );
        let clock = Clock::in_zone(self.zone.as_deref().unwrap_or(here));
        match clock.typed(&civil::DateTime::from_parts(day, time.ok()?).to_string())? {
            Typed::At(at) => Some(Due::At(at)),
            Typed::Day(_) => None,
        }
    }

    /// As the app has them in the zone of this name; none of what cannot be read, which no change sets.
    pub(crate) fn of(due: Due, here: &str) -> Option<Self> {
        let (day, time) = match due {
            Due::Unread => return None,
            Due::Day(day) => (day, None),
            Due::At(at) => {
                let local = Clock::in_zone(here).local(at);
                (local.date(), Some(local.time()))
            }
        };
        Some(Self {
            year: Some(day.year().into()),
            month: Some(day.month().into()),
            day: Some(day.day().into()),
            hour: time.map(|time| time.hour().into()),
            minute: time.map(|time| time.minute().into()),
            second: time.map(|time| time.second().into()),
            zone: time.map(|_| here.to_owned()),
        })
    }
}

/// What a change sets of a reminder: what differs between two contents.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ChangedFields<'a> {
    pub(crate) title: Option<&'a str>,
    pub(crate) notes: Option<Option<&'a str>>,
    pub(crate) priority: Option<u8>,
    pub(crate) due: Option<Option<Due>>,
    pub(crate) done: Option<bool>,
}

impl<'a> ChangedFields<'a> {
    /// Of a reminder that was `old`; of one that is made, all but that it is not done.
    pub(crate) fn between(old: Option<&Content>, new: &'a Content) -> Self {
        let differs = |same: fn(&Content, &Content) -> bool| old.is_none_or(|old| !same(old, new));
        Self {
            title: differs(|old, new| old.title == new.title).then_some(&*new.title),
            notes: differs(|old, new| old.notes == new.notes).then_some(new.notes.as_deref()),
            priority: differs(|old, new| old.priority == new.priority).then_some(new.priority),
            due: differs(|old, new| old.due == new.due).then_some(new.due),
            done: (old.is_some_and(|old| old.done) != new.done).then_some(new.done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "Europe/Berlin";

    fn parts(date: [isize; 3], time: &[isize], zone: Option<&str>) -> DueParts {
        let [year, month, day] = date.map(Some);
        let at = |place: usize| time.get(place).copied();
        DueParts {
            year,
            month,
            day,
            hour: at(0),
            minute: at(1),
            second: at(2),
            zone: zone.map(str::to_owned),
        }
    }

    fn at(text: &str) -> Due {
        Due::At(text.parse().unwrap())
    }

    #[test]
    fn date_without_hour_is_a_day_whatever_its_zone() {
        let day = Due::Day("2026-12-24".parse().unwrap());
        for zone in [None, Some(HERE), Some("America/New_York")] {
            assert_eq!(parts([2026, 12, 24], &[], zone).due(HERE), day);
        }
    }

    #[test]
    fn time_is_of_its_own_zone_or_of_the_persons() {
        let date = [2026, 12, 24];
        let new_york = Some("America/New_York");
        assert_eq!(
            parts(date, &[9, 30, 5], None).due(HERE),
            at("2026-12-24T08:30:05Z")
        );
        assert_eq!(
            parts(date, &[9], None).due(HERE),
            at("2026-12-24T08:00:00Z")
        );
        assert_eq!(
            parts(date, &[9, 30], new_york).due(HERE),
            at("2026-12-24T14:30:00Z")
        );
    }

    #[test]
    fn parts_that_make_no_date_are_unread() {
        let no_year = DueParts {
            year: None,
            ..parts([2026, 12, 24], &[], None)
        };
        assert_eq!(no_year.due(HERE), Due::Unread);
        for (date, time) in [
            ([2026, 2, 30], &[][..]),
            ([2026, 13, 1], &[]),
            ([isize::MAX, 1, 1], &[]),
            ([2026, 12, 24], &[25]),
            ([2026, 12, 24], &[9, 60]),
            ([2026, 12, 24], &[9, 1, 1000]),
        ] {
            assert_eq!(
                parts(date, time, None).due(HERE),
                Due::Unread,
                "{date:?} {time:?}"
            );
        }
    }

    #[test]
    fn due_date_survives_the_way_to_the_app_and_back() {
        // The second hour of the night in which clocks go back is there twice.
        for due in [
            Due::Day("2026-10-25".parse().unwrap()),
            at("2026-10-25T00:30:00Z"),
            at("2026-06-25T21:59:59Z"),
        ] {
            assert_eq!(DueParts::of(due, HERE).unwrap().due(HERE), due);
        }
        assert_eq!(DueParts::of(Due::Unread, HERE), None);
    }

    #[test]
    fn change_sets_what_differs_alone() {
        let old = Content {
            title: String::new(),
            notes: Some("two".into()),
            due: Some(Due::Unread),
            priority: 1,
            done: false,
        };
        let nothing = ChangedFields::between(Some(&old), &old);
        let none = ChangedFields {
            title: None,
            notes: None,
            priority: None,
            due: None,
            done: None,
        };
        assert_eq!(nothing, none);
        let new = Content {
            notes: None,
            done: true,
            ..old.clone()
        };
        let set = ChangedFields::between(Some(&old), &new);
        let expected = ChangedFields {
            notes: Some(None),
            done: Some(true),
            ..none
        };
        assert_eq!(set, expected);
        let back = ChangedFields::between(Some(&new), &old);
        assert_eq!((back.notes, back.done), (Some(Some("two")), Some(false)));
        let made = ChangedFields::between(None, &old);
        assert_eq!(
            (made.title, made.priority, made.done),
            (Some(""), Some(1), None)
        );
    }
}
