//! A change set that the owner does not want, dropped before its week is over.
//!
//! ```text
//! what goes with it ─▶ nobody needs it? ─▶ noted which one ─▶ it is none ─▶ its contents go
//! ```
//! Invariants: nothing goes that is applied, that another change set builds on, or that a run under way made or began with;
//! what became of a drop that was cut off is known by its note and the change set itself.
//!
//! Must not know: frames, what the owner is shown.

use super::{Applied, ApplyError, Folder};
use crate::{
    change_set::{Head, SetError},
    threads::Threads,
};
use plexus_protocol::AuditId;
use std::sync::PoisonError;

/// What a drop takes away.
#[derive(Debug)]
pub(crate) struct Dropping {
    /// The change set and its head.
    pub(crate) id: String,
    pub(crate) head: Head,
    /// Those whose changes it has too.
    pub(crate) held: Vec<(String, Head)>,
}

impl Folder {
    /// Computes what goes with a change set: what it joined, and what its conversation left before it, as far as nobody
    /// needs that for itself.
    ///
    /// # Errors
    /// There is none, or it is needed.
    pub(crate) fn plan_drop(&self, id: &str) -> Result<Dropping, ApplyError> {
        let all = self.sets.all()?;
        let found = all.iter().find(|(other, _)| other == id);
        let head = found.ok_or(SetError::Unknown)?.1.clone();
        let history = self.history()?;
        let mut goes = vec![id];
        let mut at = 0;
        while let Some(one) = goes.get(at).copied() {
            for held in held_by(one, &all) {
                if !goes.contains(&held) {
                    goes.push(held);
                }
            }
            at += 1;
        }
        self.unneeded(id, &goes, &all, &history)?;
        let is_held = |(other, _): &&(String, Head)| other != id && goes.contains(&&**other);
        let mut held = Vec::new();
        for one in all.iter().filter(is_held) {
            match self.unneeded(&one.0, &goes, &all, &history) {
                Ok(()) => held.push(one.clone()),
                Err(ApplyError::IsApplied(_) | ApplyError::IsBuiltOn(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Dropping {
            id: id.to_owned(),
            head,
            held,
        })
    }

    /// Holds that nothing of a change set is applied, and that none builds on it but those that go.
    fn unneeded(
        &self,
        id: &str,
        goes: &[&str],
        all: &[(String, Head)],
        history: &[(AuditId, Applied)],
    ) -> Result<(), ApplyError> {
        if let Some(call) = self.calls_of(id, history)?.pop() {
            return Err(ApplyError::IsApplied(call));
        }
        let builds = |(other, head): &&(String, Head)| {
            let onto = head.origin.as_ref().map(|origin| &origin.onto);
            !goes.contains(&&**other)
                && onto.is_some_and(|onto| !onto.join && onto.sets.iter().any(|set| set == id))
        };
        match all.iter().find(builds) {
            None => Ok(()),
            Some((other, _)) => Err(ApplyError::IsBuiltOn(other.clone())),
        }
    }

    /// Drops a change set as it is planned now. `call` names it for [`Self::was_dropped`].
    ///
    /// # Errors
    /// As [`Self::plan_drop`]; a run needs it.
    pub(crate) fn carry_out_drop(
        &self,
        id: &str,
        call: &AuditId,
        threads: &Threads,
    ) -> Result<Dropping, ApplyError> {
        // An apply that is under way ends first, and counts then.
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let dropping = self.plan_drop(id)?;
        let held = dropping.held.iter().map(|(id, head)| (&**id, head));
        // The one that was named comes last: where it is none, all of them are.
        let sets: Vec<_> = held.chain([(id, &dropping.head)]).collect();
        {
            // No run begins meanwhile.
            let at_work = threads.runs_at_work();
            for (id, head) in &sets {
                let of = head.origin.as_ref();
                let conversation = of.and_then(|of| of.conversation.as_deref());
                let mut runs = at_work.iter();
                let user = runs.find(|(run, needs)| {
                    let mut needs = needs.iter().map(String::as_str);
                    of.is_some_and(|of| of.call.as_ref() == Some(*run))
                        || needs.any(|need| need == *id || Some(need) == conversation)
                });
                if let Some((run, _)) = user {
                    return Err(ApplyError::InUse(run.clone()));
                }
                // Its run has made something, also where that can be seen no more.
                threads.note_turn(of.and_then(|of| of.call.as_ref()))?;
            }
            threads.note_drop(call, id)?;
            for (id, _) in &sets {
                self.sets.unmake(id)?;
            }
        }
        for (id, _) in &sets {
            if let Err(error) = self.sets.clear(id) {
                tracing::warn!(%error, "what a dropped change set held goes later");
            }
        }
        Ok(dropping)
    }

    /// Whether a call has dropped a change set; none where it was to drop none, or nobody can tell.
    pub(crate) fn was_dropped(&self, call: &AuditId, threads: &Threads) -> Option<bool> {
        match self.sets.head(&threads.to_drop(call)?) {
            Ok(_) => Some(false),
            Err(SetError::Unknown) => Some(true),
            Err(_) => None,
        }
    }
}

/// The change sets that a change set joined, and those before it of its conversation: it has what they have.
fn held_by<'a>(id: &str, all: &'a [(String, Head)]) -> impl Iterator<Item = &'a str> {
    let found = all.iter().find(|(other, _)| other == id);
    let origin = found.and_then(|(_, head)| head.origin.as_ref());
    let is_held = move |(other, head): &&(String, Head)| {
        let pair = origin.zip(head.origin.as_ref());
        pair.is_some_and(|(origin, of)| {
            let is_earlier = of.conversation == origin.conversation && of.made < origin.made;
            origin.joined().contains(other) || (of.conversation.is_some() && is_earlier)
        })
    };
    all.iter().filter(is_held).map(|(id, _)| &**id)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{call, scene};
    use super::*;
    use crate::{
        change_set::{ChangeSet, Origin, Sets},
        ignored::IgnoreTexts,
        onto::Onto,
        snapshot::Snapshot,
    };
    use plexus_protocol::Timestamp;
    use plexus_rooted_files::{Policy, Root};
    use std::{fs, path::Path, sync::Arc};

    fn origin(made: u64, conversation: Option<&str>, onto: &[&str], join: bool) -> Origin {
        Origin {
            agent: None,
            made: Timestamp(made),
            conversation: conversation.map(str::to_owned),
            call: None,
            prompt: String::new(),
            onto: Onto {
                sets: onto.iter().copied().map(str::to_owned).collect(),
                join,
            },
            unfinished: false,
            limit: None,
        }
    }

    /// Another change set of the folder `top/folder` to `top/copy`.
    fn kept(folder: &Folder, top: &Path, origin: Origin) -> String {
        let [before, after] =
            ["folder", "copy"].map(|name| Root::open(&top.join(name), Policy::default()).unwrap());
        let snapshot = |root| Snapshot::of_copy(root, &IgnoreTexts::default(), &|| false).unwrap();
        let copy = top.join("copy");
        let set = ChangeSet::between(&snapshot(&before), &snapshot(&after), &copy).unwrap();
        let set = ChangeSet {
            origin: Some(origin),
            ..set
        };
        folder.sets.keep(&set, &before, &after).unwrap()
    }

    #[test]
    fn only_what_nobody_needs_is_dropped() {
        let scene = scene(&[("a", "1")], &[("a", "2")]);
        let (folder, top) = (&scene.folder, scene.dir.path());
        let threads = Threads::in_folder(top);
        let drops = |id: &str, number| folder.carry_out_drop(id, &call(number), &threads);
        let is_there = |id: &str| top.join("changes").join(id).exists();

        // One that is applied, until that is taken back.
        scene.apply(&call(1), |_| ()).unwrap();
        let refused = drops(&scene.set, 2);
        assert!(
            matches!(&refused, Err(ApplyError::IsApplied(by)) if *by == call(1)),
            "{refused:?}"
        );
        assert_eq!(folder.was_dropped(&call(2), &threads), None, "not begun");
        scene.undo(&call(1), &call(3)).unwrap();

        // One that another builds on, and one that a run under way made or began with.
        let later = kept(folder, top, origin(2, None, &[&scene.set], false));
        let refused = drops(&scene.set, 4);
        assert!(
            matches!(&refused, Err(ApplyError::IsBuiltOn(by)) if *by == later),
            "{refused:?}"
        );
        let run = call(5);
        let at_work = threads.at_work(Some(&run), vec![later.clone()]);
        let refused = drops(&later, 6);
        assert!(
            matches!(&refused, Err(ApplyError::InUse(by)) if *by == run),
            "{refused:?}"
        );
        assert!(is_there(&later) && is_there(&scene.set));
        drop(at_work);

        // The controls: each goes, and an apply that was planned before finds none.
        drops(&later, 7).unwrap();
        let planned = folder.plan(&scene.set, None, &|| false).unwrap();
        drops(&scene.set, 8).unwrap();
        assert!(!is_there(&later) && !is_there(&scene.set));
        let late = folder.commit(planned, &call(9));
        assert!(
            matches!(late, Err(ApplyError::Set(SetError::Unknown))),
            "{late:?}"
        );
        assert_eq!(scene.read("a").unwrap(), "1");
        let again = drops(&scene.set, 9);
        assert!(
            matches!(again, Err(ApplyError::Set(SetError::Unknown))),
            "{again:?}"
        );
    }

    #[test]
    fn set_goes_with_those_that_it_holds() {
        let scene = scene(&[("a", "1")], &[("a", "2")]);
        let (folder, top) = (&scene.folder, scene.dir.path());
        let threads = Threads::in_folder(top);
        let first = kept(folder, top, origin(1, Some("chat-1"), &[], false));
        let second = kept(folder, top, origin(2, Some("chat-1"), &[], false));
        let other = kept(folder, top, origin(1, Some("chat-2"), &[], false));
        let joined = kept(folder, top, origin(3, None, &[&second], true));
        let needed = kept(folder, top, origin(4, None, &[&first], false));
        let left = |folder: &Folder| {
            let all = folder.sets.all().unwrap().into_iter();
            let mut ids: Vec<_> = all.map(|(id, _)| id).collect();
            ids.sort();
            ids
        };
        let sorted = |mut ids: Vec<String>| {
            ids.sort();
            ids
        };
        folder.carry_out_drop(&joined, &call(1), &threads).unwrap();
        let there = vec![scene.set.clone(), first, other, needed];
        assert_eq!(left(folder), sorted(there));
    }

    /// Cut off between its note and its end, a drop is settled by what is there.
    #[test]
    fn drop_that_dies_is_settled_by_its_set() {
        let scene = scene(&[("a", "1")], &[("a", "2")]);
        let folder = &scene.folder;
        let threads = Threads::in_folder(scene.dir.path());
        threads.note_drop(&call(1), &scene.set).unwrap();
        assert_eq!(folder.was_dropped(&call(1), &threads), Some(false));
        assert!(folder.plan(&scene.set, None, &|| false).is_ok(), "whole");
        folder.sets.unmake(&scene.set).unwrap();
        assert_eq!(folder.was_dropped(&call(1), &threads), Some(true));
        // The note of a turn is none of a drop.
        threads.note_turn(Some(&call(2))).unwrap();
        assert_eq!(folder.was_dropped(&call(2), &threads), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn drop_survives_a_power_cut() {
        let open = |top: &Path| {
            let root = Root::open(&top.join("folder"), Policy::default()).unwrap();
            Folder::new(Arc::new(root), Sets::in_folder(top), top)
        };
        let before = |top: &Path| {
            for (name, text) in [("folder", "1"), ("copy", "2")] {
                fs::create_dir_all(top.join(name)).unwrap();
                fs::write(top.join(name).join("a"), text).unwrap();
            }
            kept(&open(top), top, origin(1, None, &[], false))
        };
        let drops = |top: &Path, set: &str| {
            let threads = Threads::in_folder(top);
            open(top).carry_out_drop(set, &call(1), &threads).unwrap();
        };
        let done =
            |top: &Path| open(top).was_dropped(&call(1), &Threads::in_folder(top)) == Some(true);
        plexus_power_cut::holds(before, |disk, set| drops(&disk.path(), &set), done, &[]);
    }
}
