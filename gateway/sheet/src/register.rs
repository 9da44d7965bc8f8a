//! The sheet of an extension that an agent proposes: all that it is and may reach, what differs from before, and what an
//! approval does. The surface alone is what the owner's own command shows before it adds one.

use crate::{Act, Answer, Block, Fact, Section, Sheet, Subject, Untrusted};
use plexus_owner::pending::{
    Heading, MovedSecret, RegisterCard, State, Surface, SurfaceFact, SurfaceSection, SurfaceValue,
};

pub(crate) fn sheet(heading: &Heading, card: &RegisterCard) -> Sheet {
    let agent = heading.agent_id.as_ref();
    let (title, button, done) = match card.changes {
        Some(_) => ("asks to change the extension", "Change it", "Changed"),
        None => ("asks to add the extension", "Add it", "Added"),
    };
    let subject = Subject {
        label: "agent",
        who: Untrusted::of(agent.map_or("", |agent| agent.as_str())),
        name: None,
        title,
        object: Some(Untrusted::of(card.register.source.as_str())),
    };
    let mut sheet = Sheet::of(heading, card.card_digest, subject);
    sheet.blocks.push(crate::purpose(heading));
    // What is decided is not looked at again.
    if heading.state != State::Pending {
        return sheet;
    }
    sheet
        .blocks
        .extend(surface(&card.register, card.changes.as_deref()));
    let problems = card.problems.as_deref().unwrap_or_default();
    sheet.blocks.push(Block::Notices(
        "it cannot be added here",
        Untrusted::all(problems),
    ));
    let (mut folders, mut arguments) = (Vec::new(), Vec::new());
    for folder in &card.folders_to_name {
        let argument = format!("--folder {}=PATH", folder.name);
        let words = format!("“{}”: {argument}", folder.label);
        folders.push(Fact::of("you name the folder", words));
        arguments.push(argument);
    }
    sheet.blocks.push(Block::Facts(folders));
    let mut answer = to_approve(
        &card.if_approved,
        &card.moved_secrets,
        card.if_kept.as_deref(),
    );
    answer.arguments = (!arguments.is_empty()).then(|| Untrusted::of(arguments.join(" ")));
    let yes = answer.yes.filter(|_| card.problems.is_none());
    answer.yes = yes.map(|yes| Act {
        button,
        done,
        ..yes
    });
    sheet.answer = Some(answer);
    sheet
}

/// What an approval does, and how stored secrets are kept that would go to another host.
#[must_use]
pub fn to_approve(does: &str, moved: &[MovedSecret], kept: Option<&str>) -> Answer {
    let moved = moved.iter();
    Answer {
        yes: Some(Act::of("if you approve", "Add it", "Added", does)),
        keeps: moved
            .map(|one| (Untrusted::of(&one.name), Untrusted::of(&one.host)))
            .collect(),
        kept: kept.map(Untrusted::of),
        ..Answer::default()
    }
}

/// All that an extension is and may reach, and what differs from what the owner agreed to before.
#[must_use]
pub fn surface(surface: &Surface, changes: Option<&[String]>) -> Vec<Block> {
    let named = format!("{} ({})", surface.source, surface.label);
    let mut blocks = vec![Block::Facts(vec![Fact::of("extension", named)])];
    let sections = surface.sections.iter();
    let (offers, parts): (Vec<_>, Vec<_>) = sections.partition(|section| section.capability);
    blocks.extend(
        parts
            .into_iter()
            .map(|part| Block::Section(Section::of(part))),
    );
    blocks.push(Block::Offers(offers.into_iter().map(Section::of).collect()));
    if let Some(changes) = changes {
        let all = (!changes.is_empty()).then(|| (None, Untrusted::all(changes)));
        let all = all.into_iter().collect();
        blocks.push(Block::Differences("since you agreed to it", all));
    }
    blocks
}

impl Section {
    fn of(section: &SurfaceSection) -> Self {
        Self {
            title: Untrusted::of(&section.title),
            note: section.note.as_ref().map(Untrusted::of),
            facts: section.facts.iter().map(fact).collect(),
        }
    }
}

fn fact(fact: &SurfaceFact) -> Fact {
    let (value, is_text) = match &fact.what {
        SurfaceValue::Value(value) => (value, false),
        SurfaceValue::Text(text) => (text, true),
    };
    Fact {
        is_text,
        ..Fact::of(&fact.name, value)
    }
}
