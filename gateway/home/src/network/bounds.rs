//! What the owner may listen on, under which names, and whose requests come in there.

use super::*;

fn on(addresses: &[&str]) -> Network {
    Network {
        bind_addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        ..Network::default()
    }
}

#[test]
fn host_is_accepted_where_it_is_listened_on() {
    let four = on(&["192.0.2.7"]);
    assert!(four.accepts("192.0.2.7"));
    for other in ["192.0.2.8", "[192.0.2.7]", "127.0.0.1", "gw.example", ""] {
        assert!(!four.accepts(other), "{other}");
    }
    let six = on(&["2001:db8::7"]);
    assert!(six.accepts("[2001:db8::7]") && !six.accepts("2001:db8::7"));
    let every = on(&["0.0.0.0"]);
    assert!(every.accepts("127.0.0.1") && !every.accepts("0.0.0.0"));
    assert!(!every.accepts("192.0.2.7"), "nobody's address here");
    // Loopback alone is no address that was chosen.
    for loopback in ["127.0.0.1", "127.0.0.2", "0.0.0.0"] {
        assert!(!Network::default().accepts(loopback));
    }
}

#[test]
fn address_beyond_loopback_is_told_apart_and_tried() {
    let network = on(&["127.0.0.1", "192.0.2.7"]);
    assert_eq!(network.beyond_loopback(), on(&["192.0.2.7"]).bind_addresses);
    assert!(!network.active_is_loopback() && Network::default().active_is_loopback());
    assert_eq!(network.of_loopback(), Ipv4Addr::LOCALHOST);
    assert_eq!(on(&["0.0.0.0"]).of_loopback(), Ipv4Addr::UNSPECIFIED);
    let why = network.cannot_be_had(&Network::default()).unwrap();
    assert!(why.contains("192.0.2.7"), "{why}");
    assert_eq!(network.cannot_be_had(&network), None, "served already");
}

#[test]
fn owner_chooses_local_addresses_and_public_names() {
    let network = Network::default();
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let wanted = |addresses: &[&str]| network.wanted(&owned(addresses), None);
    for good in ["127.0.0.2", "0.0.0.0"] {
        assert_eq!(wanted(&[good]), Ok(on(&[good])));
    }
    assert_eq!(wanted(&[]), Ok(network.clone()));
    for bad in ["::", "192.0.2.7"] {
        assert_eq!(wanted(&[bad]), Err(owned(&[bad])));
    }
    let beside = wanted(&["0.0.0.0", "127.0.0.1"]);
    assert_eq!(beside, Err(owned(&["0.0.0.0"])));
    let is_first = |(name, ip): &(String, IpAddr)| name.starts_with("lo") && ip.is_loopback();
    assert!(local_addresses().iter().any(is_first));
    let odd = network.wanted(&[], Some(&["localhost".into()]));
    assert_eq!(odd, Err(owned(&["localhost"])));
    let named = network.wanted(&[], Some(&["A.Example".into()])).unwrap();
    assert_eq!(named.public_hostnames, ["a.example"]);
    assert_eq!(named.wanted(&[], None).unwrap(), named, "names are kept");
    assert_eq!(named.wanted(&[], Some(&[])).unwrap(), network);
}

#[test]
fn public_name_is_a_dns_name_of_two_labels() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    for good in ["a.b", "1.x-2.c3", &format!("{label}.b"), &longest] {
        assert_eq!(hostname(good).as_deref(), Some(good));
    }
    assert_eq!(hostname(" A.B "), Some("a.b".to_owned()));
    let (long_label, long_name) = (format!("a{label}.b"), format!("{longest}a"));
    for bad in [
        "", "a", "a.", "-a.b", "a-.b", "a_.b", "ä.b", "a.1", "a..b", "a b.c",
    ] {
        assert_eq!(hostname(bad), None, "{bad}");
    }
    assert_eq!((hostname(&long_label), hostname(&long_name)), (None, None));
}

#[test]
fn file_that_cannot_be_read_is_no_default() {
    let outer = tempfile::tempdir().unwrap();
    let dir = StateDir::open(Some(outer.path().join("home"))).unwrap();
    assert_eq!(Network::load(&dir, None).unwrap(), Network::default());
    let mut network = on(&["0.0.0.0"]);
    network.public_hostnames = vec!["a.example".into(), "b.example".into()];
    network.save(&dir).unwrap();
    assert_eq!(Network::load(&dir, None).unwrap(), network);
    let public = Network::load(&dir, Some("B.example")).unwrap();
    assert_eq!(public.public_hostnames, ["b.example", "a.example"]);
    let unread = |public, words: &str| {
        let why = format!("{:#}", Network::load(&dir, public).unwrap_err());
        assert!(why.contains(words), "{why}");
    };
    unread(Some("b"), "\"b\" is not a public host name");
    std::fs::write(dir.join(FILE), "{").unwrap();
    unread(None, "fix it, or remove it for loopback only");
    std::fs::remove_file(dir.join(FILE)).unwrap();
    std::fs::create_dir(dir.join(FILE)).unwrap();
    unread(None, "Is a directory");
}
