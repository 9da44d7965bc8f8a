//! A client in an organization of many users: how long until it knows the keys of all, at the rates that a relay has by default;
//! how long its start takes then, and the next time that it connects.

use crate::clients::strangers;
use crate::results::{Bound, Results};
use crate::server::Server;
use plexus_channels::identity::Home;
use plexus_channels::{Account, Direct};
use std::sync::Arc;
use std::time::Instant;

pub(crate) async fn measure(results: &mut Results, many: usize) {
    let server = Server::start_with(None, &["--address-rate", "0"]);
    strangers(&server, many).await;
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::at(folder.path()).expect("a home");
    let dial = Arc::new(Direct::default());
    let made = home.register(dial.clone(), &server.registration()).await;
    let identity = made.expect("registered");
    let name = identity.folder().file_name().and_then(|name| name.to_str());
    let name = name.expect("a name").to_owned();
    let account = Account::open(identity, dial.clone()).expect("opens");
    let mut timed = |figure: &str, began: Instant| {
        results.set(
            &format!("directory/{figure}/s"),
            began.elapsed().as_secs_f64(),
        );
    };
    let began = Instant::now();
    account.pin_directory().await.expect("pinned");
    timed("first", began);
    let began = Instant::now();
    account.pin_directory().await.expect("pinned");
    timed("connected again", began);
    drop(account);
    let began = Instant::now();
    let account = Account::open(home.open(&name).expect("opens"), dial).expect("opens");
    timed("opened", began);
    let began = Instant::now();
    account.pin_directory().await.expect("pinned");
    timed("started again", began);
    let pins = std::fs::metadata(account.identity().folder().join("known_devices"));
    let bytes = pins.expect("pins").len() as f64;
    results.set("directory/bytes of a pin", bytes / (many + 1) as f64);
    let what = format!("the keys of {many} users are known");
    results.target(what, "directory/first/s", Bound::Most(5.0), "s");
}
