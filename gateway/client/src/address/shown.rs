//! How an address is shown.

use super::*;

#[test]
fn address_is_shown_as_it_is_read() {
    let local = Address::loopback(7);
    assert_eq!(
        (local.to_string(), local.authority()),
        ("http://127.0.0.1:7".into(), "127.0.0.1:7".into())
    );
    let socket: Address = "unix:/run/p.sock".parse().unwrap();
    assert_eq!(
        (socket.to_string(), socket.authority()),
        ("unix:/run/p.sock".into(), "localhost".into())
    );
}
