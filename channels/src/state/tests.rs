//! What the state of an identity keeps over a restart, and what it forgets.

use super::*;

fn outgoing(channel_id: Id, seq: u64) -> Outgoing {
    Outgoing {
        channel_id,
        post: Post {
            client_message_id: Id::generate(),
            key_version: 1,
            seq,
            nonce: Base64Url::default(),
            ciphertext: Base64Url::default(),
        },
        text: None,
        channel_name: None,
        may_have_arrived: false,
    }
}

#[test]
fn sequence_and_outbox_survive_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let channel = Id::generate();
    let mut state = State::open(folder.path()).expect("opens");
    assert_eq!(state.next_seq(channel), 1);
    let post = |seq| Post {
        client_message_id: Id::generate(),
        key_version: 1,
        seq,
        nonce: Base64Url(vec![1; 12]),
        ciphertext: Base64Url(vec![2; 20]),
    };
    let (first, second) = (post(1), post(2));
    let call = |seq| Once::call(&format!("call {seq}"));
    for post in [&first, &second] {
        state
            .put(
                Outgoing {
                    channel_id: channel,
                    post: post.clone(),
                    text: None,
                    channel_name: None,
                    may_have_arrived: false,
                },
                Some(call(post.seq)),
            )
            .expect("put");
    }
    state.advance([(channel, channel)]).expect("kept");
    state.advance([(channel, Id::ZERO)]).expect("kept");
    let mut state = State::open(folder.path()).expect("opens");
    assert_eq!(state.next_seq(channel), 3);
    assert_eq!(state.watermark(channel), Some(channel));
    assert_eq!(
        state.outbox().iter().map(|o| &o.post).collect::<Vec<_>>(),
        [&first, &second]
    );
    assert!(state.outbox().iter().all(|o| o.may_have_arrived));
    assert_eq!(state.fate(&call(1)), Some(WriteStatus::Waiting));
    let taken = WriteStatus::Taken(channel, Timestamp::UNIX_EPOCH);
    let settled = state.settle(first.client_message_id, taken, None);
    settled.expect("settled");
    let mut state = State::open(folder.path()).expect("opens");
    assert_eq!((state.outbox().len(), state.next_seq(channel)), (1, 3));
    assert_eq!(state.fate(&call(1)), Some(taken));
    assert_eq!(state.fate(&call(3)), None);
    let refused = state.settle(second.client_message_id, WriteStatus::Refused, None);
    refused.expect("settled");
    let state = State::open(folder.path()).expect("opens");
    assert_eq!(state.fate(&call(2)), Some(WriteStatus::Refused));
}

#[test]
fn half_written_state_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut state = State::open(folder.path()).expect("opens");
    state.put(outgoing(Id::generate(), 7), None).expect("put");
    let file = folder.path().join(STATE);
    let whole = std::fs::read(&file).expect("a file");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("written");
    // A state without its numbers would use them again.
    let damaged = State::open(folder.path());
    assert!(matches!(damaged, Err(IdentityError::Damaged { .. })));
}

#[test]
fn answers_of_calls_are_bounded() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut state = State::open(folder.path()).expect("opens");
    let call = |n| Once::call(&format!("call {n}"));
    let calls = u64::try_from(CALLS).expect("a number") + 2;
    for n in 1..=calls {
        let outgoing = outgoing(Id::generate(), n);
        let id = outgoing.post.client_message_id;
        state.put(outgoing, Some(call(n))).expect("put");
        state
            .settle(id, WriteStatus::Doubtful, None)
            .expect("settled");
    }
    assert_eq!((state.fate(&call(1)), state.fate(&call(2))), (None, None));
    assert_eq!(state.fate(&call(3)), Some(WriteStatus::Doubtful));
}

#[test]
fn writes_of_left_channels_are_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let (left, stays, last) = (Id::generate(), Id::generate(), Id::from_parts(2, 1));
    let mut state = State::open(folder.path()).expect("opens");
    let works = [
        ("left", vec![(left, last)]),
        ("both", vec![(left, last), (stays, last)]),
        ("none", vec![]),
    ];
    let once = |(name, until): &(&str, Vec<(Id, Id)>)| Once::named(name, until.clone());
    for work in &works {
        let put = state.put(outgoing(stays, 1), Some(once(work)));
        put.expect("put");
    }
    state.keep_channels(&[stays]).expect("kept");
    let known = |state: &State| {
        works
            .each_ref()
            .map(|work| state.fate(&once(work)).is_some())
    };
    assert_eq!(known(&state), [false, true, true]);
    let mut state = State::open(folder.path()).expect("opens");
    assert_eq!(known(&state), [false, true, false], "of another process");
    state.advance([(stays, last)]).expect("kept");
    assert_eq!(known(&state), [false; 3]);
}

#[test]
fn state_of_an_older_version_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let (channel, last) = (Id::generate(), Id::from_parts(2, 1));
    let work = Once::named("a", vec![(channel, last)]);
    let post = outgoing(channel, 1).post;
    let old = serde_json::json!({
        "seqs": {}, "watermarks": {}, "answered": [["call", null]],
        "outbox": [{"channel_id": channel, "post": post, "label": "evt_1"}],
        "written": [
            {"key": work.key, "until": [[channel, last]], "channel_id": channel, "client_message_id": post.client_message_id, "taken": null},
            {"key": Base64Url(vec![1]), "until": [[channel, last]], "channel_id": channel, "client_message_id": last, "taken": [last, "2026-11-23T05:31:38Z"]},
        ],
    });
    write_json(folder.path(), STATE, &old).expect("written");
    let mut state = State::open(folder.path()).expect("opens");
    assert_eq!(state.fate(&work), Some(WriteStatus::Waiting));
    assert!(state.outbox()[0].may_have_arrived);
    assert!(matches!(state.kept.written[1].fate, WriteStatus::Taken(id, _) if id == last));
    state.advance([(channel, last)]).expect("kept");
    assert_eq!(state.fate(&work), None);
}

#[test]
fn write_is_known_until_its_work_is_complete() {
    let folder = tempfile::tempdir().expect("a folder");
    let (channel, other) = (Id::generate(), Id::generate());
    let (before, last) = (Id::from_parts(1, 1), Id::from_parts(2, 1));
    let once = |name| Once::named(name, vec![(channel, last)]);
    let outgoing = outgoing(other, 1);
    let post = outgoing.post.clone();
    let mut state = State::open(folder.path()).expect("opens");
    state.put(outgoing.clone(), Some(once("a"))).expect("put");
    state.put_channel(channel, once("b")).expect("put");
    let mut state = State::open(folder.path()).expect("opens");
    let known = state.repeated(&once("a")).expect("kept").expect("known");
    assert_eq!(known.fate, WriteStatus::Waiting, "it is on its way");
    assert!(state.repeated(&once("c")).expect("read").is_none());
    // Encrypted anew it is the same write; refused for good it is none.
    let mut anew = outgoing;
    anew.post.client_message_id = Id::generate();
    let id = anew.post.client_message_id;
    state.replace(post.client_message_id, anew).expect("kept");
    state
        .settle(id, WriteStatus::Refused, None)
        .expect("settled");
    assert!(state.repeated(&once("a")).expect("read").is_none());
    // Not when another message of the channel is dealt with, nor another channel.
    state
        .advance([(channel, before), (other, last)])
        .expect("kept");
    assert!(state.repeated(&once("b")).expect("read").is_some());
    state.advance([(channel, last)]).expect("kept");
    assert!(state.repeated(&once("b")).expect("read").is_none());
}

#[test]
fn refused_message_stays_until_it_is_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut state = State::open(folder.path()).expect("opens");
    let unsent = |text: &str| Unsent {
        id: Id::generate(),
        channel_id: Id::generate(),
        channel_name: None,
        at: Timestamp::UNIX_EPOCH,
        text: Some(text.to_owned()),
        why: "archived".to_owned(),
        may_be_there: false,
    };
    let refuse = |state: &mut State, unsent: Unsent| {
        let outgoing = outgoing(unsent.channel_id, 1);
        let id = outgoing.post.client_message_id;
        state.put(outgoing, None).expect("put");
        let settled = state.settle(id, WriteStatus::Refused, Some(unsent));
        settled.expect("settled");
    };
    let first = unsent("a");
    refuse(&mut state, first.clone());
    let mut state = State::open(folder.path()).expect("opens");
    assert_eq!(state.unsent(), std::slice::from_ref(&first));
    assert_eq!(state.forget_unsent(&[Id::generate()]).expect("kept"), 0);
    assert_eq!(state.forget_unsent(&[first.id]).expect("kept"), 1);
    let mut state = State::open(folder.path()).expect("opens");
    assert!(state.unsent().is_empty());
    // Neither many nor long ones make a file that is not read again.
    let long = unsent(&"\u{1}".repeat(crate::limits::TEXT_BYTES));
    while !state.is_full() {
        state.kept.unsent.push(long.clone());
    }
    refuse(&mut state, long);
    assert!(state.unsent().len() > 30);
    assert!(State::open(folder.path()).expect("opens").is_full());
}
