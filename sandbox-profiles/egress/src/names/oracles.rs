//! Any bytes as the answer of a resolver: an answer or an error, in bounds.

use super::{KEPT, read};

#[test]
fn any_answer_is_read_or_refused() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/src/names/corpus");
    plexus_mutation::hold(corpus, &[b"\xc0\x0c", b"\xff\xff"], |bytes| {
        let (mut found, mut kept) = (Vec::new(), KEPT);
        let read = read(bytes, &mut found, &mut kept);
        assert!(kept <= KEPT);
        // A record of an address takes more bytes than the address.
        assert!(found.len() * 4 <= bytes.len());
        read.is_ok()
    });
}
