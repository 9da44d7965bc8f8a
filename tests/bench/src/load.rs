//! Load: wrk where it is there, else threads of our own.

use anyhow::{Context, Result, bail, ensure};
use plexus_tests::processes;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// Where the load goes, and what it is.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The port on 127.0.0.1.
    pub(crate) port: u16,
    /// Who listens there; what it started counts as its own.
    pub(crate) server: u32,
    /// `GET` or `POST`.
    pub(crate) method: &'static str,
    /// The path.
    pub(crate) path: &'static str,
    /// Beside `host`, `content-type` and `content-length`.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The body of every request; empty for none. `{n}` in it is a number that goes round below [`Target::round`].
    pub(crate) body: String,
    /// How many bodies there are.
    pub(crate) round: u32,
    /// Whether the answer that is wanted is a refusal: then every other one is the wrong answer.
    pub(crate) refused: bool,
}

impl Target {
    /// A call with a token.
    pub(crate) fn call(port: u16, server: u32, bearer: &str, body: &str) -> Self {
        Self {
            port,
            server,
            method: "POST",
            path: "/invoke",
            headers: vec![("authorization", format!("Bearer {bearer}"))],
            body: body.to_owned(),
            round: 1,
            refused: false,
        }
    }
    /// The same with another header instead of the token.
    pub(crate) fn with(self, name: &'static str, value: &str) -> Self {
        Self {
            headers: vec![(name, value.to_owned())],
            ..self
        }
    }
    /// The request as it goes over the wire, the `n`th.
    pub(crate) fn bytes(&self, n: u32) -> Vec<u8> {
        let body = self.body.replace("{n}", &(n % self.round).to_string());
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n",
            self.method, self.path, self.port
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!(
                "content-type: application/json\r\ncontent-length: {}\r\n",
                body.len()
            ));
        }
        format!("{head}\r\n{body}").into_bytes()
    }
    /// The same for wrk, which speaks Lua.
    fn script(&self) -> String {
        let mut script = format!("wrk.method = '{}'\n", self.method);
        for (name, value) in &self.headers {
            script.push_str(&format!("wrk.headers['{name}'] = '{value}'\n"));
        }
        if self.body.is_empty() {
            return script;
        }
        script.push_str("wrk.headers['content-type'] = 'application/json'\n");
        if self.round == 1 {
            script.push_str(&format!("wrk.body = [==[{}]==]\n", self.body));
            return script;
        }
        script.push_str(&format!(
            "local n, body = 0, [==[{}]==]\nrequest = function()\n  n = (n + 1) % {}\n  \
             return wrk.format(nil, nil, nil, (body:gsub('{{n}}', tostring(n))))\nend\n",
            self.body, self.round
        ));
        script
    }
}

/// What one cell came to.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Answers a second.
    pub(crate) per_second: f64,
    /// Half of the answers came within.
    pub(crate) p50: Duration,
    /// Ninety-nine of a hundred came within.
    pub(crate) p99: Duration,
    /// Processor time of the server and its workers for each answer, where the system tells. What shares the machine
    /// changes it least of all figures.
    pub(crate) processor: Option<Duration>,
    /// The same for what does the most of it, where the system tells.
    pub(crate) parts: BTreeMap<&'static str, Duration>,
    /// Answers with another status than the one that is wanted.
    pub(crate) wrong: u64,
}

/// What the threads of a server have had since `before`, by what they are for: a thread is named after its program, the
/// writer after what it does, and a worker is a process of its own.
fn parts(
    server: u32,
    before: &BTreeMap<(u32, String, String), Duration>,
) -> BTreeMap<&'static str, Duration> {
    let mut parts = BTreeMap::new();
    for (thread, after) in processes::threads_time(server) {
        let (process, number, name) = &thread;
        let part = match name.as_str() {
            _ if *process != server => "worker",
            "ledger" | "writer" => "writer",
            _ if *number == server.to_string() => "http",
            _ => "others",
        };
        let spent = after.saturating_sub(before.get(&thread).copied().unwrap_or_default());
        *parts.entry(part).or_default() += spent;
    }
    parts
}

/// A way to make load.
pub(crate) struct Load {
    wrk: bool,
    time: Duration,
}

impl Load {
    /// wrk unless it is missing or not wanted.
    pub(crate) fn choose(own: bool, time: Duration) -> Self {
        // Without arguments wrk prints its usage; that it starts is enough.
        let there = Command::new("wrk").output().is_ok();
        Self {
            wrk: there && !own,
            time,
        }
    }
    /// What makes the load, for the report.
    pub(crate) fn name(&self) -> &'static str {
        if self.wrk { "wrk" } else { "its own threads" }
    }
    /// How many answers came in the time of one cell.
    pub(crate) fn answers(&self, measured: &Measured) -> f64 {
        measured.per_second * self.time.as_secs_f64()
    }
    /// Loads a target for the time of one cell.
    pub(crate) fn run(&self, target: &Target, connections: usize) -> Result<Measured> {
        let before = processes::processor_time(target.server);
        let threads = processes::threads_time(target.server);
        let mut measured = if self.wrk {
            self.with_wrk(target, connections)?
        } else {
            self.with_threads(target, connections)?
        };
        let spent = processes::processor_time(target.server)
            .map(|after| after.saturating_sub(before.unwrap_or_default()));
        let threads = parts(target.server, &threads);
        let answers = self.answers(&measured);
        measured.processor = spent
            .filter(|_| answers > 0.0)
            .map(|spent| spent.div_f64(answers));
        if answers > 0.0 {
            let each = threads.into_iter();
            measured.parts = each
                .map(|(part, spent)| (part, spent.div_f64(answers)))
                .collect();
        }
        Ok(measured)
    }

    fn with_wrk(&self, target: &Target, connections: usize) -> Result<Measured> {
        let script = tempfile::Builder::new().suffix(".lua").tempfile()?;
        std::fs::write(script.path(), target.script())?;
        let answer = Command::new("wrk")
            .args([
                "-t1",
                "--latency",
                &format!("-c{connections}"),
                &format!("-d{}s", self.time.as_secs()),
            ])
            .arg("-s")
            .arg(script.path())
            .arg(format!("http://127.0.0.1:{}{}", target.port, target.path))
            .output()
            .context("running wrk")?;
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        ensure!(
            answer.status.success(),
            "wrk failed: {text}{}",
            String::from_utf8_lossy(&answer.stderr)
        );
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.trim().strip_prefix(name))
                .map(|rest| rest.trim().to_owned())
        };
        // Lines are `Non-2xx or 3xx responses: 3` and `1234 requests in 3.00s, 1.20MB read`.
        let refused = field("Non-2xx or 3xx responses:").map_or(Ok(0), |count| count.parse())?;
        let broken = field("Socket errors:");
        ensure!(broken.is_none(), "wrk lost connections: {broken:?}");
        let all: u64 = text
            .lines()
            .find_map(|line| line.split_once(" requests in "))
            .context("wrk counted nothing")?
            .0
            .trim()
            .parse()?;
        Ok(Measured {
            per_second: field("Requests/sec:")
                .context("wrk said no rate")?
                .parse()?,
            p50: span(&field("50%").context("wrk said no median")?)?,
            p99: span(&field("99%").context("wrk said no tail")?)?,
            processor: None,
            parts: BTreeMap::new(),
            wrong: if target.refused {
                all - refused
            } else {
                refused
            },
        })
    }

    fn with_threads(&self, target: &Target, connections: usize) -> Result<Measured> {
        let until = Instant::now() + self.time;
        let began = Instant::now();
        let results: Vec<Result<(Vec<Duration>, u64)>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..connections)
                .map(|nth| scope.spawn(move || one_connection(target, nth, until)))
                .collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|_| bail!("a connection's thread failed"))
                })
                .collect()
        });
        let took = began.elapsed();
        let (mut times, mut wrong) = (Vec::new(), 0);
        for result in results {
            let (seen, bad) = result?;
            times.extend(seen);
            wrong += bad;
        }
        ensure!(!times.is_empty(), "no answer at all");
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        Ok(Measured {
            per_second: times.len() as f64 / took.as_secs_f64(),
            p50: at(0.50),
            p99: at(0.99),
            processor: None,
            parts: BTreeMap::new(),
            wrong,
        })
    }
}

/// A connection that stays open.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    line: String,
    /// The headers of the last answer.
    head: String,
    body: Vec<u8>,
}

impl Connection {
    /// Connects to a port on 127.0.0.1.
    pub(crate) fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self {
            stream: BufReader::new(stream),
            line: String::new(),
            head: String::new(),
            body: Vec::new(),
        })
    }

    /// Sends a request and reads its whole answer; whether that is a success.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Result<bool> {
        let line = &mut self.line;
        self.stream.get_mut().write_all(request)?;
        line.clear();
        self.stream.read_line(line)?;
        let is_success = line.get(9..10) == Some("2");
        self.head.clear();
        loop {
            line.clear();
            ensure!(self.stream.read_line(line)? > 0, "the connection ended");
            if line.trim_end().is_empty() {
                break;
            }
            self.head.push_str(line);
        }
        self.body.clear();
        if self.header("transfer-encoding") == Some("chunked") {
            while self.part()? {}
        } else {
            let length = self.header("content-length").map_or(Ok(0), str::parse)?;
            self.body.resize(length, 0);
            self.stream.read_exact(&mut self.body)?;
        }
        Ok(is_success)
    }

    /// Reads one part of a body that comes in parts; whether it was not the last.
    fn part(&mut self) -> Result<bool> {
        let line = &mut self.line;
        line.clear();
        self.stream.read_line(line)?;
        let length = usize::from_str_radix(line.trim_end(), 16)?;
        let at = self.body.len();
        self.body.resize(at + length, 0);
        self.stream.read_exact(&mut self.body[at..])?;
        line.clear();
        self.stream.read_line(line)?;
        Ok(length > 0)
    }

    /// A header of the last answer.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(':'));
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }
}

/// Calls one after the other on one connection that stays open; gives the times, and how many answers were wrong.
fn one_connection(target: &Target, nth: usize, until: Instant) -> Result<(Vec<Duration>, u64)> {
    let mut connection = Connection::open(target.port)?;
    let (mut times, mut wrong) = (Vec::new(), 0);
    // Each connection begins elsewhere in the round.
    let mut n = u32::try_from(nth)? * (target.round / 64).max(1);
    while Instant::now() < until {
        let request = target.bytes(n);
        n = n.wrapping_add(1);
        let began = Instant::now();
        let good = connection.exchange(&request)? != target.refused;
        times.push(began.elapsed());
        wrong += u64::from(!good);
    }
    Ok((times, wrong))
}

/// wrk's `812.00us`, `1.36ms`, `2.10s`.
fn span(text: &str) -> Result<Duration> {
    let unit = text
        .find(|c: char| c.is_ascii_alphabetic())
        .context("a span without a unit")?;
    let (number, unit) = text.split_at(unit);
    let number: f64 = number.parse()?;
    Ok(match unit {
        "us" => Duration::from_secs_f64(number / 1e6),
        "ms" => Duration::from_secs_f64(number / 1e3),
        "s" => Duration::from_secs_f64(number),
        other => bail!("a span in {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::span;
    use std::time::Duration;

    #[test]
    fn spans_of_wrk() {
        assert_eq!(span("812.00us").unwrap(), Duration::from_micros(812));
        assert_eq!(span("1.36ms").unwrap(), Duration::from_micros(1_360));
        assert_eq!(span("2.10s").unwrap(), Duration::from_millis(2_100));
        for (bad, words) in [("2.10m", "a span in m"), ("fast", "cannot parse float")] {
            let why = span(bad).unwrap_err().to_string();
            assert!(why.contains(words), "{bad}: {why}");
        }
    }
}
