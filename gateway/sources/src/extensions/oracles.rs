//! Any bytes as the manifest of an extension: refused with reasons, or one of which an offer is made as it says.

use super::{manifest::ExtensionManifest, surface};
use crate::{Registry, labels};
use plexus_mutation::{Accepted, hold};
use plexus_protocol::{SourceId, json};

fn extension(bytes: &[u8]) -> Accepted {
    let Ok(value) = json::parse(bytes) else {
        return false;
    };
    let registry = Registry::read(&[]).expect("no connectors");
    let (read, reasons) = ExtensionManifest::judge(&value, &registry, 7777);
    assert!(reasons.iter().all(|why| !why.is_empty()));
    let Some(read) = read.filter(|_| reasons.is_empty()) else {
        assert!(!reasons.is_empty());
        return false;
    };
    SourceId::parse(&read.source).expect("it has an id");
    let capabilities = read.capabilities.iter().map(|one| &one.label);
    for label in capabilities.chain([&read.label]) {
        assert_eq!(labels::refused(label), None, "{label:?}");
    }
    let agreed = read.agreed_somewhere();
    agreed.uncompiled().expect("it was judged");
    if !read.odd_schemas().is_empty() {
        return false;
    }
    agreed.registered().expect("so were its schemas");
    let shown = surface(&agreed, &Default::default());
    assert!(super::differences(&shown, &shown).is_empty());
    true
}

#[test]
fn an_extension_is_refused_or_offered_as_it_says() {
    let words: &[&[u8]] = &[
        b"\"transport\":\"cli\"",
        b"\"transport\":\"stdio\"",
        b"\"transport\":\"skill\"",
        b"\"transport\":\"ipc\"",
        b"\"grants\":[\"read\"]",
        b"\"grants\":[\"execute\"]",
        b"\"args\":[\"{a}\"]",
        b"\"env\":{\"LD_PRELOAD\":\"x\"}",
        b"\"pattern\":\"^(a|b)*$\"",
        b"\"bin\":\"sh\"",
        b"\"baseUrl\":\"http://127.0.0.1:1\"",
        b"{x}",
        b"{1.content}",
        b"../",
        b"\\u202e",
        b"\\n",
        b"null",
    ];
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/src/extensions/corpus");
    hold(corpus, words, extension);
}
