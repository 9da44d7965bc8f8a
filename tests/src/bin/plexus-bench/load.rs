//! Load: wrk where it is there, else threads of our own.

use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// Where the load goes.
pub(crate) struct Target {
    /// The port on 127.0.0.1.
    pub(crate) port: u16,
    /// The token of every request.
    pub(crate) bearer: String,
    /// The body of every request.
    pub(crate) body: String,
}

/// What one cell came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Answers a second.
    pub(crate) per_second: f64,
    /// Half of the answers came within.
    pub(crate) p50: Duration,
    /// Ninety-nine of a hundred came within.
    pub(crate) p99: Duration,
    /// Answers with a status other than 2xx.
    pub(crate) refused: u64,
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
    /// Loads a target for the time of one cell.
    pub(crate) fn run(&self, target: &Target, connections: usize) -> Result<Measured> {
        if self.wrk {
            self.with_wrk(target, connections)
        } else {
            self.with_threads(target, connections)
        }
    }

    fn with_wrk(&self, target: &Target, connections: usize) -> Result<Measured> {
        let script = tempfile::Builder::new().suffix(".lua").tempfile()?;
        std::fs::write(
            script.path(),
            format!(
                "wrk.method = 'POST'\nwrk.body = [==[{}]==]\nwrk.headers['Content-Type'] = 'application/json'\n\
                 wrk.headers['Authorization'] = 'Bearer {}'\n",
                target.body, target.bearer
            ),
        )?;
        let answer = Command::new("wrk")
            .args([
                "-t1",
                "--latency",
                &format!("-c{connections}"),
                &format!("-d{}s", self.time.as_secs()),
            ])
            .arg("-s")
            .arg(script.path())
            .arg(format!("http://127.0.0.1:{}/invoke", target.port))
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
        let refused = field("Non-2xx or 3xx responses:").map_or(Ok(0), |count| count.parse())?;
        Ok(Measured {
            per_second: field("Requests/sec:")
                .context("wrk said no rate")?
                .parse()?,
            p50: span(&field("50%").context("wrk said no median")?)?,
            p99: span(&field("99%").context("wrk said no tail")?)?,
            refused,
        })
    }

    fn with_threads(&self, target: &Target, connections: usize) -> Result<Measured> {
        let request = format!(
            "POST /invoke HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
            target.port,
            target.bearer,
            target.body.len(),
            target.body
        );
        let until = Instant::now() + self.time;
        let began = Instant::now();
        let results: Vec<Result<(Vec<Duration>, u64)>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..connections)
                .map(|_| scope.spawn(|| one_connection(target.port, request.as_bytes(), until)))
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
        let (mut times, mut refused) = (Vec::new(), 0);
        for result in results {
            let (seen, bad) = result?;
            times.extend(seen);
            refused += bad;
        }
        ensure!(!times.is_empty(), "no answer at all");
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        Ok(Measured {
            per_second: times.len() as f64 / took.as_secs_f64(),
            p50: at(0.50),
            p99: at(0.99),
            refused,
        })
    }
}

/// Calls one after the other on one connection that stays open.
fn one_connection(port: u16, request: &[u8], until: Instant) -> Result<(Vec<Duration>, u64)> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let (mut times, mut refused) = (Vec::new(), 0);
    let mut line = String::new();
    let mut body = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        stream.write_all(request)?;
        line.clear();
        reader.read_line(&mut line)?;
        let good = line.get(9..10) == Some("2");
        let mut length = 0;
        loop {
            line.clear();
            ensure!(reader.read_line(&mut line)? > 0, "the connection ended");
            let head = line.trim_end();
            if head.is_empty() {
                break;
            }
            if let Some((name, value)) = head.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        times.push(began.elapsed());
        refused += u64::from(!good);
    }
    Ok((times, refused))
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
        assert!(span("2.10m").is_err() && span("fast").is_err());
    }
}
