//! A real server, Radicale, on a loopback port of its own; and another client of it, curl, which shares no line with ours.

#![allow(
    dead_code,
    reason = "each test that has this as a module uses a part of it"
)]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

/// The one account.
pub(crate) const USER: &str = "me";
pub(crate) const PASSWORD: &str = "app-password-7d1f";

/// Killed when dropped.
pub(crate) struct Radicale {
    child: Child,
    folder: tempfile::TempDir,
    pub(crate) port: u16,
    authority: Option<PathBuf>,
    /// The lines of its log since it served.
    log: Mutex<Receiver<String>>,
}

/// What another client was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    pub(crate) body: String,
}

impl Radicale {
    pub(crate) fn start() -> Self {
        Self::with(None)
    }

    /// With TLS: a certificate for `localhost`, its key, and the authority that signed it.
    pub(crate) fn tls(certificate: &Path, key: &Path, authority: &Path) -> Self {
        let authority = authority.to_owned();
        let files = format!(
            "ssl = True\ncertificate = {}\nkey = {}\n",
            certificate.display(),
            key.display()
        );
        Self::with(Some((files, authority)))
    }

    fn with(tls: Option<(String, PathBuf)>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let (lines, authority) = tls.unzip();
        let config = format!(
            "[server]\nhosts = 127.0.0.1:0\n{}[auth]\ntype = htpasswd\nhtpasswd_filename = {}\nhtpasswd_encryption = plain\ndelay = 0\n\
             [storage]\nfilesystem_folder = {}\n[logging]\nlevel = info\n",
            lines.unwrap_or_default(),
            at("users").display(),
            at("collections").display(),
        );
        fs::write(at("config"), config).expect("a file");
        set_password(folder.path(), PASSWORD);
        let child = Command::new("radicale")
            .arg("-C")
            .arg(at("config"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap_or_else(|error| {
            panic!("radicale: {error}; type: sudo apt-get install radicale (`cargo xtask test` does where it may)")
        });
        let said = BufReader::new(child.stderr.take().expect("a pipe"));
        // Somebody has to read it, also when nobody asks for it.
        let (send, log) = channel();
        std::thread::spawn(move || {
            let lines = said.lines().map_while(Result::ok);
            lines.for_each(|line| drop(send.send(line)));
        });
        let mut heard = Vec::new();
        let mut port = None;
        while let Ok(line) = log.recv_timeout(Duration::from_secs(120)) {
            let listens = line.split_once("Listening on '[127.0.0.1]:");
            let listens = listens.and_then(|(_, rest)| rest.split('\'').next()?.parse().ok());
            port = port.or(listens);
            let ready = line.contains("server ready");
            heard.push(line);
            if ready {
                break;
            }
        }
        let port = port.unwrap_or_else(|| panic!("Radicale does not serve: {heard:?}"));
        Self {
            child,
            folder,
            port,
            authority,
            log: Mutex::new(log),
        }
    }

    /// The requests that were answered since this was asked last: method and path.
    pub(crate) fn requests(&self) -> Vec<String> {
        // What is answered before this request is in the log before it.
        let mark = format!("/{USER}/mark");
        self.request("GET", &mark, &[], "");
        let log = self.log.lock().expect("no panic");
        let next = || {
            let line = log.recv_timeout(Duration::from_secs(10));
            line.expect("Radicale logs each request")
        };
        let request = |line: String| {
            let (method, rest) = line.split_once(" request for '")?;
            let method = method.rsplit(' ').next()?;
            Some(format!("{method} {}", rest.split('\'').next()?))
        };
        std::iter::repeat_with(next)
            .filter_map(request)
            .take_while(|line| *line != format!("GET {mark}"))
            .collect()
    }

    pub(crate) fn url(&self) -> String {
        match self.authority {
            Some(_) => format!("https://localhost:{}/", self.port),
            None => format!("http://localhost:{}/", self.port),
        }
    }

    /// Changes what it asks for; takes effect at once.
    pub(crate) fn set_password(&self, password: &str) {
        set_password(self.folder.path(), password);
    }

    /// Any request of another client, as the user whose password that is at first.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut curl = Command::new("curl");
        curl.args([
            "-s",
            "-S",
            "-i",
            "--http1.0",
            "-u",
            &format!("{USER}:{PASSWORD}"),
            "-X",
            method,
        ]);
        curl.args(headers.iter().flat_map(|header| ["-H", header]));
        if let Some(authority) = &self.authority {
            curl.arg("--cacert").arg(authority);
        }
        let url = format!("{}{}", self.url(), path.trim_start_matches('/'));
        curl.args(["--path-as-is", "--data-binary", "@-", &url]);
        let mut child = curl
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl is installed");
        child
            .stdin
            .take()
            .expect("a pipe")
            .write_all(body.as_bytes())
            .expect("curl reads");
        let output = child.wait_with_output().expect("curl ends");
        let text = String::from_utf8(output.stdout).expect("text");
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {text}"));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let etag = head.lines().find_map(|line| line.strip_prefix("ETag: "));
        Answer {
            status: status.expect("a status"),
            etag: etag.map(str::to_owned),
            body: body.to_owned(),
        }
    }

    /// Makes a calendar at `/me/<id>/` that takes `components`.
    pub(crate) fn calendar(&self, id: &str, name: &str, components: &[&str]) {
        let name = name.replace('&', "&amp;").replace('<', "&lt;");
        let components: String = components
            .iter()
            .map(|c| format!("<C:comp name=\"{c}\"/>"))
            .collect();
        let body = format!(
            "<C:mkcalendar xmlns:D=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\"><D:set><D:prop><D:displayname>{name}</D:displayname>\
             <C:supported-calendar-component-set>{components}</C:supported-calendar-component-set></D:prop></D:set></C:mkcalendar>"
        );
        let made = self.request("MKCALENDAR", &format!("/{USER}/{id}/"), &[], &body);
        assert_eq!(made.status, 201, "{made:?}");
    }

    /// Gives a calendar another name.
    pub(crate) fn rename(&self, id: &str, name: &str) {
        let body = format!(
            "<propertyupdate xmlns=\"DAV:\"><set><prop><displayname>{name}</displayname></prop></set></propertyupdate>"
        );
        let renamed = self.request("PROPPATCH", &format!("/{USER}/{id}/"), &[], &body);
        assert_eq!(renamed.status, 207, "{renamed:?}");
    }

    /// Puts an object with these lines of one component; answers its version. Zones are defined as UTC, which is a lie.
    pub(crate) fn put(&self, path: &str, component: &str, lines: &str) -> String {
        let zones = lines.split("TZID=").skip(1);
        let zones: BTreeSet<_> = zones.filter_map(|rest| rest.split(':').next()).collect();
        let zone = |name: &&str| {
            format!(
                "BEGIN:VTIMEZONE\r\nTZID:{name}\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0000\r\nTZOFFSETTO:+0000\r\n\
                 END:STANDARD\r\nEND:VTIMEZONE\r\n"
            )
        };
        let zones: String = zones.iter().map(zone).collect();
        let lines = lines.trim().replace('\n', "\r\n");
        let body = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//another//client//EN\r\n{zones}BEGIN:{component}\r\nDTSTAMP:20260101T000000Z\r\n{lines}\r\n\
             END:{component}\r\nEND:VCALENDAR\r\n"
        );
        let put = self.request(
            "PUT",
            &format!("/{USER}/{path}"),
            &["Content-Type: text/calendar"],
            &body,
        );
        assert!((200..300).contains(&put.status), "{put:?}");
        put.etag.expect("a version")
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", &format!("/{USER}/{path}"), &[], "")
    }

    /// Removes an object or a calendar; it may not be there.
    pub(crate) fn delete(&self, path: &str) -> u16 {
        self.request("DELETE", &format!("/{USER}/{path}"), &[], "")
            .status
    }

    /// Everything that the account holds, with its versions.
    pub(crate) fn everything(&self) -> String {
        let ask = "<propfind xmlns=\"DAV:\"><prop><getetag/><displayname/></prop></propfind>";
        let homes = self
            .request("PROPFIND", &format!("/{USER}/"), &["Depth: 1"], ask)
            .body;
        let folders = homes
            .split("<href>")
            .skip(1)
            .filter_map(|rest| rest.split("</href>").next());
        let below = folders.map(|folder| self.request("PROPFIND", folder, &["Depth: 1"], ask).body);
        below.collect()
    }
}

fn set_password(folder: &Path, password: &str) {
    fs::write(folder.join("users"), format!("{USER}:{password}\n")).expect("a file");
}

impl Drop for Radicale {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
