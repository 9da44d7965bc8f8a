//! A server that answers what it likes, beside the real one of the other tests: each answer is a code and a sentence.

use plexus_conformance::served::{Setting, Worker, changed, code, intent, texts, transport};
use plexus_ipc::message::{Health, Role, WorkerError};
use plexus_protocol::Effect;
use plexus_worker_caldav::{CaldavSource, MANIFEST};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

const PROPERTIES: &str = "<d:prop><d:resourcetype><c:calendar/></d:resourcetype><d:displayname>Cal</d:displayname></d:prop>";

/// What is answered to a request's method and path; `None` for what a sound server would.
type Script = dyn Fn(&str, &str) -> Option<Vec<u8>> + Send + Sync;

pub(crate) fn multistatus(inner: &str) -> Vec<u8> {
    let body = format!(
        "<d:multistatus xmlns:d=\"DAV:\" xmlns:c=\"urn:ietf:params:xml:ns:caldav\">{inner}</d:multistatus>"
    );
    answer("207 Multi-Status", "", &body)
}

pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(crate) fn object(name: &str, data: &str) -> String {
    format!(
        "<d:response><d:href>/me/cal/{name}</d:href><d:propstat><d:prop><d:getetag>\"1\"</d:getetag><c:calendar-data>{data}</c:calendar-data></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
    )
}

fn event(lines: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20261123T090000Z\n{lines}\nEND:VEVENT\nEND:VCALENDAR\n"
    )
}

/// Serves until the test ends.
pub(crate) fn serve(script: impl Fn(&str, &str) -> Option<Vec<u8>> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script: Arc<Script> = Arc::new(script);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let script = Arc::clone(&script);
            thread::spawn(move || one(stream, &*script));
        }
    });
    port
}

fn one(stream: TcpStream, script: &Script) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let from = head.len();
        stream.read_line(&mut head).ok()?;
        let line = head[from..].trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).ok()?;
    let mut words = head.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let sound = || match (method, path) {
        ("PROPFIND", "/") => multistatus(
            "<d:response><d:href>/</d:href><d:propstat><d:prop><c:calendar-home-set><d:href>/me/</d:href></c:calendar-home-set></d:prop></d:propstat></d:response>",
        ),
        ("PROPFIND", "/me/") => multistatus(&format!(
            "<d:response><d:href>/me/cal/</d:href><d:propstat>{PROPERTIES}</d:propstat></d:response>"
        )),
        _ => answer("404 Not Found", "", ""),
    };
    let answer = script(method, path).unwrap_or_else(sound);
    if answer.is_empty() {
        // Holds the connection without a word, until the client leaves.
        let _ = stream.read(&mut [0]);
        return None;
    }
    stream.get_mut().write_all(&answer).ok()
}

fn setting(port: u16) -> Setting {
    Setting {
        config: json!({"url": "https://cal.example/", "user": "me"}),
        egress: Some((port, "word".into())),
        ..Setting::default()
    }
}

pub(crate) async fn reader(port: u16) -> Worker {
    Worker::set_up::<CaldavSource>(MANIFEST, &setting(port), Role::Reader).await
}

/// A list of events, where the calendar answers so.
async fn listed(report: Vec<u8>) -> Result<Value, WorkerError> {
    let port = serve(move |method, _| (method == "REPORT").then(|| report.clone()));
    let mut worker = reader(port).await;
    let input = json!({"start": "2026-11-22"});
    let outcome = worker.read("events.list", input).await;
    worker.stop().await;
    let answer = outcome.0?;
    Ok(serde_json::from_slice(&answer.output).unwrap())
}

/// An answer of this status alone.
fn status(status: &str) -> Vec<u8> {
    answer(status, "", "")
}

/// An answer that ends before all of it was sent.
fn half() -> Vec<u8> {
    b"HTTP/1.1 207 Multi-Status\r\ncontent-length: 5000\r\n\r\n<d:multi".to_vec()
}

/// One response about this address alone, with what the server says of it.
fn response(address: &str, says: &str) -> String {
    format!("<d:response><d:href>{address}</d:href>{says}</d:response>")
}

#[tokio::test]
async fn each_failure_has_a_code_and_says_what_to_do() {
    let reply = |what: &str| match what {
        "busy" => answer("429 Too Many Requests", "retry-after: 7\r\n", ""),
        "late" => answer(
            "503 Late",
            "retry-after: Tue, 24 Nov 2026 00:00:00 GMT\r\n",
            "",
        ),
        "fails" => answer("500 Internal Server Error", "", "<html>stack trace</html>"),
        "half" => half(),
        "other" => b"SSH-2.0-OpenSSH\r\n".to_vec(),
        "page" => answer("200 OK", "", "<html><body>Welcome</body></html>"),
        "deep" => multistatus(&format!("{}<d:href/>", "<d:response>".repeat(50_000))),
        "entity" => answer(
            "207 Multi-Status",
            "",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
        ),
        "huge" => multistatus(&"x".repeat(25 * 1024 * 1024)),
        "above" => multistatus(&object("../../other/x", "x")),
        "elsewhere" => multistatus(&response("https://evil.example/x", "")),
        line => status(line),
    };
    // The answer, the code, and words of the message.
    for row in [
        "401 Unauthorized | source_unavailable | tell the owner",
        "403 Forbidden | permission_denied | forbids",
        "404 Not Found | not_found | list again",
        "409 Conflict | conflict | list again",
        "412 Precondition Failed | changed | nothing was done",
        "busy | rate_limited | wait 7 s",
        "late | rate_limited | asks to wait",
        "fails | server_error | 500",
        "half | bad_answer | broke off",
        "other | bad_answer | broke off",
        "page | bad_answer | no multi-status",
        "deep | bad_answer | too deep",
        "entity | bad_answer | document type",
        "huge | too_large | ask for less",
        "above | bad_answer | climbs",
        "elsewhere | source_unavailable | tell the owner",
    ] {
        let [what, expected, words] = row.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let error = listed(reply(what)).await.unwrap_err();
        let expected = match expected {
            "source_unavailable" | "permission_denied" => json!(expected),
            "changed" => changed("changed"),
            reason => transport(reason),
        };
        assert_eq!(code(&error), expected, "{what}");
        assert!(error.message.contains(words), "{what}: {error:?}");
        if what == "busy" {
            assert_eq!(error.detail, Some(json!({"retryAfterSeconds": 7})));
        }
    }
}

#[tokio::test]
async fn one_bad_object_is_named_and_hides_no_other() {
    let long = format!("DESCRIPTION:{}", "x".repeat(5 << 20));
    let endless = "DTSTART:19700101T000000Z\nSUMMARY:Endless\nRRULE:FREQ=SECONDLY";
    let lost = "DTSTART;TZID=Nowhere/Town:20261123T090000\nSUMMARY:Lost";
    let objects = [
        object("good.ics", &event("SUMMARY:Good")),
        object("large.ics", &event(&long)),
        object("endless.ics", &event(endless)),
        object("flood.ics", &event("SUMMARY:Flood\nRRULE:FREQ=SECONDLY")),
        object("none.ics", "no calendar"),
        object("lost.ics", &event(lost)),
        object(
            "later.ics",
            &event("DTSTART:20261201T090000Z\nSUMMARY:Later"),
        ),
        object("sub/deeper.ics", &event("SUMMARY:Of another folder")),
    ];
    let report = multistatus(&objects.concat());
    let port = serve(move |method, _| (method == "REPORT").then(|| report.clone()));
    let mut worker = reader(port).await;
    let input = json!({"start": "2026-11-22", "limit": 2000});
    let pages = worker.pages("events.list", input).await;
    worker.stop().await;
    let mut titles = BTreeMap::<String, usize>::new();
    for title in pages
        .iter()
        .flat_map(|page| texts(&page["events"], "title"))
    {
        *titles.entry(title).or_default() += 1;
    }
    let titles: Vec<_> = titles.iter().map(|(t, times)| (&**t, *times)).collect();
    assert_eq!(
        titles,
        [("Flood", 2_000), ("Good", 1), ("Later", 1), ("Lost", 1)]
    );
    let warnings = pages.last().unwrap()["warnings"].as_array().unwrap();
    for (id, why) in [
        ("cal/large.ics", "too large"),
        ("cal/endless.ics", "occurrences are missing"),
        ("cal/flood.ics", "occurrences are missing"),
        ("cal/none.ics", "no calendar object"),
        ("cal/lost.ics", "time zone is not known"),
        ("/me/cal/sub/deeper.ics", "another folder"),
    ] {
        let mut lines = warnings.iter().map(|line| line.as_str().unwrap());
        let named = lines.any(|line| line.contains(id) && line.contains(why));
        assert!(named, "{id} in {warnings:?}");
    }
}

/// A home of these members, each an address and what the server says of it.
fn home(members: &[(&str, &str)]) -> Vec<u8> {
    let members = members
        .iter()
        .map(|(address, says)| response(address, says));
    multistatus(&members.collect::<String>())
}

#[tokio::test]
async fn failing_calendar_costs_that_calendar_and_is_named() {
    let calendar = format!("<d:propstat>{PROPERTIES}</d:propstat>");
    let collection = "<d:propstat><d:prop><d:resourcetype><d:collection/></d:resourcetype></d:prop></d:propstat>";
    let failed = "<d:status>HTTP/1.1 500 Internal Server Error</d:status>";
    let all = home(&[
        ("/me/", collection),
        ("/me/a/", &calendar),
        ("/me/b/", &calendar),
        ("https://elsewhere.example/shared/", &calendar),
        ("/me/../up/", &calendar),
        ("/me/broken/", failed),
        ("/me/c/", &calendar),
    ]);
    let of = |path: &str, title: &str| {
        let object = object("a.ics", &event(&format!("SUMMARY:{title}")));
        multistatus(&object.replace("/me/cal/", path))
    };

    for words in [
        "the server answered 500",
        "forbids",
        "nothing there any more",
        "wait 7 s",
        "no multi-status",
        "names no address",
        "larger than 24 MiB",
        "broke off",
        "another host",
    ] {
        let failure = match words {
            "the server answered 500" => status("500 Internal Server Error"),
            "forbids" => status("403 Forbidden"),
            "nothing there any more" => status("404 Not Found"),
            "wait 7 s" => answer("429 Too Many Requests", "retry-after: 7\r\n", ""),
            "no multi-status" => answer("200 OK", "", "<html/>"),
            "names no address" => multistatus("<d:response/>"),
            "larger than 24 MiB" => multistatus(&"x".repeat(25 * 1024 * 1024)),
            "broke off" => half(),
            _ => multistatus(&response("https://evil.example/x", "")),
        };
        let (all, a, c) = (all.clone(), of("/me/a/", "A"), of("/me/c/", "C"));
        let port = serve(move |method, path| match (method, path) {
            ("PROPFIND", "/me/") => Some(all.clone()),
            ("REPORT", "/me/a/") => Some(a.clone()),
            ("REPORT", "/me/b/") => Some(failure.clone()),
            ("REPORT", "/me/c/") => Some(c.clone()),
            _ => None,
        });
        let mut worker = reader(port).await;
        let listed = worker.answer("calendars.list", json!({})).await;
        assert_eq!(listed["calendars"].as_array().map(Vec::len), Some(3));
        let input = json!({"start": "2026-11-22"});
        let answer = worker.answer("events.list", input.clone()).await;
        assert_eq!(texts(&answer["events"], "title"), ["A", "C"], "{words}");
        let [warnings, more] = [&answer, &listed].map(|told| told["warnings"].as_array().unwrap());
        for (id, why) in [
            ("b", words),
            ("https://elsewhere.example/shared/", "another host"),
            ("/me/../up/", "address"),
            ("broken", "does not say what it is"),
        ] {
            let begins = format!("{id}: nothing of ");
            let mut lines = warnings
                .iter()
                .chain(more)
                .map(|line| line.as_str().unwrap());
            let is_said = lines.any(|line| line.starts_with(&begins) && line.contains(why));
            assert!(is_said, "{id}: {words}: {answer}");
        }
        assert_eq!(warnings.len(), 4, "{answer}");
        // The account is well, and asked for by itself the calendar's failure is the answer.
        assert_eq!(worker.health().await, Health::Well, "{words}");
        let alone = json!({"start": "2026-11-22", "calendars": ["b"]});
        let error = worker.read("events.list", alone).await.0.unwrap_err();
        assert!(error.message.contains(words), "{words}: {error:?}");
        assert_eq!(worker.health().await, Health::Well, "{words}");
        // What a call may not see is not named to it either.
        let only = json!({"pathPrefix": {"field": "calendars", "allow": ["a"]}});
        let mut narrow = worker.constrained(only);
        let answer = narrow.answer("events.list", input).await;
        assert_eq!(texts(&answer["events"], "title"), ["A"]);
        assert_eq!(answer["warnings"], Value::Null);
        narrow.stop().await;
    }
}

/// No card asks for what the account may not do.
#[tokio::test]
async fn calendar_that_is_only_read_takes_no_change() {
    let may = |privileges: &str| {
        let set = "current-user-privilege-set";
        let granted = format!("<d:{set}>{privileges}</d:{set}></d:prop>");
        let properties = PROPERTIES.replace("</d:prop>", &granted);
        format!("<d:propstat>{properties}</d:propstat>")
    };
    let reads = "<d:privilege><d:read/></d:privilege>";
    let writes = format!("{reads}<d:privilege><d:write/></d:privilege>");
    let homes = [&*writes, reads].map(|b| home(&[("/me/a/", &may(reads)), ("/me/b/", &may(b))]));
    let is_shut = Arc::new(AtomicBool::new(false));
    let shut = Arc::clone(&is_shut);
    let todo = "BEGIN:VCALENDAR\nBEGIN:VTODO\nUID:x\nSUMMARY:x\nEND:VTODO\nEND:VCALENDAR\n";
    let port = serve(move |method, path| match (method, path) {
        ("PROPFIND", "/me/") => Some(homes[usize::from(is_shut.load(Ordering::Relaxed))].clone()),
        ("GET", _) => Some(answer("200 OK", "etag: \"1\"\r\n", todo)),
        ("PUT", _) => Some(answer("201 Created", "etag: \"1\"\r\n", "")),
        _ => None,
    });
    let mut worker = reader(port).await;
    // The second is the control.
    for (id, expected) in [("a", Err(transport("read_only"))), ("b", Ok(()))] {
        for (capability, input) in [
            ("todos.create", json!({"list": id, "title": "x"})),
            (
                "events.create",
                json!({"calendar": id, "title": "x", "start": "2026-11-23", "end": "2026-11-24"}),
            ),
            ("todos.complete", json!({"id": format!("{id}/x.ics")})),
        ] {
            let plan = worker.plan(capability, input).await;
            let plan = plan.map(drop).map_err(|error| code(&error));
            assert_eq!(plan, expected, "{capability} {id}");
        }
    }
    worker.stop().await;
    // Nor is a change taken back once the calendar is only read.
    let scratch = tempfile::tempdir().unwrap();
    let setting = Setting {
        scratch: Some(scratch.path().to_owned()),
        ..setting(port)
    };
    let add = ("todos.create", json!({"list": "b", "title": "x"}));
    let added = setting.change::<CaldavSource>(MANIFEST, intent(1), add, || {});
    added.await.unwrap();
    shut.store(true, Ordering::Relaxed);
    let undo = ("undo", json!({"id": intent(1).as_str()}));
    let undone = setting.change::<CaldavSource>(MANIFEST, intent(2), undo, || {});
    let undone = undone.await.map_err(|error| code(&error));
    assert_eq!(undone, Err(transport("read_only")));
}

#[tokio::test]
async fn what_a_server_names_and_does_not_send_is_named() {
    let says = "<d:status>HTTP/1.1 507 Insufficient Storage</d:status>";
    let named = ["/me/cal/", "/me/cal/b.ics"].map(|path| response(path, says));
    let sent = object("a.ics", &event("SUMMARY:A"));
    let answer = listed(multistatus(&(sent + &named.concat())))
        .await
        .unwrap();
    assert_eq!(answer["events"][0]["title"], "A");
    let warnings = answer["warnings"].to_string();
    for words in [
        "/me/cal/: nothing of it is listed: the answer was cut short",
        "cal/b.ics: the server names it and does not send it",
    ] {
        assert!(warnings.contains(words), "{words} in {warnings}");
    }
}

#[tokio::test]
async fn too_many_occurrences_of_all_objects_are_refused_together() {
    let flood = |count: usize| -> Vec<u8> {
        let one = |at| object(&format!("{at}.ics"), &event("RRULE:FREQ=MINUTELY"));
        multistatus(&(0..count).map(one).collect::<String>())
    };
    let control = listed(flood(10)).await.expect("20,000 occurrences");
    assert!(control["next"].is_string(), "{control}");
    let refused = listed(flood(11)).await.unwrap_err();
    assert_eq!(code(&refused), transport("too_large"));
    assert!(refused.message.contains("shorter range"), "{refused:?}");
}

#[tokio::test]
async fn calendar_is_asked_each_time_where_no_version_is_offered() {
    let tag = "<s:getctag xmlns:s=\"http://calendarserver.org/ns/\"";
    let [empty, seven] = [format!("{tag}/>"), format!("{tag}>7</s:getctag>")];
    for (version, expected) in [("", 2), (&*empty, 2), (&*seven, 1)] {
        let properties = PROPERTIES.replace("</d:prop>", &format!("{version}</d:prop>"));
        let home = home(&[(
            "/me/cal/",
            &format!("<d:propstat>{properties}</d:propstat>"),
        )]);
        let reports = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reports);
        let port = serve(move |method, path| match (method, path) {
            ("PROPFIND", "/me/") => Some(home.clone()),
            ("REPORT", _) => {
                counted.fetch_add(1, Ordering::Relaxed);
                Some(multistatus(&object("a.ics", &event("SUMMARY:A"))))
            }
            _ => None,
        });
        let mut worker = reader(port).await;
        for _ in 0..2 {
            let input = json!({"start": "2026-11-22"});
            let answer = worker.answer("events.list", input).await;
            assert_eq!(answer["events"][0]["title"], "A");
        }
        worker.stop().await;
        assert_eq!(reports.load(Ordering::Relaxed), expected, "{version:?}");
    }
}

#[tokio::test]
async fn wrong_input_is_refused_before_the_account_is_asked() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let port = serve(move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        None
    });
    let judged = async |capability, right: Value, narrowed, wrong: &[(&str, &str)]| {
        let worker = reader(port).await;
        let before = asked.load(Ordering::Relaxed);
        let nothing = json!({"pathPrefix": {"field": narrowed, "allow": []}});
        let mut worker = worker.constrained(nothing);
        worker.judges_input_first(capability, &right, wrong).await;
        assert_eq!(asked.load(Ordering::Relaxed), before);
        worker.stop().await;
    };
    let event = json!({"calendar": "cal", "title": "T", "start": "2026-11-23T09:00", "end": "2026-11-23T10:00"});
    let wrong = [
        ("timeZone", "Mars/Base"),
        ("start", "tomorrow"),
        ("end", "2026-02-30"),
        ("end", "2026-11-24"),
        ("end", "2026-11-23T08:00"),
        ("title", " "),
    ];
    judged("events.create", event, "calendar", &wrong).await;
    let todo = json!({"list": "cal", "title": "T"});
    let wrong = [("due", "2026-11-23T10:00"), ("title", "\t")];
    judged("todos.create", todo, "list", &wrong).await;
}

#[tokio::test]
async fn server_that_says_nothing_is_a_timeout() {
    let port = serve(|method, _| (method == "REPORT").then(Vec::new));
    let mut worker = reader(port).await;
    let begun = Instant::now();
    let refused = worker.refused("todos.list", json!({})).await;
    assert_eq!(refused, transport("timeout"));
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    worker.stop().await;
}

async fn opened(
    script: impl Fn(&str, &str) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> Result<(), String> {
    let setting = setting(serve(script));
    let opened = Worker::try_set_up::<CaldavSource>(MANIFEST, &setting, Role::Reader).await;
    let worker = opened.map_err(|error| error.message.to_string())?;
    worker.stop().await;
    Ok(())
}

#[tokio::test]
async fn account_that_cannot_be_found_says_why() {
    assert_eq!(opened(|_, _| None).await, Ok(()), "the control");
    let moved = |to: &str| answer("301 Moved Permanently", &format!("location: {to}\r\n"), "");
    let leads = |from: &str, property: &str, to: &str| {
        let says = format!(
            "<d:propstat><d:prop><{property}><d:href>{to}</d:href></{property}></d:prop></d:propstat>"
        );
        multistatus(&response(from, &says))
    };
    // A redirect on the host is followed, also from the well-known place and with the host spelled out.
    let on_host = opened(move |_, path| match path {
        "/.well-known/caldav" => Some(moved("https://CAL.example:443/dav")),
        "/" => Some(status("404 Not Found")),
        "/dav" => Some(leads("/dav", "d:current-user-principal", "/u/me/")),
        "/u/me/" => Some(leads("/u/me/", "c:calendar-home-set", "/me/")),
        _ => None,
    });
    assert_eq!(on_host.await, Ok(()));
    let own = |words: &str| answer("502 Bad Gateway", "x-plexus-egress: refused\r\n", words);
    for (what, why) in [
        ("away", "another host, p42-cal.example"),
        ("endless", "no CalDAV at this address"),
        ("nothing", "no CalDAV at this address"),
        ("page", "no CalDAV at this address"),
        ("empty", "names no calendars"),
        ("password", "(401)"),
        ("fails", "the server fails (500)"),
        ("unproven", "certificate is not accepted"),
        ("plain", "speaks no TLS at this port: name its port"),
        ("off", "cannot be reached: the host does not answer"),
    ] {
        let script = move |_: &str, path: &str| {
            Some(match what {
                "away" => moved("https://p42-cal.example/x"),
                "endless" => moved(&format!("{path}x")),
                "nothing" => status("404 Not Found"),
                "page" => answer("200 OK", "", "<html/>"),
                "empty" => multistatus(&response(path, "")),
                "password" => status("401 Unauthorized"),
                "fails" => status("500 Internal Server Error"),
                "unproven" => own("the host has not proven its name"),
                "plain" => own("the host speaks no TLS at this port"),
                _ => own("the host does not answer"),
            })
        };
        let told = opened(script).await.expect_err(what);
        assert!(told.contains(why), "{what}: {told}");
    }
}

/// A change whose request the server answers by hanging up, or with an error, before or after it has done it.
#[tokio::test]
async fn change_without_an_answer_is_known_by_what_is_there() {
    let input = json!({"list": "cal", "title": "x"});
    let (hangs_up, fails) = (b"garbage\r\n".to_vec(), status("500 Internal Server Error"));
    for (what, stores, reply, expected) in [
        ("done and hung up", true, hangs_up.clone(), Ok(())),
        ("done and failed", true, fails.clone(), Ok(())),
        ("not done and failed", false, fails, Err(Effect::None)),
        (
            "not done and hung up",
            false,
            hangs_up,
            Err(Effect::Unknown),
        ),
        ("refused", false, status("409 Conflict"), Err(Effect::None)),
        (
            "there already",
            false,
            status("412 Precondition Failed"),
            Err(Effect::None),
        ),
    ] {
        let stored = Arc::new(Mutex::new(false));
        let port = serve(move |method, _| match method {
            "PUT" => {
                *stored.lock().unwrap() = stores;
                Some(reply.clone())
            }
            "GET" if *stored.lock().unwrap() => Some(answer("200 OK", "etag: \"2\"\r\n", "x")),
            _ => None,
        });
        let asked = ("todos.create", input.clone());
        let setting = setting(port);
        let done = setting.change::<CaldavSource>(MANIFEST, intent(1), asked, || {});
        let done = done.await.map(drop).map_err(|error| error.effect);
        assert_eq!(done, expected, "{what}");
    }
}
