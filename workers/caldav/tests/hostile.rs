//! A server that answers what it likes, beside the real one of the other tests: each answer is a code and a sentence.

use plexus_conformance::served::{Setting, Worker, output, refusal};
use plexus_ipc::message::{Health, Role};
use plexus_protocol::{Effect, Verb};
use plexus_worker_caldav::{CaldavSource, MANIFEST};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
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

/// The failure of a list of events, where the calendar answers so.
async fn listed(report: Vec<u8>) -> (Result<Value, Value>, Value) {
    let port = serve(move |method, _| (method == "REPORT").then(|| report.clone()));
    let mut worker = reader(port).await;
    let outcome = worker
        .read("events.list", json!({"start": "2026-11-22"}))
        .await;
    worker.stop().await;
    match &outcome.0 {
        Ok(_) => (Ok(output(&outcome)), Value::Null),
        Err(error) => (
            Err(refusal(&outcome.0)),
            json!({"message": error.message.as_str(), "detail": error.detail}),
        ),
    }
}

#[tokio::test]
async fn each_failure_has_a_code_and_says_what_to_do() {
    let transport = |reason: &str| json!({"transport_error": {"reason": reason}});
    let mut deep = "<d:response>".repeat(50_000);
    deep.push_str("<d:href/>");
    let huge = "x".repeat(25 * 1024 * 1024);
    for (report, code, words) in [
        (
            answer("401 Unauthorized", "", ""),
            json!("source_unavailable"),
            "tell the owner",
        ),
        (
            answer("403 Forbidden", "", ""),
            json!("permission_denied"),
            "forbids",
        ),
        (
            answer("404 Not Found", "", ""),
            transport("not_found"),
            "list again",
        ),
        (
            answer("409 Conflict", "", ""),
            transport("conflict"),
            "list again",
        ),
        (
            answer("412 Precondition Failed", "", ""),
            json!({"precondition_changed": {"reason": "changed"}}),
            "nothing was done",
        ),
        (
            answer("429 Too Many Requests", "retry-after: 7\r\n", ""),
            transport("rate_limited"),
            "wait 7 s",
        ),
        (
            answer(
                "503 Service Unavailable",
                "retry-after: Tue, 24 Nov 2026 00:00:00 GMT\r\n",
                "",
            ),
            transport("rate_limited"),
            "asks to wait",
        ),
        (
            answer("500 Internal Server Error", "", "<html>stack trace</html>"),
            transport("server_error"),
            "500",
        ),
        (
            b"HTTP/1.1 207 Multi-Status\r\ncontent-length: 5000\r\n\r\n<d:multi".to_vec(),
            transport("bad_answer"),
            "broke off",
        ),
        (
            b"SSH-2.0-OpenSSH\r\n".to_vec(),
            transport("bad_answer"),
            "broke off",
        ),
        (
            answer("200 OK", "", "<html><body>Welcome</body></html>"),
            transport("bad_answer"),
            "no multi-status",
        ),
        (multistatus(&deep), transport("bad_answer"), "too deep"),
        (
            answer(
                "207 Multi-Status",
                "",
                "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
            ),
            transport("bad_answer"),
            "document type",
        ),
        (multistatus(&huge), transport("too_large"), "ask for less"),
        (
            multistatus(&object("../../other/x", "x")),
            transport("bad_answer"),
            "climbs",
        ),
        (
            multistatus("<d:response><d:href>https://evil.example/x</d:href></d:response>"),
            json!("source_unavailable"),
            "tell the owner",
        ),
    ] {
        let shown = String::from_utf8_lossy(&report[..report.len().min(60)]).into_owned();
        let (result, told) = listed(report).await;
        assert_eq!(result.unwrap_err(), code, "{shown}");
        assert!(
            told["message"].as_str().unwrap().contains(words),
            "{shown}: {told}"
        );
        if words.contains('7') {
            assert_eq!(told["detail"]["retryAfterSeconds"], 7);
        }
    }
}

#[tokio::test]
async fn one_bad_object_is_named_and_hides_no_other() {
    let objects = [
        object("good.ics", &event("SUMMARY:Good")),
        object(
            "large.ics",
            &event(&format!("DESCRIPTION:{}", "x".repeat(5 << 20))),
        ),
        object(
            "endless.ics",
            &event("DTSTART:19700101T000000Z\nSUMMARY:Endless\nRRULE:FREQ=SECONDLY"),
        ),
        object("flood.ics", &event("SUMMARY:Flood\nRRULE:FREQ=SECONDLY")),
        object("none.ics", "no calendar"),
        object(
            "lost.ics",
            &event("DTSTART;TZID=Nowhere/Town:20261123T090000\nSUMMARY:Lost"),
        ),
        object(
            "later.ics",
            &event("DTSTART:20261201T090000Z\nSUMMARY:Later"),
        ),
        object("sub/deeper.ics", &event("SUMMARY:Of another folder")),
    ];
    let report = multistatus(&objects.concat());
    let port = serve(move |method, _| (method == "REPORT").then(|| report.clone()));
    let mut worker = reader(port).await;
    let (mut titles, mut next) = (BTreeMap::<String, usize>::new(), None);
    let warnings = loop {
        let input = json!({"start": "2026-11-22", "limit": 2000, "next": next});
        let page = output(&worker.read("events.list", input).await);
        for event in page["events"].as_array().unwrap() {
            let title = event["title"].as_str().unwrap().to_owned();
            *titles.entry(title).or_default() += 1;
        }
        match page["next"].as_str() {
            Some(more) => next = Some(more.to_owned()),
            None => break page["warnings"].as_array().unwrap().clone(),
        }
    };
    worker.stop().await;
    let titles: Vec<_> = titles.iter().map(|(t, times)| (&**t, *times)).collect();
    assert_eq!(
        titles,
        [("Flood", 2_000), ("Good", 1), ("Later", 1), ("Lost", 1)]
    );
    for (id, why) in [
        ("cal/large.ics", "too large"),
        ("cal/endless.ics", "occurrences are missing"),
        ("cal/flood.ics", "occurrences are missing"),
        ("cal/none.ics", "no calendar object"),
        ("cal/lost.ics", "time zone is not known"),
        ("/me/cal/sub/deeper.ics", "another folder"),
    ] {
        let named = |line: &Value| {
            let line = line.as_str().unwrap();
            line.contains(id) && line.contains(why)
        };
        assert!(warnings.iter().any(named), "{id} in {warnings:?}");
    }
}

/// A home of these members, each an address and what the server says of it.
fn home(members: &[(&str, &str)]) -> Vec<u8> {
    let one = |(address, says): &(&str, &str)| {
        format!("<d:response><d:href>{address}</d:href>{says}</d:response>")
    };
    multistatus(&members.iter().map(one).collect::<String>())
}

#[tokio::test]
async fn failing_calendar_costs_that_calendar_and_is_named() {
    let calendar = format!("<d:propstat>{PROPERTIES}</d:propstat>");
    let all = home(&[
        (
            "/me/",
            "<d:propstat><d:prop><d:resourcetype><d:collection/></d:resourcetype></d:prop></d:propstat>",
        ),
        ("/me/a/", &calendar),
        ("/me/b/", &calendar),
        ("https://elsewhere.example/shared/", &calendar),
        ("/me/../up/", &calendar),
        (
            "/me/broken/",
            "<d:status>HTTP/1.1 500 Internal Server Error</d:status>",
        ),
        ("/me/c/", &calendar),
    ]);
    let huge = "x".repeat(25 * 1024 * 1024);
    let of = |path: &str, title: &str| {
        object("a.ics", &event(&format!("SUMMARY:{title}"))).replace("/me/cal/", path)
    };
    for (failure, words) in [
        (
            answer("500 Internal Server Error", "", ""),
            "the server answered 500",
        ),
        (answer("403 Forbidden", "", ""), "forbids"),
        (answer("404 Not Found", "", ""), "nothing there any more"),
        (
            answer("429 Too Many Requests", "retry-after: 7\r\n", ""),
            "wait 7 s",
        ),
        (answer("200 OK", "", "<html/>"), "no multi-status"),
        (multistatus("<d:response/>"), "names no address"),
        (multistatus(&huge), "larger than 24 MiB"),
        (
            b"HTTP/1.1 207 Multi-Status\r\ncontent-length: 5000\r\n\r\n<d:multi".to_vec(),
            "broke off",
        ),
        (
            multistatus("<d:response><d:href>https://evil.example/x</d:href></d:response>"),
            "another host",
        ),
    ] {
        let (all, a, c) = (
            all.clone(),
            multistatus(&of("/me/a/", "A")),
            multistatus(&of("/me/c/", "C")),
        );
        let port = serve(move |method, path| match (method, path) {
            ("PROPFIND", "/me/") => Some(all.clone()),
            ("REPORT", "/me/a/") => Some(a.clone()),
            ("REPORT", "/me/b/") => Some(failure.clone()),
            ("REPORT", "/me/c/") => Some(c.clone()),
            _ => None,
        });
        let mut worker = reader(port).await;
        let listed = output(&worker.read("calendars.list", json!({})).await);
        assert_eq!(listed["calendars"].as_array().map(Vec::len), Some(3));
        let input = json!({"start": "2026-11-22"});
        let answer = output(&worker.read("events.list", input.clone()).await);
        let titles: Vec<_> = answer["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| &e["title"])
            .collect();
        assert_eq!(titles, ["A", "C"], "{words}");
        let warnings = answer["warnings"].as_array().unwrap();
        let is_said = |id: &str, why: &str| {
            let mut lines = warnings
                .iter()
                .chain(listed["warnings"].as_array().unwrap());
            lines.any(|line| {
                line.as_str()
                    .unwrap()
                    .starts_with(&format!("{id}: nothing of "))
                    && line.to_string().contains(why)
            })
        };
        assert!(is_said("b", words), "{words}: {answer}");
        assert!(
            is_said("https://elsewhere.example/shared/", "another host"),
            "{answer}"
        );
        assert!(is_said("/me/../up/", "address"), "{answer}");
        assert!(is_said("broken", "does not say what it is"), "{answer}");
        assert_eq!(warnings.len(), 4, "{answer}");
        // The account is well, and asked for by itself the calendar's failure is the answer.
        assert_eq!(worker.health().await, Health::Well, "{words}");
        let alone = worker
            .read(
                "events.list",
                json!({"start": "2026-11-22", "calendars": ["b"]}),
            )
            .await;
        let error = alone.0.unwrap_err();
        assert!(error.message.contains(words), "{words}: {error:?}");
        assert_eq!(worker.health().await, Health::Well, "{words}");
        // What a call may not see is not named to it either.
        let mut narrow =
            worker.constrained(json!({"pathPrefix": {"field": "calendars", "allow": ["a"]}}));
        let answer = output(&narrow.read("events.list", input).await);
        assert_eq!(
            (
                answer["events"].as_array().map(Vec::len),
                &answer["warnings"]
            ),
            (Some(1), &Value::Null)
        );
        narrow.stop().await;
    }
}

#[tokio::test]
async fn what_a_server_names_and_does_not_send_is_named() {
    let named = |path: &str| {
        format!(
            "<d:response><d:href>{path}</d:href><d:status>HTTP/1.1 507 Insufficient Storage</d:status></d:response>"
        )
    };
    let (result, _) = listed(multistatus(
        &[
            object("a.ics", &event("SUMMARY:A")),
            named("/me/cal/"),
            named("/me/cal/b.ics"),
        ]
        .concat(),
    ))
    .await;
    let answer = result.unwrap();
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
    let (control, _) = listed(flood(10)).await;
    let control = control.expect("20,000 occurrences");
    assert!(control["next"].is_string(), "{control}");
    let (refused, told) = listed(flood(11)).await;
    let transport = refused.unwrap_err()["transport_error"].clone();
    assert_eq!(transport["reason"], "too_large");
    let message = told["message"].as_str().unwrap();
    assert!(message.contains("shorter range"), "{message}");
}

#[tokio::test]
async fn calendar_is_asked_each_time_where_no_version_is_offered() {
    for (version, expected) in [
        ("", 2),
        ("<s:getctag xmlns:s=\"http://calendarserver.org/ns/\"/>", 2),
        (
            "<s:getctag xmlns:s=\"http://calendarserver.org/ns/\">7</s:getctag>",
            1,
        ),
    ] {
        let properties = PROPERTIES.replace("</d:prop>", &format!("{version}</d:prop>"));
        let home = multistatus(&format!(
            "<d:response><d:href>/me/cal/</d:href><d:propstat>{properties}</d:propstat></d:response>"
        ));
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
            let answer = output(&worker.read("events.list", input).await);
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
    let mut worker = reader(port).await;
    let before = asked.load(Ordering::Relaxed);
    let event = json!({"calendar": "cal", "title": "T", "start": "2026-11-23T09:00", "end": "2026-11-23T10:00"});
    let todo = json!({"list": "cal", "title": "T"});
    for (capability, right, field, value) in [
        ("events.create", &event, "timeZone", "Mars/Base"),
        ("events.create", &event, "start", "tomorrow"),
        ("events.create", &event, "end", "2026-02-30"),
        ("events.create", &event, "end", "2026-11-24"),
        ("events.create", &event, "end", "2026-11-23T08:00"),
        ("events.create", &event, "title", " "),
        ("todos.create", &todo, "due", "2026-11-23T10:00"),
        ("todos.create", &todo, "title", "\t"),
    ] {
        let mut wrong = right.clone();
        wrong[field] = json!(value);
        let narrowed = if *right == event { "calendar" } else { "list" };
        let nothing = json!({"pathPrefix": {"field": narrowed, "allow": []}});
        worker = worker.constrained(nothing);
        let error = worker.plan(capability, wrong).await.unwrap_err();
        assert_eq!(
            serde_json::to_value(&error.code).unwrap(),
            "invalid_input",
            "{field} {value}"
        );
        assert_eq!(error.detail.unwrap()["field"], field, "{value}");
        // The control: an input that could fit is held against what the call may see.
        let error = worker.plan(capability, right.clone()).await.unwrap_err();
        assert!(
            serde_json::to_value(&error.code).unwrap()["constraint_miss"].is_object(),
            "{error:?}"
        );
    }
    assert_eq!(asked.load(Ordering::Relaxed), before);
    worker.stop().await;
}

#[tokio::test]
async fn server_that_says_nothing_is_a_timeout() {
    let port = serve(|method, _| (method == "REPORT").then(Vec::new));
    let mut worker = reader(port).await;
    let begun = Instant::now();
    let outcome = worker.read("todos.list", json!({})).await;
    assert_eq!(refusal(&outcome.0)["transport_error"]["reason"], "timeout");
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    worker.stop().await;
}

async fn opened(
    script: impl Fn(&str, &str) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> Result<(), String> {
    let port = serve(script);
    let opened = Worker::try_set_up::<CaldavSource>(MANIFEST, &setting(port), Role::Reader).await;
    match opened {
        Ok(worker) => {
            worker.stop().await;
            Ok(())
        }
        Err(error) => Err(error.message.to_string()),
    }
}

#[tokio::test]
async fn account_that_cannot_be_found_says_why() {
    assert_eq!(opened(|_, _| None).await, Ok(()), "the control");
    let moved = |to: &str| answer("301 Moved Permanently", &format!("location: {to}\r\n"), "");
    // A redirect on the host is followed, also from the well-known place and with the host spelled out.
    let on_host = opened(move |_, path| match path {
        "/.well-known/caldav" => Some(moved("https://CAL.example:443/dav")),
        "/" => Some(answer("404 Not Found", "", "")),
        "/dav" => Some(multistatus(
            "<d:response><d:href>/dav</d:href><d:propstat><d:prop><d:current-user-principal><d:href>/u/me/</d:href></d:current-user-principal></d:prop></d:propstat></d:response>",
        )),
        "/u/me/" => Some(multistatus(
            "<d:response><d:href>/u/me/</d:href><d:propstat><d:prop><c:calendar-home-set><d:href>/me/</d:href></c:calendar-home-set></d:prop></d:propstat></d:response>",
        )),
        _ => None,
    });
    assert_eq!(on_host.await, Ok(()));
    for (why, script) in [
        (
            "another host, p42-cal.example",
            Box::new(move |_: &str, _: &str| Some(moved("https://p42-cal.example/x")))
                as Box<Script>,
        ),
        (
            "no CalDAV at this address",
            Box::new(move |_: &str, path: &str| Some(moved(&format!("{path}x")))),
        ),
        (
            "no CalDAV at this address",
            Box::new(|_: &str, _: &str| Some(answer("404 Not Found", "", ""))),
        ),
        (
            "no CalDAV at this address",
            Box::new(|_: &str, _: &str| Some(answer("200 OK", "", "<html/>"))),
        ),
        (
            "names no calendars",
            Box::new(|_: &str, path: &str| {
                Some(multistatus(&format!(
                    "<d:response><d:href>{path}</d:href></d:response>"
                )))
            }),
        ),
        (
            "(401)",
            Box::new(|_: &str, _: &str| Some(answer("401 Unauthorized", "", ""))),
        ),
        (
            "the server fails (500)",
            Box::new(|_: &str, _: &str| Some(answer("500 Internal Server Error", "", ""))),
        ),
        (
            "certificate is not accepted",
            Box::new(|_: &str, _: &str| {
                Some(answer(
                    "502 Bad Gateway",
                    "x-plexus-egress: refused\r\n",
                    "the host has not proven its name",
                ))
            }),
        ),
        (
            "cannot be reached: the host does not answer",
            Box::new(|_: &str, _: &str| {
                Some(answer(
                    "502 Bad Gateway",
                    "x-plexus-egress: refused\r\n",
                    "the host does not answer",
                ))
            }),
        ),
    ] {
        let told = opened(script).await;
        assert!(
            told.as_ref().is_err_and(|told| told.contains(why)),
            "{why}: {told:?}"
        );
    }
}

/// A change whose request the server answers by hanging up, or with an error, before or after it has done it.
#[tokio::test]
async fn change_without_an_answer_is_known_by_what_is_there() {
    let input = json!({"list": "cal", "title": "x"});
    for (what, stores, reply, expected) in [
        ("done and hung up", true, b"garbage\r\n".to_vec(), Ok(())),
        (
            "done and failed",
            true,
            answer("500 Internal Server Error", "", ""),
            Ok(()),
        ),
        (
            "not done and failed",
            false,
            answer("500 Internal Server Error", "", ""),
            Err(Effect::None),
        ),
        (
            "not done and hung up",
            false,
            b"garbage\r\n".to_vec(),
            Err(Effect::Unknown),
        ),
        (
            "refused",
            false,
            answer("409 Conflict", "", ""),
            Err(Effect::None),
        ),
        (
            "there already",
            false,
            answer("412 Precondition Failed", "", ""),
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
        let mut worker = reader(port).await;
        let plan = worker.plan("todos.create", input.clone()).await.unwrap();
        worker.stop().await;
        let mut worker =
            Worker::set_up::<CaldavSource>(MANIFEST, &setting(port), Role::Writer).await;
        let outcome = worker
            .commit_of(
                "todos.create",
                &input,
                Some(plan.state_token),
                None,
                Verb::Write,
            )
            .await;
        worker.stop().await;
        assert_eq!(
            outcome.0.map(drop).map_err(|error| error.effect),
            expected,
            "{what}"
        );
    }
}
