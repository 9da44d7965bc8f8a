//! The model of the chat: texts from typed to kept, pages of history, counts of unread messages.

use super::*;
use plexus_client::Exit;
use plexus_owner::channels::Message;
use serde_json::{Value, json};

fn key(id: &str) -> Key {
    (SourceId::parse("talk").expect("an id"), id.to_owned())
}

fn message(id: &str, you: bool, text: &str) -> Message {
    let sender = json!({"id": "U", "name": "Pat", "you": you, "fingerprint": "1a2b 3c4d 5e6f"});
    let message =
        json!({"id": id, "at": "2026-11-23T05:31:38.123Z", "sender": sender, "text": text});
    serde_json::from_value(message).expect("a message")
}

fn page(messages: &[Message], more: bool) -> Answer {
    let (channel, source) = ("C".to_owned(), key("C").0);
    let messages = messages.to_vec();
    Answer::Messages(Messages {
        channel,
        messages,
        more,
        source,
    })
}

fn channels(all: Value) -> Answer {
    Answer::Channels(serde_json::from_value(all).expect("channels"))
}

fn listed(rows: &[(&str, &str, Option<&str>)]) -> Answer {
    let rows = rows.iter().map(|(id, name, last)| {
        json!({"source": "talk", "id": id, "name": name, "status": "active", "keys": "authenticated", "members": [],
            "memberCount": 2, "lastMessage": last})
    });
    channels(json!({"channels": rows.collect::<Vec<_>>(), "more": 0, "you": [], "away": []}))
}

/// A chat in which the channel `C` is read.
fn chat(messages: &[Message], more: bool) -> Model {
    let mut model = Model::new(None, BTreeMap::new());
    assert_eq!(model.next_ask(), Some(Ask::List));
    let last = messages.last().map(|message| &*message.id);
    model.answered(&Ask::List, Ok(listed(&[("C", "sums", last)])));
    let newest = Ask::Page(key("C"), Cursor::Newest, PAGE);
    assert_eq!(model.next_ask().as_ref(), Some(&newest));
    model.answered(&newest, Ok(page(messages, more)));
    model.seen();
    model
}

fn press(model: &mut Model, code: KeyCode) {
    model.key(KeyEvent::new(code, KeyModifiers::NONE));
}

fn control(model: &mut Model, c: char) -> ChatAction {
    model.key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL))
}

fn say(model: &mut Model, text: &str) {
    model.paste(text);
    press(model, KeyCode::Enter);
}

fn fates(model: &Model) -> Vec<&TextStatus> {
    let own = &model.shown().expect("a channel").own;
    own.iter().map(|own| &own.fate).collect()
}

fn failed(done: Done) -> Stop {
    Stop::new(Exit::Failed, "x", "no relay").done(done)
}

#[test]
fn own_text_is_sent_when_the_relay_has_it() {
    let mut model = chat(&[message("1", false, "hello")], false);
    say(&mut model, "one");
    say(&mut model, "two");
    assert_eq!(fates(&model), [&TextStatus::Waiting, &TextStatus::Waiting]);
    assert_eq!(model.next_send(), Some((key("C"), "one".to_owned())));
    assert_eq!(model.next_send(), None, "one at a time");
    assert_eq!(fates(&model), [&TextStatus::UnderWay, &TextStatus::Waiting]);
    model.sent(&key("C"), Ok("2".to_owned()));
    assert_eq!(fates(&model)[0], &TextStatus::Taken("2".to_owned()));
    // It is a message like any other as soon as the history has it.
    let after = Ask::Page(key("C"), Cursor::After("1".to_owned()), NEW);
    model.answered(&Ask::List, Ok(listed(&[("C", "sums", Some("2"))])));
    assert_eq!(model.next_ask().as_ref(), Some(&after));
    model.answered(&after, Ok(page(&[message("2", true, "one")], false)));
    assert_eq!(fates(&model), [&TextStatus::Waiting]);
    assert_eq!(model.next_send(), Some((key("C"), "two".to_owned())));
}

#[test]
fn nothing_goes_behind_a_text_that_was_not_sent() {
    let mut model = chat(&[], false);
    for text in ["one", "two"] {
        say(&mut model, text);
    }
    model.next_send().expect("a text");
    model.sent(&key("C"), Err(failed(Done::None)));
    assert!(
        fates(&model)
            .iter()
            .all(|fate| matches!(fate, TextStatus::NotSent(_)))
    );
    assert_eq!(model.next_send(), None);
    control(&mut model, 'r');
    assert_eq!(model.next_send(), Some((key("C"), "one".to_owned())));
}

#[test]
fn text_refused_for_good_is_not_sent_again() {
    let refused = |code: &str, reason: Option<&str>| Stop {
        reason: reason.map(Into::into),
        ..Stop::new(Exit::Failed, code, "no")
    };
    for (code, reason, offered, next) in [
        ("schema_validation_failed", None, 1, "two"),
        ("transport_error", Some("refused"), 1, "two"),
        ("transport_error", Some("archived"), 0, "one"),
        ("transport_error", Some("not_safe"), 0, "one"),
        ("transport_error", Some("rate_limited"), 2, "one"),
    ] {
        let mut model = chat(&[], false);
        say(&mut model, "one");
        say(&mut model, "two");
        model.next_send().expect("a text");
        model.sent(&key("C"), Err(refused(code, reason)));
        let is_offered = |fate: &&TextStatus| matches!(fate, TextStatus::NotSent(_));
        let of_both = fates(&model).into_iter().filter(is_offered).count();
        assert_eq!(of_both, offered, "{code} {reason:?}");
        control(&mut model, 'r');
        assert_eq!(model.next_send(), Some((key("C"), next.to_owned())));
    }
}

#[test]
fn archived_channel_sends_nothing_again() {
    let mut model = chat(&[], false);
    say(&mut model, "one");
    model.next_send().expect("a text");
    model.sent(&key("C"), Err(failed(Done::None)));
    model.shown_mut().expect("a channel").is_archived = true;
    control(&mut model, 'r');
    assert_eq!(model.next_send(), None);
    assert!(model.note.is_some());
    model.shown_mut().expect("a channel").is_archived = false;
    control(&mut model, 'r');
    assert_eq!(model.next_send(), Some((key("C"), "one".to_owned())));
    assert_eq!(model.note, None);
}

#[test]
fn doubt_ends_with_the_message_and_not_with_another() {
    let mut model = chat(&[message("1", true, "yes")], false);
    say(&mut model, "yes");
    model.next_send().expect("a text");
    model.sent(&key("C"), Err(failed(Done::Unknown)));
    assert!(matches!(fates(&model)[..], [TextStatus::Doubt(_)]));
    control(&mut model, 'r');
    assert_eq!(model.next_send(), None, "it would stand there twice");
    let after = |id: &str| Ask::Page(key("C"), Cursor::After(id.to_owned()), NEW);
    // Neither the same words of before, nor another's.
    model.answered(&after("1"), Ok(page(&[message("2", false, "yes")], false)));
    assert!(matches!(fates(&model)[..], [TextStatus::Doubt(_)]));
    model.answered(&after("2"), Ok(page(&[message("3", true, "yes")], false)));
    assert!(fates(&model).is_empty());
}

#[test]
fn unread_messages_are_counted_up_to_a_bound_and_kept_as_read() {
    let mut model = chat(&[message("1", false, "a")], false);
    assert_eq!(model.marks()["talk/C"], "1");
    let all = [("C", "sums", Some("1")), ("D", "plans", Some("9"))];
    model.answered(&Ask::List, Ok(listed(&all)));
    let count = Ask::Count(key("D"), Cursor::After(START.to_owned()));
    assert_eq!(model.next_ask().as_ref(), Some(&count));
    let mut others: Vec<_> = (0..COUNTED)
        .map(|n| message(&n.to_string(), false, "x"))
        .collect();
    others[0] = message("0", true, "mine");
    model.answered(&count, Ok(page(&others, true)));
    let plans = |model: &Model| {
        model
            .channels
            .iter()
            .position(|c| c.key.1 == "D")
            .expect("D")
    };
    let unread = model.channels[plans(&model)].unread;
    assert_eq!(unread, (COUNTED - 1, true));
    assert_eq!(model.next_ask(), None, "counted once");
    // Shown, it is read, and so it is in the next chat.
    press(&mut model, KeyCode::Tab);
    assert_eq!(model.at, plans(&model));
    let newest = Ask::Page(key("D"), Cursor::Newest, PAGE);
    model.answered(&newest, Ok(page(&[message("9", false, "x")], true)));
    model.seen();
    assert_eq!(model.channels[model.at].unread, (0, false));
    let mut next = Model::new(None, model.marks().clone());
    next.answered(&Ask::List, Ok(listed(&all)));
    assert!(
        next.channels
            .iter()
            .all(|channel| channel.unread == (0, false))
    );
    let shown = page(&[message("9", false, "x")], true);
    next.answered(&newest, Ok(shown));
    assert_eq!(next.next_ask(), None, "nothing is to be counted");
}

#[test]
fn history_is_loaded_page_by_page_whatever_the_relay_says() {
    let mut model = chat(&[message("5", false, "e")], true);
    assert_eq!(model.next_ask(), None, "nobody looks further up");
    model.shown_mut().expect("a channel").wants_older = true;
    let before = Ask::Page(key("C"), Cursor::Before("5".to_owned()), PAGE);
    assert_eq!(model.next_ask().as_ref(), Some(&before));
    let older = [message("3", false, "c"), message("4", false, "d")];
    model.answered(&before, Ok(page(&older, true)));
    let ids = |model: &Model| -> Vec<String> {
        let messages = &model.shown().expect("a channel").messages;
        messages.iter().map(|message| message.id.clone()).collect()
    };
    assert_eq!(ids(&model), ["3", "4", "5"]);
    // An empty page ends it, and what comes twice stands once.
    model.shown_mut().expect("a channel").wants_older = true;
    let before = Ask::Page(key("C"), Cursor::Before("3".to_owned()), PAGE);
    model.answered(&before, Ok(page(&[message("3", false, "c")], true)));
    assert_eq!(ids(&model), ["3", "4", "5"]);
    model.answered(&before, Ok(page(&[], true)));
    assert!(!model.shown().expect("a channel").has_older);
    // A newest message that is listed and never given is asked for once.
    model.answered(&Ask::List, Ok(listed(&[("C", "sums", Some("7"))])));
    let after = Ask::Page(key("C"), Cursor::After("5".to_owned()), NEW);
    assert_eq!(model.next_ask().as_ref(), Some(&after));
    model.answered(&after, Ok(page(&[], false)));
    assert_eq!(model.next_ask(), None);
    // More new ones than a page: the newest page takes the place of all.
    model.answered(&Ask::List, Ok(listed(&[("C", "sums", Some("9"))])));
    model.answered(&after, Ok(page(&[message("6", false, "f")], true)));
    let newest = Ask::Page(key("C"), Cursor::Newest, PAGE);
    assert_eq!(model.next_ask().as_ref(), Some(&newest));
    model.answered(&newest, Ok(page(&[message("9", false, "i")], true)));
    assert_eq!(ids(&model), ["9"]);
}

#[test]
fn failure_is_shown_and_asked_again_at_the_next_look() {
    let mut model = chat(&[message("1", false, "a")], true);
    model.shown_mut().expect("a channel").wants_older = true;
    let ask = model.next_ask().expect("a question");
    model.answered(&ask, Err(failed(Done::None)));
    assert!(model.shown().expect("a channel").trouble.is_some());
    assert_eq!(model.next_ask(), None, "not in a circle");
    model.look();
    assert_eq!(model.next_ask(), Some(Ask::List));
    model.answered(&Ask::List, Err(failed(Done::None)));
    assert_eq!(model.lost.as_deref(), Some("no relay"));
    model.look();
    model.answered(&Ask::List, Ok(listed(&[("C", "sums", Some("1"))])));
    assert_eq!((&model.lost, model.next_ask()), (&None, Some(ask)));
    // Of a source that is away, what is known stays.
    let away = json!({"channels": [], "you": [], "more": 0, "away": [{"source": "talk", "why": "no relay"}]});
    model.answered(&Ask::List, Ok(channels(away)));
    assert_eq!(
        (model.channels.len(), &*model.away),
        (1, &["talk: no relay".to_owned()][..])
    );
    model.answered(&Ask::List, Ok(listed(&[])));
    assert!(model.channels[0].is_left && model.note.is_some());
}

#[test]
fn named_channel_is_shown_first_and_no_other_takes_its_text() {
    let mut model = Model::new(Some(key("D")), BTreeMap::new());
    let all = [("C", "a", None), ("D", "sums", None)];
    model.answered(&Ask::List, Ok(listed(&all)));
    assert_eq!(model.shown().map(|one| &one.key), Some(&key("D")));
    // One that went meanwhile.
    let mut model = Model::new(Some(key("E")), BTreeMap::new());
    model.answered(&Ask::List, Ok(listed(&all)));
    say(&mut model, "for E alone");
    assert_eq!(
        (model.next_send(), model.note.as_deref()),
        (None, Some(LEFT))
    );
    assert_eq!(model.shown().map(|one| &one.key), Some(&key("E")));
    control(&mut model, 'u');
    model.answered(&Ask::List, Ok(listed(&all)));
    assert_eq!(
        model.shown().map(|one| &one.key),
        Some(&key("E")),
        "also empty"
    );
    press(&mut model, KeyCode::Tab);
    model.answered(&Ask::List, Ok(listed(&all)));
    assert!(model.channels.iter().all(|one| one.key != key("E")), "left");
}

#[test]
fn what_is_written_is_text_and_bounded() {
    let mut model = chat(&[], false);
    model.paste("a\r\nb\u{1b}[2J\tc");
    assert_eq!(model.shown().expect("a channel").draft, "a\nb[2J\tc");
    model.paste(&"x".repeat(TEXT));
    assert!(model.note.is_some());
    assert_eq!(model.shown().expect("a channel").draft.len(), 8);
    control(&mut model, 'u');
    press(&mut model, KeyCode::Enter);
    assert_eq!(model.next_send(), None, "nothing is no message");
    assert_eq!(control(&mut model, 'd'), ChatAction::Quit);
    model.paste("x");
    assert_eq!(
        control(&mut model, 'd'),
        ChatAction::Nothing,
        "a text would be lost"
    );
    assert_eq!(control(&mut model, 'c'), ChatAction::Quit);
}

#[test]
fn words_outlive_the_channel_that_is_left() {
    let mut model = chat(&[message("1", false, "hello")], false);
    say(&mut model, "one");
    model.paste("a draft");
    // Another member removed the person.
    model.look();
    model.answered(&Ask::List, Ok(listed(&[("D", "plans", None)])));
    let left = model.shown().expect("the channel");
    assert_eq!((&left.key, left.draft.as_str()), (&key("C"), "a draft"));
    assert_eq!(fates(&model), [&TextStatus::Barred(LEFT.to_owned())]);
    assert_eq!(model.note.as_deref(), Some(LEFT));
    // Nothing of it is asked or sent, also when the person wants it.
    press(&mut model, KeyCode::Enter);
    control(&mut model, 'r');
    assert_eq!((model.next_send(), model.next_ask()), (None, None));
    assert_eq!(model.unsent().count(), 1);
    // In it again, the words go out.
    model.look();
    let back = listed(&[("C", "sums", Some("1")), ("D", "plans", None)]);
    model.answered(&Ask::List, Ok(back));
    control(&mut model, 'r');
    assert_eq!(model.next_send(), Some((key("C"), "one".to_owned())));
    // Without words it stays while it is shown: what is typed next is for no other channel.
    model.sent(&key("C"), Ok("2".to_owned()));
    control(&mut model, 'u');
    model.answered(&Ask::List, Ok(listed(&[("D", "plans", None)])));
    say(&mut model, "for C alone");
    let shown = model.shown().map(|channel| &channel.key);
    assert_eq!(
        (shown, model.note.as_deref()),
        (Some(&key("C")), Some(LEFT))
    );
    assert_eq!(model.next_send(), None);
    // Once they turn to another one it is gone, and their words go there.
    control(&mut model, 'u');
    press(&mut model, KeyCode::Tab);
    model.answered(&Ask::List, Ok(listed(&[("D", "plans", None)])));
    assert!(model.channels.iter().all(|one| one.key == key("D")));
    say(&mut model, "for D");
    assert_eq!(model.next_send(), Some((key("D"), "for D".to_owned())));
}
