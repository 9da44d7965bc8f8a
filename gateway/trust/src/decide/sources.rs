//! Sources: what is configured, what it points at, and what becomes of grants when either changes.

use super::{Draft, agents::own_row, event, on_source};
use crate::{
    Agent, Difference, Fact, Facts, Grant, Hide, Proposal, Refusal, Reply, Source, SourceConfig,
    SourceSeen, Stopped, Target, event::Change, moved::difference, pins,
};
use plexus_protocol::{CapabilityId, PendingId, Provenance, SourceId};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How many changes of one source its cards show.
const MAX_MOVES: usize = 8;

/// What is said of a capability that is gone.
const GONE: &str = "it is no longer offered";

/// What is said of one that is there again: nobody knows what it was before.
const BACK: &str = "it is offered again; it was not for a while";

/// What is said of code that differed for a while.
const AGAIN: &str = "what it runs is again what you agreed to; it was something else for a while";

/// Whether a difference is one of what a source runs.
fn is_of_code(known: &Difference) -> bool {
    let is_again = known.words.iter().any(|words| words == AGAIN);
    is_again || known.rules.iter().any(|rule| pins::is_pin(rule))
}

impl Source {
    /// Whether its code is, or for a while was, something else than the owner agreed to, and nobody has decided on that.
    #[must_use]
    pub fn code_differed(&self) -> bool {
        self.changed.iter().any(is_of_code)
    }
}

/// Adds a difference to those that nobody has decided on: of a capability once in the same words, of the rules of a profile
/// what they come to.
fn note(known: &mut Vec<Difference>, new: Difference) {
    let is_same = |one: &Difference| one.capability == new.capability && one.words == new.words;
    let before = known
        .iter()
        .position(|one| is_same(one) && !is_of_code(one));
    let Some(before) = before.map(|at| known.remove(at)) else {
        known.push(new);
        return;
    };
    let and = |these: Vec<String>, gone: &[String], more: Vec<String>, had: &[String]| {
        let mut these = these;
        these.retain(|rule| !gone.contains(rule));
        these.extend(more.into_iter().filter(|rule| !had.contains(rule)));
        these
    };
    let rules = and(
        before.rules.clone(),
        &new.rules_gone,
        new.rules.clone(),
        &before.rules_gone,
    );
    let rules_gone = and(before.rules_gone, &new.rules, new.rules_gone, &before.rules);
    if !(new.words.is_empty() && rules.is_empty() && rules_gone.is_empty()) {
        known.push(Difference {
            rules,
            rules_gone,
            ..new
        });
    }
}

impl Draft<'_> {
    pub(super) fn put_source(
        &mut self,
        id: &SourceId,
        config: &SourceConfig,
        pins: &[String],
    ) -> Result<Reply, Refusal> {
        let mut config = config.clone();
        // An act that read the source before the owner hid more of it does not show that again.
        let old = self.state.sources.get(id);
        if let Some(old) = old.filter(|old| old.config.kind == config.kind) {
            config.hide = old.config.hide.clone();
        }
        self.configure_source(id, &config, pins)
    }

    pub(super) fn hide(
        &mut self,
        id: &SourceId,
        rules: &Hide,
        remove: bool,
    ) -> Result<Reply, Refusal> {
        let old = self.state.sources.get(id).ok_or(Refusal::NoSuchSource)?;
        let mut config = old.config.clone();
        config.hide.change(rules, remove);
        self.configure_source(id, &config, &[])
    }

    pub(super) fn disable_source(&mut self, id: &SourceId) -> Result<Reply, Refusal> {
        let old = self.state.sources.get(id).ok_or(Refusal::NoSuchSource)?;
        let mut config = old.config.clone();
        config.enabled = false;
        self.configure_source(id, &config, &[])
    }

    /// `pins`: what its code is now. It is agreed to where the owner names it, and at no other act.
    fn configure_source(
        &mut self,
        id: &SourceId,
        config: &SourceConfig,
        pins: &[String],
    ) -> Result<Reply, Refusal> {
        let old = self.state.sources.get(id);
        if old.is_some_and(|s| s.config == *config) {
            return Ok(Reply::Changed(false));
        }
        let moved = old.is_some_and(|s| {
            let c = &s.config;
            c.kind != config.kind
                || c.route != config.route
                || c.secret_ref != config.secret_ref
                || c.ask != config.ask
                || c.provenance != config.provenance
        });
        let keep = old.filter(|_| !moved);
        // What it can do and may do belongs to the kind, wherever it points.
        let like = old.filter(|s| s.config.kind == config.kind);
        let mut source = Source {
            id: id.clone(),
            config: config.clone(),
            revision: match keep {
                // What is hidden is a worker's to know from its start, and no call of before may outlive it.
                Some(source) if source.config.hide == config.hide => source.revision,
                Some(_) | None => self.next(),
            },
            target: keep.and_then(|s| s.target.clone()),
            paths: keep.map(|s| s.paths.clone()).unwrap_or_default(),
            profile: like.and_then(|s| s.profile),
            capabilities: like.map(|s| s.capabilities.clone()).unwrap_or_default(),
            rules: like.map(|s| s.rules.clone()).unwrap_or_default(),
            base: like.map(|s| s.base.clone()).unwrap_or_default(),
            pins: match (keep, like) {
                (Some(kept), _) => kept.pins.clone(),
                (None, Some(like)) => {
                    let before = like.pins.clone();
                    let before =
                        before.unwrap_or_else(|| pins::of_an_earlier_version(&like.base, &[]));
                    Some(pins::named_anew(&before, pins))
                }
                (None, None) => Some(pins.to_vec()),
            },
            stopped: keep.and_then(|s| s.stopped.clone()),
            changed: keep.map(|s| s.changed.clone()).unwrap_or_default(),
            moved: old.map(|s| s.moved.clone()).unwrap_or_default(),
        };
        if let Some(old) = old.filter(|_| moved) {
            self.note_move(&mut source, config.moved_from(&old.config));
        }
        let what = match old {
            None if config.lent.is_some() => "lent",
            None => "added",
            Some(source) if source.config.lent != config.lent => "lent",
            Some(_) if moved => "reconfigured",
            Some(source) if !config.hide.covers(&source.config.hide) => "shows more",
            Some(source) if source.config.hide != config.hide => "hides more",
            Some(source) if source.config.enabled != config.enabled => match config.enabled {
                true => "enabled",
                false => "disabled",
            },
            Some(source) if source.config.label != config.label => "relabelled",
            Some(_) => "changed",
        };
        let why = moved.then_some("the source was reconfigured");
        let rest = match old {
            Some(old) if !moved => self.shows_more(old, config, &mut source),
            Some(_) | None => Vec::new(),
        };
        self.replace(source, what, why, rest);
        if keep.is_some_and(|old| !config.hide.covers(&old.config.hide)) {
            // A card shows what a call was; it is not worth more than that.
            self.void_source_items("this source shows more than when this was asked", |c| {
                on_source(id, c)
            });
            self.forget_ended(|c| on_source(id, c));
        } else if keep.is_some_and(|old| old.config.hide != config.hide) {
            self.void_turns("this source hides more than when this was approved", id);
        }
        Ok(Reply::Changed(true))
    }

    /// Another secret is another target: the source is there, and nothing stands on it.
    pub(super) fn secret_changed(&mut self, name: &str) -> Result<Reply, Refusal> {
        let state = self.state;
        // A source's own are named `<source>.<field>`, and no source id holds a dot.
        let of = name.split_once('.').map(|(source, _)| source);
        let uses = |source: &&Arc<Source>| {
            source.config.secret_ref.as_deref() == Some(name) || of == Some(source.id.as_str())
        };
        let users: Vec<_> = state.sources.values().filter(uses).collect();
        let why = Some("the source's secret was changed");
        let field = name.split_once('.').map_or(name, |(_, field)| field);
        for old in &users {
            let mut source = Source {
                revision: self.next(),
                target: None,
                changed: Vec::new(),
                ..(***old).clone()
            };
            self.note_move(&mut source, vec![format!("its secret {field} was changed")]);
            self.replace(source, "has another secret", why, Vec::new());
        }
        Ok(Reply::Changed(!users.is_empty()))
    }

    /// The grants that rest because the owner hides less: what was granted was granted on less. The words for it go into
    /// `source`, and those go out of it that are of what is hidden again.
    fn shows_more(&self, old: &Source, config: &SourceConfig, source: &mut Source) -> Vec<Grant> {
        let words = |rules: Vec<String>| -> Vec<String> {
            let rules = rules.iter();
            rules
                .map(|rule| format!("it shows {rule}, which it hid before"))
                .collect()
        };
        let hidden = words(config.hide.beyond(&old.config.hide));
        source.changed.retain_mut(|known| {
            known.words.retain(|words| !hidden.contains(words));
            !(known.words.is_empty() && known.rules.is_empty() && known.rules_gone.is_empty())
        });
        let shown = words(old.config.hide.beyond(&config.hide));
        if shown.is_empty() {
            return Vec::new();
        }
        let rest = self.suspended(&old.id, "this source shows more than when you granted it");
        if !rest.is_empty() || self.state.resting(old, self.now).next().is_some() {
            source.changed.push(self.told(shown));
        }
        rest
    }

    /// The valid grants on a source, suspended for this reason.
    fn suspended(&self, id: &SourceId, why: &str) -> Vec<Grant> {
        let grants = self.state.agents.values().flat_map(|a| a.grants.values());
        let live = grants.filter(|grant| on_source(id, &grant.capability) && self.is_valid(grant));
        let suspended = live.map(|grant| Grant {
            suspended: Some(why.to_owned()),
            ..(**grant).clone()
        });
        suspended.collect()
    }

    /// Whether a grant has neither ended nor is suspended: what a change of its source suspends.
    pub(super) fn is_valid(&self, grant: &Grant) -> bool {
        grant.suspended.is_none() && !self.has_ended(grant)
    }

    /// Whether it permits no call from now on, suspended or not: nobody loses it any more.
    pub(super) fn has_ended(&self, grant: &Grant) -> bool {
        self.state.has_ended(grant, self.now)
    }

    /// The grants of these capabilities that an agent has and that have ended, as gone. None is suspended, so that the owner would
    /// renew it unseen. `row` becomes the agent's: nor does a read allow itself on what the source is now. Those of a lent folder,
    /// which is lent again instead, say how many writes are left.
    pub(super) fn ended_as_gone(
        &self,
        row: &mut Agent,
        of: impl Fn(&CapabilityId) -> bool,
    ) -> Vec<Change> {
        let agent = self.state.agent(&row.id).into_iter();
        let grants = agent.flat_map(|agent| agent.grants.values());
        let unlent = grants.filter(|grant| self.state.lent(&grant.capability).is_none());
        let ended = unlent.filter(|grant| of(&grant.capability) && self.has_ended(grant));
        let gone = ended.map(|grant| {
            row.tombstones.insert(grant.capability.clone());
            Change::GrantGone(grant.agent.clone(), grant.capability.clone())
        });
        gone.collect()
    }

    /// Forgets them with the last event.
    fn forget_ended(&mut self, of: impl Fn(&CapabilityId) -> bool) {
        let mut gone = Vec::new();
        for agent in self.state.agents.values() {
            let mut row = own_row(agent);
            let ended = self.ended_as_gone(&mut row, &of);
            if !ended.is_empty() {
                gone.extend(ended);
                gone.push(Change::Agent(Box::new(row)));
            }
        }
        if let Some(last) = self.events.last_mut() {
            last.changes.extend(gone);
        }
    }

    /// A difference of a whole source, in words.
    pub(super) fn told(&self, words: Vec<String>) -> Difference {
        Difference {
            at: self.now,
            capability: None,
            words,
            rules: Vec::new(),
            rules_gone: Vec::new(),
        }
    }

    /// Notes in `source` how it was changed, for the cards of the agents that lose a grant by it.
    fn note_move(&self, source: &mut Source, words: Vec<String>) {
        let losses = self.state.agents.values().flat_map(|a| &a.voided);
        let of_it = losses.filter(|(capability, _)| on_source(&source.id, capability));
        let oldest = of_it.map(|(_, at)| *at).min();
        // What no card will show again is forgotten.
        source
            .moved
            .retain(|known| oldest.is_some_and(|at| at <= known.at) && known.words != words);
        let excess = (source.moved.len() + 1).saturating_sub(MAX_MOVES);
        source.moved.drain(..excess);
        source.moved.push(self.told(words));
    }

    /// The owner knows a host by another certificate: the source points where it did, and the owner decides on its grants
    /// with both fingerprints on the card.
    pub(super) fn pin_source(
        &mut self,
        id: &SourceId,
        pins: &BTreeMap<String, Option<String>>,
    ) -> Result<Reply, Refusal> {
        let old = self.state.sources.get(id).ok_or(Refusal::NoSuchSource)?;
        let mut source = (**old).clone();
        let mut words = Vec::new();
        for (field, pin) in pins {
            let Some(route) = source.config.route.as_object_mut() else {
                continue;
            };
            let was = match pin {
                Some(pin) => route.insert(field.clone(), pin.as_str().into()),
                None => route.remove(field),
            };
            let was = was.as_ref().and_then(|was| was.as_str());
            let what = format!("{field}, by which its host is known,");
            words.extend(difference(&what, pin.as_deref(), was));
        }
        if words.is_empty() {
            return Ok(Reply::Changed(false));
        }
        source.revision = self.next();
        let rest = self.suspended(
            id,
            "its host has another certificate than when you granted it",
        );
        if rest.is_empty() && self.state.resting(old, self.now).next().is_none() {
            source.changed.clear();
        } else {
            source.changed.push(self.told(words));
        }
        self.replace(source, "has another certificate", None, rest);
        // A card shows what a call was; it is not worth more than that.
        self.void_source_items(
            "its host has another certificate than when this was asked",
            |c| on_source(id, c),
        );
        self.forget_ended(|c| on_source(id, c));
        Ok(Reply::Changed(true))
    }

    /// Sources that an earlier version called first-party: the owner configured each, and nothing else of them changes.
    pub(super) fn own_sources(&mut self) {
        let first_party =
            |source: &&Arc<Source>| source.config.provenance == Provenance::FirstParty;
        for source in self.state.sources.values().filter(first_party) {
            let mut source = (**source).clone();
            source.config.provenance = Provenance::Managed;
            self.replace(source, "managed, since you configured it", None, Vec::new());
        }
    }

    pub(super) fn remove_source(&mut self, id: &SourceId) -> Result<Reply, Refusal> {
        if !self.state.sources.contains_key(id) {
            return Ok(Reply::Changed(false));
        }
        let fact = self.source_fact(id, "removed", Some("the source was removed"), true, 0);
        let mut gone = self.void_grants(id);
        gone.extend(self.void_denials(id));
        self.emit(
            event("source.install", fact)
                .set_all(gone)
                .set(Change::SourceGone(id.clone())),
        );
        self.void_source_items("the source was removed", |c| on_source(id, c));
        Ok(Reply::Changed(true))
    }

    pub(super) fn source_seen(&mut self, seen: &SourceSeen) -> Result<Reply, Refusal> {
        let old = self
            .state
            .sources
            .get(&seen.id)
            .ok_or(Refusal::NoSuchSource)?;
        let mut source = (**old).clone();
        // A folder that is missing for now is no new target.
        let moved = match (&old.target, &seen.target) {
            (Some(was), Some(is)) => !was.same(is),
            _ => false,
        };
        let elsewhere =
            |(field, is): (&String, &Target)| old.paths.get(field).is_some_and(|was| !was.same(is));
        let moved = moved || seen.paths.iter().any(elsewhere);
        if seen.target.is_some() {
            source.target.clone_from(&seen.target);
        }
        source.paths.extend(seen.paths.clone());
        let profile_changed = old.profile.is_some_and(|was| was != seen.profile);
        source.profile = Some(seen.profile);
        source.rules.clone_from(&seen.rules);
        // What is imported is as much a part of the cage. If it was not kept, it is what it was: no release changed it.
        let base = pins::without(&old.base);
        let base_changed = !base.is_empty() && base != seen.base;
        source.base.clone_from(&seen.base);
        let cage_changed = profile_changed || base_changed;
        let is_earlier = old.pins.is_none();
        let agreed = old.pins.clone();
        let agreed = agreed.unwrap_or_else(|| pins::of_an_earlier_version(&old.base, &seen.pins));
        source.stopped = Stopped::of(&agreed, &seen.pins, old.stopped.as_ref(), self.now);
        // Also where its code is again what it was: another card is another id.
        let code_changed = source.stopped != old.stopped;
        let is_stopped = code_changed && source.stopped.is_some();
        source.capabilities.clone_from(&seen.capabilities);
        // One that is gone counts: it could come back as something else.
        let changed = |id: &CapabilityId| {
            let is_same = |was: &Facts| seen.capabilities.get(id).is_some_and(|is| is.same(was));
            cage_changed || is_stopped || !old.capabilities.get(id).is_none_or(is_same)
        };
        let any_changed = cage_changed || old.capabilities.keys().any(changed);
        let is_back = self.offers_suspended_again(old, seen);
        if any_changed || is_back || moved || code_changed {
            source.revision = self.next();
        }
        let rest = if moved {
            Vec::new()
        } else {
            self.differ(old, seen, &mut source, cage_changed, &changed)
        };
        if let Some(stopped) = source.stopped.as_ref().filter(|_| is_stopped) {
            let difference = Difference {
                words: seen.file_changes.clone(),
                ..stopped.difference(&agreed)
            };
            source.changed.retain(|known| !is_of_code(known));
            source.changed.push(difference);
        }
        let takes_over = is_earlier && !agreed.is_empty();
        source.pins = Some(agreed);
        if source == **old {
            return Ok(Reply::Changed(false));
        }
        let what = if is_stopped {
            "stopped: its code is not what you agreed to"
        } else if old.profile.is_none() {
            "found"
        } else if any_changed || is_back {
            "manifest or profile changed"
        } else if code_changed {
            "its code is what you agreed to again"
        } else if takes_over {
            "its code as an earlier version last saw it counts as agreed to"
        } else {
            "seen"
        };
        if moved {
            self.note_move(&mut source, seen.moved_from(old));
        }
        let why = moved.then_some("the source points at something else");
        self.replace(source, what, why, rest);
        if !moved {
            // A card shows what a call was; it is not worth more than that.
            self.void_source_items("what this source can do has changed", |c| {
                on_source(&seen.id, c) && changed(c)
            });
            self.forget_ended(|c| on_source(&seen.id, c) && changed(c));
        }
        Ok(Reply::Changed(true))
    }

    /// Whether a capability is offered again on which a grant is suspended: nobody has looked at what it is now.
    fn offers_suspended_again(&self, old: &Source, seen: &SourceSeen) -> bool {
        let offered = seen.capabilities.keys();
        let mut back = offered.filter(|id| !old.capabilities.contains_key(*id));
        back.any(|id| {
            let agents = self.state.agents.values();
            let mut grants = agents.filter_map(|agent| agent.grants.get(id));
            grants.any(|grant| grant.suspended.is_some() && !self.has_ended(grant))
        })
    }

    /// The grants that rest from now on, and in `source` the words for it; also of what changed while they rested. Code that is
    /// again what was agreed to lets none of them go on.
    fn differ(
        &self,
        old: &Source,
        seen: &SourceSeen,
        source: &mut Source,
        cage_changed: bool,
        changed: &dyn Fn(&CapabilityId) -> bool,
    ) -> Vec<Grant> {
        // A start looks at every source, and almost always nothing has changed: then no grant is looked at.
        let any_changed = cage_changed || old.capabilities.keys().any(changed);
        let old_base = pins::without(&old.base);
        let is_settled = source.changed.is_empty() && !self.offers_suspended_again(old, seen);
        if !any_changed && is_settled {
            return Vec::new();
        }
        let grants = self.state.agents.values().flat_map(|a| a.grants.values());
        let (resting, live): (Vec<_>, Vec<_>) = grants
            .filter(|grant| on_source(&seen.id, &grant.capability))
            .filter(|grant| !self.has_ended(grant))
            .partition(|grant| grant.suspended.is_some());
        if resting.is_empty() && source.stopped.is_none() {
            source.changed.clear();
        }
        let new = |capability, words| Difference {
            at: self.now,
            capability,
            words,
            rules: Vec::new(),
            rules_gone: Vec::new(),
        };
        if old.stopped.is_some() && source.stopped.is_none() && !resting.is_empty() {
            source.changed.retain(|known| !is_of_code(known));
            source.changed.push(new(None, vec![AGAIN.to_owned()]));
        }
        let mut rest: Vec<Grant> = Vec::new();
        for grant in live.into_iter().filter(|grant| changed(&grant.capability)) {
            let mut grant = (**grant).clone();
            grant.suspended =
                Some("what this source can do has changed since you granted it".into());
            rest.push(grant);
        }
        let resting = resting.iter().map(|grant| &grant.capability);
        let about = rest.iter().map(|grant| &grant.capability);
        let is_back = |id: &CapabilityId| {
            !old.capabilities.contains_key(id) && seen.capabilities.contains_key(id)
        };
        let about: BTreeSet<&CapabilityId> = about
            .chain(resting.filter(|id| changed(id) || is_back(id)))
            .collect();
        for id in &about {
            let words = match (old.capabilities.get(*id), seen.capabilities.get(*id)) {
                (Some(was), Some(is)) if !is.same(was) => is.differences(was),
                (Some(_), None) => vec![GONE.to_owned()],
                (None, Some(_)) => {
                    let of_it = |known: &Difference| known.capability.as_ref() == Some(*id);
                    source
                        .changed
                        .retain(|known| !of_it(known) || known.words != [GONE]);
                    vec![BACK.to_owned()]
                }
                _ => continue,
            };
            note(&mut source.changed, new(Some((*id).clone()), words));
        }
        if cage_changed && !about.is_empty() {
            // What was not kept of the base is no difference.
            let was_base = match old_base.is_empty() {
                true => &seen.base,
                false => &old_base,
            };
            let was: Vec<_> = old.rules.iter().chain(was_base).collect();
            let is: Vec<_> = seen.rules.iter().chain(&seen.base).collect();
            let without = |these: &[&String], those: &[&String]| -> Vec<String> {
                let more = these.iter().filter(|rule| !those.contains(rule));
                more.map(|rule| (*rule).clone()).collect()
            };
            let words = match old.rules.is_empty() {
                true => vec!["the version before did not keep its rules".to_owned()],
                false => Vec::new(),
            };
            let difference = Difference {
                rules: without(&is, &was),
                rules_gone: without(&was, &is),
                ..new(None, words)
            };
            note(&mut source.changed, difference);
        }
        rest
    }

    /// Carries out the owner's word on the grants that rest, and on code that is not what was agreed to. What is not offered now
    /// goes on resting: it could come back as something that nobody has looked at. `shown`: all of its code that the owner agrees
    /// to; what it does not hold is agreed to no more.
    pub(super) fn resume_source(
        &mut self,
        id: &SourceId,
        revision: Option<u64>,
        go_on: bool,
        shown: Option<&[String]>,
    ) -> Result<Reply, Refusal> {
        let source = self.state.sources.get(id).ok_or(Refusal::NoSuchSource)?;
        let is_other = shown.is_some_and(|shown| !source.is_as_shown(shown));
        if is_other || revision.is_some_and(|seen| seen != source.revision) {
            return Err(Refusal::CardChanged);
        }
        let resting: Vec<_> = self.state.resting(source, self.now).cloned().collect();
        // Without a revision nobody says what was seen.
        let stopped = source.stopped.as_ref();
        if let Some(stopped) = stopped.filter(|_| revision.is_none() && go_on) {
            return match stopped.denied {
                true => Ok(self.ask_again(source, stopped)),
                false => Err(Refusal::SourceStopped),
            };
        }
        let is_agreed = shown.is_none_or(|shown| pins::same(source.agreed(), shown));
        let is_settled = !source.asks() && (stopped.is_none() || !go_on);
        if resting.is_empty() && is_settled && is_agreed {
            return Ok(Reply::Changed(false));
        }
        let mut changes = Vec::new();
        for grant in &resting {
            changes.push(if go_on {
                let mut grant = (**grant).clone();
                grant.suspended = None;
                Change::Grant(grant)
            } else {
                Change::GrantGone(grant.agent.clone(), grant.capability.clone())
            });
        }
        for agent in self.state.agents.values().filter(|_| !go_on) {
            // As with any grant that the owner takes back: a read does not allow itself again.
            let mut row = own_row(agent);
            let ended = resting.iter().filter(|grant| grant.agent == agent.id);
            row.tombstones
                .extend(ended.map(|grant| grant.capability.clone()));
            if row.tombstones != agent.tombstones {
                changes.push(Change::Agent(Box::new(row)));
            }
        }
        let mut known = (**source).clone();
        known.changed.clear();
        known.stopped = match (known.stopped.take(), go_on) {
            (Some(stopped), true) => {
                known.pins = Some(pins::agreed(known.agreed(), &stopped.found));
                None
            }
            (stopped, _) => stopped.map(|stopped| Stopped {
                denied: true,
                ..stopped
            }),
        };
        if let Some(shown) = shown.filter(|_| !is_agreed) {
            // Code that was compared with what was agreed to before is handed to no worker from here on.
            known.revision = self.next();
            known.pins = Some(shown.to_vec());
        }
        changes.push(Change::Source(known));
        let (what, ended) = match (go_on, shown) {
            (true, Some(_)) => ("agreed to as shown", 0),
            (true, None) => ("resumed", 0),
            (false, _) => ("not resumed", resting.len()),
        };
        let fact = Fact::Source {
            source: id.clone(),
            what: Cow::Borrowed(what),
            why: None,
            grants_voided: ended,
            grants_suspended: 0,
        };
        self.emit(event("source.settings", fact).set_all(changes));
        Ok(match go_on {
            true => Reply::Resumed {
                also: self.answer_resumed(id, &resting),
            },
            false => Reply::Changed(true),
        })
    }

    /// Answers the requests that were made while these grants were suspended, and that they cover again.
    fn answer_resumed(&mut self, source: &SourceId, resting: &[Arc<Grant>]) -> Vec<PendingId> {
        let state = self.state;
        let mut also = Vec::new();
        for agent in state.agents.values() {
            let its = resting.iter().filter(|grant| grant.agent == agent.id);
            let resumed: Vec<_> = its
                .map(|grant| Grant {
                    suspended: None,
                    ..(**grant).clone()
                })
                .collect();
            if !resumed.is_empty() {
                also.extend(self.answer_covered(agent, None, &resumed, Some(source)));
            }
        }
        also
    }

    /// Another card for what the owner has said no to.
    fn ask_again(&mut self, source: &Source, stopped: &Stopped) -> Reply {
        let mut again = source.clone();
        let stopped = Stopped {
            denied: false,
            ..stopped.clone()
        };
        again.revision = self.next();
        again.changed.push(stopped.difference(source.agreed()));
        again.stopped = Some(stopped);
        self.replace(again, "its code is asked about again", None, Vec::new());
        Reply::Changed(true)
    }

    /// Puts a source in place; `void` says why its grants end, `rest` are those that rest now.
    pub(super) fn replace(
        &mut self,
        source: Source,
        what: &'static str,
        void: Option<&str>,
        rest: Vec<Grant>,
    ) {
        let id = source.id.clone();
        let mut changes = vec![Change::Source(source)];
        if void.is_some() {
            changes.extend(self.void_grants(&id));
        }
        let fact = self.source_fact(&id, what, void, void.is_some(), rest.len());
        changes.extend(rest.into_iter().map(Change::Grant));
        self.emit(event("source.settings", fact).set_all(changes));
        if let Some(why) = void {
            self.void_source_items(why, |c| on_source(&id, c));
        }
    }

    fn source_fact(
        &self,
        id: &SourceId,
        what: &'static str,
        why: Option<&str>,
        voids: bool,
        suspended: usize,
    ) -> Fact {
        let grants = self.state.agents.values().flat_map(|a| a.grants.values());
        Fact::Source {
            source: id.clone(),
            what: Cow::Borrowed(what),
            why: why.map(str::to_owned),
            grants_voided: if voids {
                grants
                    .filter(|grant| on_source(id, &grant.capability) && !self.has_ended(grant))
                    .count()
            } else {
                0
            },
            grants_suspended: suspended,
        }
    }

    fn void_grants(&self, id: &SourceId) -> Vec<Change> {
        let mut out = Vec::new();
        for agent in self.state.agents.values() {
            let grants = agent.grants.keys().filter(|c| on_source(id, c));
            out.extend(grants.map(|c| Change::GrantGone(agent.id.clone(), c.clone())));
            out.extend(Self::end_tokens(agent, |token| {
                token.scopes.iter().any(|s| on_source(id, &s.id))
            }));
            let known = agent.grants.keys().chain(&agent.selected);
            let known: Vec<_> = known.filter(|c| on_source(id, c)).cloned().collect();
            if known.is_empty() {
                continue;
            }
            let mut row = own_row(agent);
            let lost = agent.grants.values();
            for grant in lost.filter(|g| on_source(id, &g.capability) && !self.has_ended(g)) {
                let lost = row.voided.entry(grant.capability.clone());
                lost.or_insert(self.now);
            }
            // Nor does a read allow itself on what the source points at now.
            row.tombstones.extend(known);
            if row.tombstones != agent.tombstones || row.voided != agent.voided {
                out.push(Change::Agent(Box::new(row)));
            }
        }
        out
    }

    /// Ends the denials of a source's calls. That of a proposal is of what an agent sent, and stays.
    fn void_denials(&self, id: &SourceId) -> Vec<Change> {
        let proposed = Proposal::id(id).ok();
        let denied = self.state.agents.values().flat_map(|agent| {
            let keys = agent.denials.keys();
            keys.map(move |(c, input)| (agent.id.clone(), c, *input))
        });
        denied
            .filter(|(_, c, _)| on_source(id, c) && Some(*c) != proposed.as_ref())
            .map(|(agent, c, input)| Change::DenialGone(agent, c.clone(), input))
            .collect()
    }

    /// Ends the open turns on a source: the copy that they work on holds what is hidden from here on.
    fn void_turns(&mut self, why: &str, source: &SourceId) {
        let agents: Vec<Arc<Agent>> = self.state.agents.values().cloned().collect();
        for agent in agents {
            self.void_items(&agent, why, |item| {
                let mut asks = item.asks.iter();
                item.is_held_open() && asks.any(|ask| on_source(source, &ask.capability))
            });
        }
    }

    fn void_source_items(&mut self, why: &str, which: impl Fn(&CapabilityId) -> bool) {
        let agents: Vec<Arc<Agent>> = self.state.agents.values().cloned().collect();
        for agent in agents {
            self.void_items(&agent, why, |item| {
                item.asks.iter().any(|ask| which(&ask.capability))
            });
        }
    }
}
