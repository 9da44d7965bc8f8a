//! `plexusctl sources`: what agents can reach (docs/protocol/owner.md#sources).

mod absent;
pub(crate) mod add;
mod dependents;
mod find;
mod granted;
mod profile;
pub(crate) mod secret;
mod set;
pub(crate) mod test;

use crate::{
    ended::also_answered,
    owner::{Desk, Owner, each, patiently},
    pause::{PATIENCE, heard},
    screen::lines::laid,
    table::table,
};
use absent::absent_folders;
use clap::{Args, Subcommand};
pub(crate) use dependents::confirm_removal;
use granted::{disabled, grants_on};
pub(crate) use granted::{ended_since, heard_open_on, removed};
use plexus_client::{Exit, Stop, near, out, shell, text};
use plexus_owner::{
    grants::{GrantRow, List as ListGrants},
    kinds::{self, Detect, DetectedSource},
    sources::{
        Approval, Disable, Enable, EndResult, Hide, HideResult, List, Reconfigure, Remove, Resume,
        SourceRow, route_in_words,
    },
    troubles,
};
use plexus_protocol::SourceId;
pub(crate) use secret::{from_file, from_stdin};
use std::collections::BTreeSet;
use tokio::time::timeout;

/// Sources.
#[derive(Args)]
pub(crate) struct Sources {
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Subcommand)]
enum Act {
    /// Show configured sources
    List,
    /// Show sources that this machine offers to add
    Detect,
    /// Show the kinds of sources, and the fields of each
    Kinds {
        /// Kind to show alone, with what each field is for
        kind: Option<String>,
    },
    /// Add a source
    Add(add::Add),
    /// Change the configuration of a source
    Set(set::Set),
    /// Set a secret of a source, from the terminal, stdin or a file
    Secret(secret::Secret),
    /// Check the health of sources, with a reason for each failure
    Test(test::Test),
    /// Enable a source
    Enable {
        /// Source
        source: SourceId,
    },
    /// Disable a source; its grants are suspended
    Disable {
        /// Source
        source: SourceId,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Hide folders, path patterns or tags of a source from all agents, or list what is hidden
    Hide {
        /// Source
        source: SourceId,
        #[command(flatten)]
        what: HiddenArgs,
    },
    /// Stop hiding parts of a source; its grants are suspended until you resume them
    Unhide {
        /// Source
        source: SourceId,
        #[command(flatten)]
        what: HiddenArgs,
    },
    /// Show what the workers of a source may reach, and what the system cannot hide from them
    Profile(profile::ProfileArgs),
    /// Resume grants that were suspended because a source changed; at a terminal its card is shown first
    Resume {
        /// Sources [default where you are asked: all that wait for you, one after the other]
        #[arg(value_name = "SOURCE")]
        sources: Vec<SourceId>,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Remove a source, its secrets and every grant on it
    Remove {
        /// Source
        source: SourceId,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}

/// What is hidden.
#[derive(Args)]
struct HiddenArgs {
    /// Folder, with all it holds; may be given again
    #[arg(long = "folder", value_name = "PATH")]
    folders: Vec<String>,
    /// Pattern: * and ? within a name, ** for any folders; may be given again
    #[arg(long = "glob", value_name = "PATTERN")]
    globs: Vec<String>,
    /// Tag of notes, with those nested below it; may be given again
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    // Refused with the flags that say what it is.
    #[arg(hide = true, value_name = "PATH")]
    bare: Vec<String>,
}

impl Sources {
    /// The sources whose grants are to be resumed once their owner has been asked.
    pub(crate) fn asks_to_resume(&self, desk: &Desk) -> Option<&[SourceId]> {
        match &self.act {
            Some(Act::Resume { sources, yes }) => desk.asks(*yes).then_some(sources),
            _ => None,
        }
    }
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, sources: Sources) -> Result<Exit, Stop> {
    let act = sources.act.unwrap_or(Act::List);
    match &act {
        Act::Add(asked) => asked.judge(desk)?,
        Act::Enable { .. } => desk.ask_for_person::<Enable>()?,
        Act::Resume { .. } => desk.ask_for_person::<Resume>()?,
        Act::Unhide { .. } => desk.ask_for_person::<Hide>()?,
        Act::Set(_) => desk.ask_for_person::<Reconfigure>()?,
        Act::Secret(asked) => asked.judge(desk)?,
        Act::Hide { .. } => {}
        Act::Profile(_) => {}
        Act::Test(_) => {}
        Act::List | Act::Kinds { .. } | Act::Detect | Act::Disable { .. } | Act::Remove { .. } => {}
    }
    let mut owner = desk.open().await?;
    match act {
        Act::List => {
            let reply = owner.call(&List {}).await?;
            desk.show(&reply, || as_text(&reply.sources))
        }
        Act::Detect => {
            let reply = owner.call(&Detect {}).await?;
            desk.show(&reply, || detected(&reply.detected))
        }
        Act::Profile(asked) => profile::show(desk, &asked).await,
        Act::Kinds { kind } => {
            let mut reply = owner.call(&kinds::List {}).await?;
            let Some(kind) = kind else {
                return desk.show(&reply, || add::kinds(&reply.connectors));
            };
            let known = std::mem::take(&mut reply.connectors);
            let said = add::kind(add::connector_of(&known, &kind)?);
            reply.connectors = known.into_iter().filter(|one| one.kind == kind).collect();
            desk.show(&reply, || said)
        }
        Act::Add(asked) => asked.run(desk, &mut owner).await,
        Act::Set(asked) => asked.run(desk, &mut owner).await,
        Act::Secret(asked) => asked.run(desk, &mut owner).await,
        Act::Test(asked) => asked.run(desk, &mut owner).await,
        Act::Enable { source } => {
            let before = there(&mut owner, &source).await?.source.enabled;
            let held = test::held(&mut owner).await;
            let id = source.to_string();
            let reply = owner.call(&Enable { id }).await?;
            if desk.json {
                return desk.show(&reply, String::new);
            }
            // How it does now is told as far as it can be found out; enabling itself is done.
            let asking = "the source is started, and asked how it does…";
            let now = patiently(asking, test::health_of(&mut owner, &source)).await;
            let grants = owner.call(&ListGrants {}).await.ok().map(|all| all.grants);
            let lost = test::revoked(&held, grants.as_deref());
            desk.show(&reply, || {
                let first = match before {
                    true => "it was enabled already",
                    false => "enabled",
                };
                let mut said = match now.ok().flatten() {
                    Some(row) if test::serves(&row) => {
                        format!(
                            "{}{}",
                            test::sentence(&row),
                            go_on(grants.as_deref(), &source)
                        )
                    }
                    Some(row) => test::sentence(&row),
                    None => format!("how it does is not known: plexusctl sources test {source}"),
                };
                said = format!("{first}: {said}");
                said.extend(lost.iter().map(|line| format!("\n{line}")));
                said
            })
        }
        Act::Disable { source, yes } => {
            dependents::confirm_disabling(desk, &source, yes).await?;
            let id = source.to_string();
            let reply = owner.call(&Disable { id }).await?;
            known(&mut owner, &reply, &source).await?;
            desk.show(&reply, || disabled(&source, &reply))
        }
        Act::Resume { sources, .. } if sources.is_empty() => {
            let why = "where nobody is asked, name the sources";
            Err(Stop::usage(why).next("plexusctl sources list"))
        }
        Act::Resume { sources, .. } => {
            each(sources, async |source| resume(desk, &source).await).await
        }
        Act::Hide { source, what } => {
            let rules = what.hide(&source, false)?;
            hide(desk, &mut owner, &source, &rules).await
        }
        Act::Unhide { source, what } => {
            let shown = what.hide(&source, true)?;
            if shown.is_empty() {
                return Err(Stop::usage(
                    "name what to show again: --folder, --glob or --tag",
                ));
            }
            hide(desk, &mut owner, &source, &shown).await
        }
        Act::Remove { source, yes } => {
            if desk.asks(yes) {
                is_there(&mut owner, &source).await?;
            }
            confirm_removal(desk, &source, yes).await?;
            let open = heard_open_on(&mut owner, &source).await;
            let id = source.to_string();
            let reply = owner.call(&Remove { id }).await?;
            known(&mut owner, &reply, &source).await?;
            let ended = ended_since(&mut owner, &source, open.as_ref()).await;
            desk.show(&reply, || {
                format!("{}{ended}", removed(&source, reply.grant_count))
            })
        }
    }
}

/// Resumes the grants on a source.
pub(crate) async fn resume(desk: &Desk, source: &SourceId) -> Result<Exit, Stop> {
    let mut owner = desk.open().await?;
    let id = source.to_string();
    let reply = owner.call(&Resume { id }).await;
    let reply = of_source(&mut owner, source, reply).await?;
    let is_disabled = match reply.resumed {
        true => false,
        false => {
            let row = heard(there(&mut owner, source)).await;
            row.is_some_and(|row| !row.source.enabled)
        }
    };
    desk.show(&reply, || match (reply.resumed, is_disabled) {
        (true, _) => format!(
            "{source} serves, and its grants count again{}",
            also_answered("\n", &reply.also_answered)
        ),
        (false, false) => {
            format!("nothing to resume: {source} waits for no decision of yours")
        }
        (false, true) => {
            format!("nothing to resume: {source} is disabled: plexusctl sources enable {source}")
        }
    })
}

impl HiddenArgs {
    fn hide(self, source: &SourceId, remove: bool) -> Result<Hide, Stop> {
        if !self.bare.is_empty() {
            let act = if remove { "unhide" } else { "hide" };
            let why = "say with --folder, --glob or --tag what is named";
            let mut next = format!("plexusctl sources {act} {source}");
            let mut add = |flag, value: &str| next += &shell::option(flag, &text::line(value));
            self.folders.iter().for_each(|folder| add("folder", folder));
            self.globs.iter().for_each(|glob| add("glob", glob));
            self.tags.iter().for_each(|tag| add("tag", tag));
            for bare in &self.bare {
                let flag = match bare.contains(['*', '?']) {
                    true => "glob",
                    false if bare.starts_with('#') => "tag",
                    false => "folder",
                };
                add(flag, bare);
            }
            return Err(Stop::usage(why).next(next));
        }
        Ok(Hide {
            id: source.to_string(),
            folders: self.folders,
            globs: self.globs,
            tags: self.tags,
            remove,
        })
    }
}

/// Hides parts of a source or shows them again, then compares the hidden folders with the disk.
async fn hide(
    desk: &Desk,
    owner: &mut Owner,
    source: &SourceId,
    rules: &Hide,
) -> Result<Exit, Stop> {
    let open = heard_open_on(owner, source).await;
    let reply = owner.call(rules).await;
    let reply = of_source(owner, source, reply).await?;
    let ended = ended_since(owner, source, open.as_ref()).await;
    desk.show(&reply, || format!("{}{ended}", hidden(&reply)))?;
    let folders = &reply.hide.folders;
    if desk.json || folders.is_empty() {
        return Ok(Exit::Ok);
    }
    let absent = absent_folders(owner, source, folders).await;
    if !absent.is_empty() {
        let absent = text::listed(&absent, ", folder ");
        out::line(&laid(&format!("nothing is there now: folder {absent}")))?;
    }
    Ok(Exit::Ok)
}

/// Refuses where it is found out that there is no such source; a gateway that does not say so within
/// [`PATIENCE`] stands in no way.
pub(crate) async fn is_there(owner: &mut Owner, source: &SourceId) -> Result<(), Stop> {
    match timeout(PATIENCE, there(owner, source)).await {
        Ok(Err(stop)) if stop.code == "not_found" => Err(stop),
        _ => Ok(()),
    }
}

/// Refuses to call it a success where there is no such source: the gateway, which may be asked again and again, says
/// that in its reply only.
async fn known(owner: &mut Owner, reply: &EndResult, source: &SourceId) -> Result<(), Stop> {
    if !reply.known {
        there(owner, source).await?;
    }
    Ok(())
}

/// The same of an act that is refused where there is no such source; the reply as it is where none was named.
pub(crate) async fn of_source<'s, T>(
    owner: &mut Owner,
    source: impl Into<Option<&'s SourceId>>,
    reply: Result<T, Stop>,
) -> Result<T, Stop> {
    if reply.is_err()
        && let Some(source) = source.into()
    {
        there(owner, source).await?;
    }
    reply
}

/// The source as it is configured.
pub(crate) async fn there(owner: &mut Owner, source: &SourceId) -> Result<SourceRow, Stop> {
    let sources = owner.call(&List {}).await?.sources;
    if let Some(found) = sources.iter().find(|row| row.source.id == *source) {
        return Ok(found.clone());
    }
    let ids: Vec<_> = sources
        .iter()
        .map(|there| there.source.id.as_str())
        .collect();
    let meant = near(source.as_str(), ids.iter().copied());
    let there = match (ids.join(", "), meant) {
        (none, _) if none.is_empty() => "there are none".to_owned(),
        (ids, None) => format!("there are: {ids}"),
        (ids, Some(meant)) => format!("did you mean {meant}? There are: {ids}"),
    };
    let why = format!("there is no source {source}; {there}");
    Err(Stop::new(Exit::Failed, "not_found", why).next("plexusctl sources list"))
}

/// What becomes of the grants on a source that serves again.
fn go_on(grants: Option<&[GrantRow]>, source: &SourceId) -> String {
    let Some(grants) = grants else {
        return String::new();
    };
    let (rest, serve): (Vec<_>, Vec<_>) =
        grants_on(grants, source).partition(|grant| grant.suspended.is_some());
    match (serve.is_empty(), rest.is_empty()) {
        (true, true) => "; nothing is granted on it".to_owned(),
        (false, true) => "; its grants are valid".to_owned(),
        (true, false) => format!("; its grants are suspended: plexusctl sources resume {source}"),
        (false, false) => {
            format!(
                "; its grants are valid, except the suspended ones: plexusctl sources resume {source}"
            )
        }
    }
}

/// What a source hides, and what rests because it hides less now.
fn hidden(reply: &HideResult) -> String {
    let (source, hide) = (&reply.id, &reply.hide);
    let of = |rules: &BTreeSet<String>, word: &'static str| {
        let rules = rules.iter();
        rules
            .map(|rule| format!("  {word} {}", text::line(rule)))
            .collect::<Vec<_>>()
    };
    let rules = [
        of(&hide.folders, "folder"),
        of(&hide.globs, "glob"),
        of(&hide.tags, "tag"),
    ]
    .concat();
    let mut said = if rules.is_empty() {
        format!("{source} hides nothing")
    } else {
        format!(
            "for agents these do not exist in {source}:\n{}",
            rules.join("\n")
        )
    };
    if reply.suspended_grants > 0 {
        said.push_str(&format!(
            "\ngrants on {source} are suspended; to resume them: plexusctl sources resume {source}"
        ));
    }
    said
}

fn as_text(sources: &[SourceRow]) -> String {
    let rows = sources.iter().map(|row| {
        let source = &row.source;
        let state = match (source.enabled, &row.stopped) {
            (false, _) => "disabled".to_owned(),
            (true, Some(why)) => {
                let trouble = troubles::stopped(&source.id, why);
                format!("{}: {}", trouble.found, trouble.remedy)
            }
            (true, None) => test::state_of(&row.health),
        };
        [
            source.id.to_string(),
            source.kind.clone(),
            state,
            source.approval.map_or("", Approval::as_str).to_owned(),
            route_in_words(source.route.as_ref()),
        ]
    });
    table(
        ["source", "kind", "state", "asks", "where"],
        rows.collect(),
        "no sources; what this machine offers: plexusctl sources detect",
    )
}

/// Each with the command that adds it, for a shell.
fn detected(found: &[DetectedSource]) -> String {
    let one = |found: &DetectedSource| {
        let command: Vec<_> = found
            .command
            .iter()
            .map(|word| shell::quote(word))
            .collect();
        let next = match found.already_configured {
            true => "configured: plexusctl sources".to_owned(),
            false => command.join(" "),
        };
        let label = text::line(&found.suggested.label);
        let evidence = text::line(&found.evidence);
        format!("{label}: {evidence}\n  {}", text::line(&next))
    };
    match found {
        [] => "nothing found; plexusctl sources kinds shows all that can be added".to_owned(),
        found => found.iter().map(one).collect::<Vec<_>>().join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_goes_on_when_a_source_serves_again() {
        let grant = |id: &str, suspended: Option<&str>| -> GrantRow {
            let grant = json!({"agentId": "a", "capabilityId": id, "verbs": ["read"], "provenance": "managed",
                "grantedAt": "2026-01-01T00:00:00.000Z", "expiresAt": "2026-01-08T00:00:00.000Z",
                "trustWindow": {"kind": "7d"}, "standing": true, "suspended": suspended});
            serde_json::from_value(grant).unwrap()
        };
        let notes = SourceId::parse("notes").unwrap();
        let said = |grants: &[GrantRow]| go_on(Some(grants), &notes);
        let (other, on_it) = (grant("notes-2.read", None), grant("notes.read", None));
        let rests = grant("notes.write", Some("changed"));
        assert_eq!(said(&[other]), "; nothing is granted on it");
        assert_eq!(said(std::slice::from_ref(&on_it)), "; its grants are valid");
        let resume = "plexusctl sources resume notes";
        assert_eq!(
            said(std::slice::from_ref(&rests)),
            format!("; its grants are suspended: {resume}")
        );
        assert!(said(&[on_it, rests]).contains("except the suspended ones"));
        assert_eq!(go_on(None, &notes), "");
    }

    #[test]
    fn rows() {
        let row = |configured: Value, status: &str| -> SourceRow {
            let mut row = json!({"label": "", "transport": "ipc", "live": true, "liveCapabilityCount": 1,
                "provenance": "managed", "suspendedGrants": 0, "health": {"status": status}});
            row.as_object_mut()
                .unwrap()
                .extend(configured.as_object().cloned().unwrap());
            serde_json::from_value(row).unwrap()
        };
        let away = json!({"id": "away", "kind": "workspace-dir", "enabled": true});
        let mut away = row(away, "unavailable");
        away.health.detail = Some("its folder /gone is not there".to_owned());
        assert!(
            as_text(std::slice::from_ref(&away))
                .contains("does not serve: its folder /gone is not")
        );
        let stopped = json!({"at": "2026-01-01T00:00:00.000Z", "pendingId": null,
            "found": ["its program differs"], "agreed": []});
        away.stopped = serde_json::from_value(stopped).unwrap();
        let shown = as_text(&[away]);
        assert!(
            shown.contains("agreed to: its program differs: plexusctl sources resume away"),
            "{shown}"
        );
        let sources = [
            json!({"id": "notes", "kind": "workspace-dir", "enabled": true, "approval": "auto",
                "route": {"path": "/srv/\u{202e}notes"}}),
            json!({"id": "old", "kind": "obsidian-fs", "enabled": false, "route": {"vaultPath": "/v", "disk": "8192"}}),
        ];
        assert_eq!(
            as_text(&sources.map(|source| row(source, "ok"))),
            "SOURCE  KIND           STATE     ASKS  WHERE\n\
             notes   workspace-dir  serves    auto  /srv/\\u{202e}notes\n\
             old     obsidian-fs    disabled        /v disk=8192"
        );
    }
}
