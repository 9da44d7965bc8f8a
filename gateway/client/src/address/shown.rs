//! How an address is shown, and texts that are nearly one.

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

#[test]
fn half_a_bracket_and_a_control_are_refused() {
    for bad in [
        "http://[::1:80",
        "http://::1]:80",
        "http://a\u{7}:1",
        "http://a?b",
        "http://a#b",
    ] {
        assert!(bad.parse::<Address>().is_err(), "{bad}");
    }
}
