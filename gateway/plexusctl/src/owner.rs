//! What every sub-command is given, and how it prints.

use crate::{
    act::{self, CallerContext, PersonsCall},
    screen::{is_taken, lines::laid},
};
use plexus_client::{Address, Connection, Exit, Home, Stop, near, out, text};
use plexus_owner::{
    Act,
    exposure::{ExposedCapability, List},
};
use plexus_protocol::{CapabilityId, SourceId};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    io::{IsTerminal, stderr},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use plexus_owner_client::tell_if_slow;
pub(crate) use plexus_owner_client::{Owner, UNREADABLE, read_key};

/// Whether it was said that something takes long: once is enough.
static IS_SAID: AtomicBool = AtomicBool::new(false);

/// What every sub-command is given: where things are, how to print, and who is at the keyboard.
pub(crate) struct Desk {
    /// The state directory.
    pub(crate) home: Home,
    /// Print as JSON.
    pub(crate) json: bool,
    /// Who acts.
    pub(crate) caller: CallerContext,
}

impl Desk {
    /// Reads the key from its file, and checks that the owner's socket answers.
    pub(crate) async fn open(&self) -> Result<Owner, Stop> {
        let owner = Owner::open(&self.home).await?;
        Ok(owner.when_slow(|| {
            if !is_taken() && !IS_SAID.swap(true, Ordering::Relaxed) {
                out::say("the gateway has not answered yet; it is waited for…");
            }
        }))
    }

    /// Whether a gateway accepts connections for this state directory. No key is needed.
    pub(crate) async fn accepts(&self) -> bool {
        let socket = Address::Unix(self.home.owner_socket());
        Connection::open(socket).await.is_ok()
    }

    /// Says of a refused call which capabilities may have been meant by those that were typed and are none.
    pub(crate) async fn meant(&self, typed: &[CapabilityId], refused: Stop) -> Stop {
        let Ok(mut owner) = self.open().await else {
            return refused;
        };
        let Ok(listed) = owner.call(&List {}).await else {
            return refused;
        };
        with_meant(refused, &did_you_mean(typed, &listed.capabilities))
    }

    /// Refuses a call of this kind, unless a person makes it.
    pub(crate) fn ask_for_person<C: PersonsCall>(&self) -> Result<(), Stop> {
        self.widen(C::WORDS)
    }

    /// The same of a call that gives or takes, as its members say.
    pub(crate) fn ask_for_person_by<C: PersonsCall>(&self, call: &C) -> Result<(), Stop> {
        match call.act() {
            Act::Widens => self.ask_for_person::<C>(),
            Act::Reads | Act::Narrows | Act::Either => Ok(()),
        }
    }

    /// Refuses an act that gives somebody something and is no call of the table, unless a person does it.
    pub(crate) fn widen(&self, act: &str) -> Result<(), Stop> {
        act::judge(act, &self.caller)
    }

    /// Whether a person can be asked for a yes: there is a terminal, and what the yes is to was shown on it. With
    /// `--json` nothing is.
    pub(crate) fn can_ask(&self) -> bool {
        self.caller.terminal && !self.json
    }

    /// Whether a person is asked for a yes: one can be, and has not said it with a flag.
    pub(crate) fn asks(&self, yes: bool) -> bool {
        self.can_ask() && self.owes_yes(yes)
    }

    /// Whether a person at a terminal has yet to say yes. A script has said it by running the command; who wants JSON says it
    /// with the flag.
    pub(crate) fn owes_yes(&self, yes: bool) -> bool {
        self.caller.terminal && !self.caller.sworn && !yes
    }

    /// Whether a person reads what is said beside the output.
    pub(crate) fn is_read_along(&self) -> bool {
        !self.json && stderr().is_terminal()
    }

    /// Says to a person that the command stays, and what Ctrl-C does: nothing else is shown until there is news.
    pub(crate) fn say_following(&self, does: &str) {
        if self.is_read_along() {
            out::say(&format!("following; Ctrl-C {does}"));
        }
    }

    /// Prints `value` as it is, or as `text` says it to a person.
    pub(crate) fn show(
        &self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<Exit, Stop> {
        let shown = match self.json {
            true => json_line(value)?,
            false => laid(&text()),
        };
        out::line(&shown).map(|()| Exit::Ok)
    }
}

/// Waits for `work`, and says what takes so long once that is more than 2 s.
pub(crate) async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    let say = || {
        IS_SAID.store(true, Ordering::Relaxed);
        out::say(&laid(what));
    };
    tell_if_slow(work, Duration::from_secs(2), say).await
}

/// Does an act to each name. Where there are several, a refusal of one is said and the next follows; the exit is then that of the
/// first refusal.
///
/// # Errors
/// The refusal of the only name; of several, that the gateway does not answer.
pub(crate) async fn each<N>(
    names: Vec<N>,
    mut act: impl AsyncFnMut(N) -> Result<Exit, Stop>,
) -> Result<Exit, Stop> {
    let is_only = names.len() == 1;
    let is_away = |stop: &Stop| {
        stop.exit == Exit::Unreachable || matches!(&*stop.code, "no_answer" | "connection_lost")
    };
    let mut exit = Exit::Ok;
    for name in names {
        let ended = match act(name).await {
            Ok(ended) => ended,
            Err(stop) if is_only || is_away(&stop) => return Err(stop),
            Err(stop) => {
                out::say(&laid(&stop.to_string()));
                stop.exit
            }
        };
        if exit == Exit::Ok {
            exit = ended;
        }
    }
    Ok(exit)
}

/// The same of acts that show a card each: a blank line stands between two.
///
/// # Errors
/// As [`each`].
pub(crate) async fn each_card<N>(
    names: Vec<N>,
    mut act: impl AsyncFnMut(N) -> Result<Exit, Stop>,
) -> Result<Exit, Stop> {
    let mut is_first = true;
    each(names, async |name| {
        if !std::mem::take(&mut is_first) {
            out::say("");
        }
        act(name).await
    })
    .await
}

/// The end of a sentence about a name that was typed and is none: the nearest of these; empty where none is near.
pub(crate) fn or_near<'n>(typed: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    let meant = near(typed, names).filter(|meant| *meant != typed);
    meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"))
}

/// A refusal with the end that [`or_near`] or [`did_you_mean`] gives its sentence.
pub(crate) fn with_meant(refused: Stop, meant: &str) -> Stop {
    if meant.is_empty() {
        return refused;
    }
    let why = refused.why.trim_end_matches('.').to_owned() + meant;
    Stop { why, ..refused }
}

/// Says of a call that was refused because nothing has this name which of the `listed` names may have been meant.
pub(crate) async fn or_meant<T>(
    typed: &SourceId,
    reply: Result<T, Stop>,
    listed: impl Future<Output = Result<Vec<String>, Stop>>,
) -> Result<T, Stop> {
    let refused = match reply {
        Err(refused) if refused.code == "not_found" => refused,
        reply => return reply,
    };
    let Ok(names) = listed.await else {
        return Err(refused);
    };
    let meant = or_near(typed.as_str(), names.iter().map(String::as_str));
    Err(with_meant(refused, &meant))
}

/// The end of a sentence about capabilities that were typed and are none: those that may have been meant; empty where nobody can
/// tell.
pub(crate) fn did_you_mean(typed: &[CapabilityId], listed: &[ExposedCapability]) -> String {
    let names: Vec<&str> = listed.iter().map(|one| one.id.as_str()).collect();
    let unknown = typed.iter().map(CapabilityId::as_str);
    let unknown = unknown.filter(|id| !names.contains(id));
    let meant = unknown.filter_map(|id| {
        let one = near(id, names.iter().copied()).map(str::to_owned);
        one.or_else(|| namesakes(id, &names))
    });
    let meant: Vec<_> = meant.collect();
    match meant.is_empty() {
        true => String::new(),
        false => format!("; did you mean {}?", meant.join(", ")),
    }
}

/// Most capabilities of one name that are named: of more nobody can tell which was meant.
const NAMESAKES: usize = 3;

/// The capabilities of that name of whatever source, where the typed source has none at all; it is often typed by its kind, or
/// left out.
fn namesakes(typed: &str, names: &[&str]) -> Option<String> {
    let (source, wanted) = typed.split_once('.')?;
    let mut parts = names.iter().filter_map(|id| id.split_once('.'));
    if parts.any(|(of, _)| of == source) {
        return None;
    }
    let is_meant = |name: &str| name == wanted || name == typed;
    let is_same = |id: &&&str| id.split_once('.').is_some_and(|(_, name)| is_meant(name));
    let same: Vec<&str> = names.iter().filter(is_same).copied().collect();
    (1..=NAMESAKES)
        .contains(&same.len())
        .then(|| same.join(" or "))
}

/// A value as one line of JSON.
///
/// # Errors
/// Where it has no such form.
pub(crate) fn json_line(value: &impl Serialize) -> Result<String, Stop> {
    serde_json::to_string(value)
        .map_err(|why| Stop::new(Exit::Failed, "internal_error", why.to_string()))
}

/// Holds that what was typed can be an id of `what`, which `list` shows. Ids are of these characters; another one could only
/// name another path.
pub(crate) fn check_id(id: &str, what: &str, list: &str) -> Result<(), Stop> {
    match id
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    {
        true => Ok(()),
        false => {
            let why = format!("{:?} is no id of a {what}", text::line(id));
            Err(Stop::usage(why).next(list))
        }
    }
}

/// Holds that what is decided is named by its whole id, or shown to a person who is asked then.
pub(crate) fn whole_or_asked(
    is_whole: bool,
    is_asked: bool,
    what: &str,
    list: &str,
) -> Result<(), Stop> {
    match is_whole || is_asked {
        true => Ok(()),
        false => {
            let why = format!("where nobody is asked, {what} is named by its whole id only");
            Err(Stop::usage(why).next(list))
        }
    }
}

/// The fewest characters of an id's number that stand for it.
pub(crate) const SHORTEST: usize = 6;

/// The one of these ids that is what was typed, or whose number begins so; what was typed if it begins none.
///
/// # Errors
/// It begins several, or is shorter than [`SHORTEST`].
pub(crate) fn whole_id<'i>(
    typed: &str,
    ids: impl Iterator<Item = &'i str>,
    what: &str,
    list: &str,
) -> Result<String, Stop> {
    fn number(id: &str) -> &str {
        id.split_once('_').map_or(id, |(_, number)| number)
    }
    let begins = |id: &&str| id.starts_with(typed) || number(id).starts_with(typed);
    let found: BTreeSet<_> = ids.filter(begins).collect();
    if found.contains(typed) {
        return Ok(typed.to_owned());
    }
    let is_long = number(typed).len() >= SHORTEST;
    let mut found = found.into_iter();
    let why = match (found.next(), found.next()) {
        (None, _) => return Ok(typed.to_owned()),
        (Some(id), None) if is_long => return Ok(id.to_owned()),
        (Some(_), _) if !is_long => {
            format!(
                "a {what} is named by its id, or by at least {SHORTEST} characters of its number"
            )
        }
        _ => format!("more than one {what} begins with {:?}", text::line(typed)),
    };
    Err(Stop::usage(why).next(list))
}

pub(crate) fn is_digest(value: &str) -> bool {
    plexus_protocol::Digest::parse(value).is_some()
}

/// A member as text, of what another program or a file says; nothing where it is absent.
pub(crate) fn text_of<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or("")
}

/// The same of a member that is a list: its elements.
pub(crate) fn list_of<'v>(value: &'v Value, member: &str) -> &'v [Value] {
    value[member].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn refusal_of_one_name_keeps_no_other_back() {
        let mut seen = Vec::new();
        let stop = |exit, code| Err(Stop::new(exit, code, "why"));
        let ended = each(vec!["a", "b", "c", "d"], async |name| {
            seen.push(name);
            match name {
                "b" => stop(Exit::Refused, "owner_only"),
                "c" => stop(Exit::Failed, "not_found"),
                _ => Ok(Exit::Ok),
            }
        });
        assert_eq!(ended.await.unwrap(), Exit::Refused);
        assert_eq!(seen, ["a", "b", "c", "d"]);
        let only = each(vec![()], async |()| stop(Exit::Failed, "not_found")).await;
        assert_eq!(only.unwrap_err().code, "not_found");
        // A gateway that does not answer is asked once.
        for (exit, code) in [
            (Exit::Unreachable, "unreachable"),
            (Exit::Failed, "no_answer"),
        ] {
            let mut asked = 0;
            let ended = each(vec![(), ()], async |()| {
                asked += 1;
                stop(exit, code)
            });
            assert_eq!(ended.await.unwrap_err().code, code);
            assert_eq!(asked, 1);
        }
    }

    #[test]
    fn capability_of_other_sources_is_named_of_each() {
        let id = |text: &str| CapabilityId::parse(text).unwrap();
        let listed = |ids: &str| -> Vec<ExposedCapability> {
            let of = |text: &str| ExposedCapability {
                id: id(text),
                label: String::new(),
                enabled: true,
                default_grant: false,
            };
            ids.split(' ').map(of).collect()
        };
        let two = "notes.vault.read work.vault.read work.vault.search";
        let many = "a.vault.read b.vault.read c.vault.read d.vault.read";
        let both = "notes.vault.read or work.vault.read";
        for (typed, listing, meant) in [
            ("obsidian.vault.read", two, both),
            ("vault.search", two, "work.vault.search"),
            ("work.vault.list", two, ""),
            ("obsidian.vault.read", many, ""),
        ] {
            let said = did_you_mean(&[id(typed)], &listed(listing));
            let words = match meant {
                "" => String::new(),
                meant => format!("; did you mean {meant}?"),
            };
            assert_eq!(said, words, "{typed}");
        }
    }

    #[test]
    fn six_characters_stand_for_an_id() {
        let ids = ["run_123456-1", "run_123457-1", "evt_abcdef-0"];
        let whole = |typed| whole_id(typed, ids.into_iter(), "call", "plexusctl calls list");
        for typed in ["run_123456", "123456", "run_123456-1"] {
            assert_eq!(whole(typed).unwrap(), "run_123456-1");
        }
        for none in ["654321", "evt_123456", "1234567"] {
            assert_eq!(whole(none).unwrap(), none);
        }
        for short in ["12345", "run_1"] {
            let why = whole(short).unwrap_err().why;
            assert!(why.contains("at least 6 characters"), "{why}");
        }
        let twice = ["run_123456-1", "run_123456-2"].into_iter();
        let refused = whole_id("123456", twice, "call", "plexusctl calls list");
        assert!(refused.unwrap_err().why.contains("more than one call"));
    }
}
