//! Resolvers of our own, on loopback.

use super::*;
use simple_dns::{ResourceRecord, rdata};
use std::net::Ipv4Addr;
use tokio::net::TcpListener;

/// No server listens there: the system gives this port to nobody who asks for a free one.
const GONE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// A resolver that answers each question by `answer`, and counts them.
async fn resolver(
    answers: usize,
    answer: impl Fn(&Packet<'_>) -> Packet<'static> + Send + 'static,
) -> (SocketAddr, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = 0;
        while let Ok(length) = stream.read_u16().await {
            let mut question = vec![0; length.into()];
            stream.read_exact(&mut question).await.unwrap();
            asked += 1;
            if asked > answers {
                break;
            }
            let reply = answer(&Packet::parse(&question).unwrap());
            let reply = reply.build_bytes_vec().unwrap();
            stream.write_u16(reply.len() as u16).await.unwrap();
            stream.write_all(&reply).await.unwrap();
        }
        asked
    });
    (address, asked)
}

fn reply(question: &Packet<'_>, records: Vec<RData<'static>>) -> Packet<'static> {
    let mut reply = Packet::new_reply(question.id());
    let name = Name::new("cal.example").unwrap();
    reply.answers = records
        .into_iter()
        .map(|rdata| ResourceRecord::new(name.clone(), CLASS::IN, 30, rdata))
        .collect();
    reply
}

fn is_v4(question: &Packet<'_>) -> bool {
    question.questions[0].qtype == TYPE::A.into()
}

fn asking(servers: &[SocketAddr]) -> Resolver {
    let resolver = Resolver::default();
    resolver.known().servers = servers.to_vec();
    resolver
}

#[tokio::test]
async fn both_kinds_of_address_are_found_and_kept() {
    let (server, _asked) = resolver(2, |question| {
        let record = if is_v4(question) {
            RData::A(rdata::A {
                address: Ipv4Addr::new(192, 0, 2, 7).into(),
            })
        } else {
            RData::AAAA(rdata::AAAA {
                address: Ipv6Addr::LOCALHOST.into(),
            })
        };
        reply(question, vec![record])
    })
    .await;
    let resolver = asking(&[server]);
    let found = resolver.addresses("cal.example").await.unwrap();
    assert_eq!(
        found,
        [
            "192.0.2.7".parse::<IpAddr>().unwrap(),
            Ipv6Addr::LOCALHOST.into()
        ]
    );
    // The resolver is gone by now: what is kept answers.
    assert_eq!(resolver.addresses("cal.example").await.unwrap(), found);
}

#[tokio::test]
async fn a_name_that_is_not_there_is_told_from_resolvers_that_are_not() {
    let (denies, _asked) = resolver(2, |question| {
        let mut reply = reply(question, vec![]);
        *reply.rcode_mut() = RCODE::NameError;
        reply
    })
    .await;
    assert_eq!(
        asking(&[denies]).addresses("cal.example").await,
        Err(NotFound::NoAddress)
    );
    assert_eq!(
        asking(&[GONE]).addresses("cal.example").await,
        Err(NotFound::NoAnswer)
    );
    assert_eq!(
        asking(&[]).addresses("cal.example").await,
        Err(NotFound::NoAnswer)
    );
}

#[tokio::test]
async fn a_resolver_that_refuses_or_is_gone_hands_on_to_the_next() {
    let (refuses, _asked) = resolver(2, |question| {
        let mut reply = reply(question, vec![]);
        *reply.rcode_mut() = RCODE::Refused;
        reply
    })
    .await;
    // It closes after one answer, as some do.
    let (brief, _asked) = resolver(1, |question| {
        reply(
            question,
            vec![RData::A(rdata::A {
                address: 0x0102_0304,
            })],
        )
    })
    .await;
    let found = asking(&[GONE, refuses, brief])
        .addresses("cal.example")
        .await;
    assert_eq!(found.unwrap(), ["1.2.3.4".parse::<IpAddr>().unwrap()]);
}

#[tokio::test]
async fn files_of_the_machine_are_read_as_the_c_library_does() {
    let names = Names {
        resolv_conf: "# a comment\nsearch home.example\nnameserver 192.0.2.1\nnameserver ::1\nnameserver nonsense\n\
                      nameserver 192.0.2.2\nnameserver 192.0.2.3\n"
            .into(),
        hosts: "127.0.0.1 localhost\n192.168.1.5\tNAS.home nas # the box\nnonsense other\n".into(),
    };
    let resolver = Resolver::new(&names);
    let servers: Vec<_> = resolver
        .known()
        .servers
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(servers, ["192.0.2.1:53", "[::1]:53", "192.0.2.2:53"]);
    for name in ["nas.home", "nas"] {
        let found = resolver.addresses(name).await.unwrap();
        assert_eq!(found, ["192.168.1.5".parse::<IpAddr>().unwrap()]);
    }
    resolver.renew(&Names::default());
    assert_eq!(resolver.addresses("nas").await, Err(NotFound::NoAnswer));
}

#[tokio::test]
async fn what_is_this_machine_is_asked_of_nobody() {
    let resolver = asking(&[]);
    for name in ["localhost", "inner.localhost"] {
        let found = resolver.addresses(name).await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback), "{name}");
    }
    assert_eq!(
        resolver.addresses("::1").await.unwrap(),
        [IpAddr::from(Ipv6Addr::LOCALHOST)]
    );
}
