//! `cargo xtask scale`: what a relay of channels does under more load than this machine can make, from costs that were measured.
//!
//! `tests/reports/scale.md` names the costs; the tables on that page are computed here, by a simulation of the relay's writer and by
//! arithmetic. A test holds the page to that, so that a cost cannot change without its consequences.
//!
//! Must not know: how the costs were measured. `cargo xtask bench channels` does that.

use crate::cargo;
use anyhow::{Context as _, Result, ensure};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::PathBuf;

const BEGIN: &str = "<!-- tables: written by `cargo xtask scale --write` -->\n";
const END: &str = "<!-- end of tables -->";
/// Messages a second of the first table.
const RATES: [f64; 7] = [10.0, 100.0, 1_000.0, 5_000.0, 10_000.0, 20_000.0, 40_000.0];
/// Channels of the second table.
const CHANNELS: [f64; 4] = [1e3, 1e4, 1e5, 1e6];
/// As in the relay: acts of one commit, the commit that is worth lingering for, the longest linger, channels in memory,
/// connections.
const MOST: usize = 512;
const SLOW_COMMIT_MS: f64 = 1.0;
const LONGEST_LINGER_MS: f64 = 20.0;
const IDLE_CHANNELS: f64 = 20_000.0;
const CONNECTIONS: f64 = 20_000.0;
/// Messages of one simulation at most.
const SIMULATED: usize = 200_000;

/// Compute the tables of tests/reports/scale.md from the costs that the page names
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Put them into the page
    #[arg(long)]
    write: bool,
}

/// Prints or writes the tables.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (page, tables) = computed()?;
    if arguments.write {
        let (before, _, after) = parts(&page)?;
        std::fs::write(path(), format!("{before}{BEGIN}{tables}{END}{after}"))?;
    } else {
        print!("{tables}");
    }
    Ok(())
}

fn path() -> PathBuf {
    cargo::root().join("tests/reports/scale.md")
}

fn computed() -> Result<(String, String)> {
    let page = std::fs::read_to_string(path())?;
    let tables = tables(&Costs::read(&page)?)?;
    Ok((page, tables))
}

/// What stands before, between and behind the marks.
fn parts(page: &str) -> Result<(&str, &str, &str)> {
    let (before, rest) = page
        .split_once(BEGIN)
        .context("tests/reports/scale.md: no tables")?;
    let (tables, after) = rest
        .split_once(END)
        .context("tests/reports/scale.md: no end")?;
    Ok((before, tables, after))
}

/// The costs by name: rows of the page that begin with a name in backquotes and a number.
struct Costs(BTreeMap<String, f64>);

impl Costs {
    fn read(page: &str) -> Result<Self> {
        let row = |line: &str| {
            let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            let (value, _) = rest.split_once(" |")?;
            let value = value.replace(',', "").parse().ok()?;
            Some((name.to_owned(), value))
        };
        let costs: BTreeMap<_, _> = page.lines().filter_map(row).collect();
        ensure!(!costs.is_empty(), "tests/reports/scale.md names no costs");
        Ok(Self(costs))
    }

    fn of(&self, name: &str) -> Result<f64> {
        let found = self.0.get(name).copied();
        found.with_context(|| format!("tests/reports/scale.md does not name the cost {name}"))
    }
}

fn tables(costs: &Costs) -> Result<String> {
    let mut text = String::from(
        "\n| messages a second | acts of a commit | commits a second | p50 | p99 | processors | disk a day |\n|---|---|---|---|---|---|---|\n",
    );
    for rate in RATES {
        let seen = simulated(costs, rate)?;
        let processors = rate * costs.of("processor_us")? / 1e6;
        let day = rate * costs.of("stored_bytes")? * 86_400.0;
        let (p50, p99) = match seen.keeps_up {
            true => (ms(seen.p50), ms(seen.p99)),
            false => ("grows".to_owned(), "grows".to_owned()),
        };
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.0} | {p50} | {p99} | {processors:.2} | {} |",
            grouped(rate),
            seen.acts,
            seen.commits,
            size(day)
        );
    }
    text.push_str("\n| channels | users | messages a second, mean and peak | connections | relays for them | memory of each | disk a year |\n|---|---|---|---|---|---|---|\n");
    for channels in CHANNELS {
        let mean = channels * costs.of("messages_per_channel_and_day")? / 86_400.0;
        let users = channels * costs.of("members")? / costs.of("channels_per_user")?;
        let connections = users * costs.of("connected_share")?;
        let relays = (connections / CONNECTIONS).ceil().max(1.0);
        let memory = costs.of("base_mb")? * 1e6
            + connections / relays * costs.of("connection_kb")? * 1e3
            + channels.min(IDLE_CHANNELS) * costs.of("channel_kb")? * 1e3;
        let year = mean * 86_400.0 * 365.0 * costs.of("stored_bytes")?;
        let _ = writeln!(
            text,
            "| {} | {} | {}, {} | {} | {relays:.0} | {} | {} |",
            grouped(channels),
            grouped(users),
            rate(mean),
            rate(mean * costs.of("peak")?),
            grouped(connections),
            size(memory),
            size(year)
        );
    }
    text.push('\n');
    Ok(text)
}

/// What the writer does at a rate.
struct Seen {
    /// Acts of a commit, on average.
    acts: f64,
    commits: f64,
    p50: f64,
    p99: f64,
    /// Whether it ends soon after the last message came.
    keeps_up: bool,
}

/// Messages that come at random moments, and one writer that commits what waits and lingers as the relay's does. Times are ms.
fn simulated(costs: &Costs, rate: f64) -> Result<Seen> {
    let (commit, act) = (costs.of("commit_ms")?, costs.of("act_us")? / 1e3);
    let many = ((rate * 30.0) as usize).clamp(1_000, SIMULATED);
    let mut random = Random(1);
    let mut at = 0.0;
    let mut coming: VecDeque<f64> = (0..many)
        .map(|_| {
            at -= (1.0 - random.next()).ln() * 1e3 / rate;
            at
        })
        .collect();
    let last = at;
    let (mut now, mut linger) = (0.0_f64, None);
    let (mut took, mut commits) = (Vec::with_capacity(many), 0);
    while let Some(first) = coming.front().copied() {
        now = now.max(first);
        if let Some((callers, until)) = linger.take() {
            let enough = coming.get(Ord::min(callers, MOST) - 1).copied();
            now = now.max(enough.unwrap_or(f64::INFINITY).min(until));
        }
        let batch = coming
            .iter()
            .take(MOST)
            .take_while(|at| **at <= now)
            .count();
        let spent = commit + act * batch as f64;
        now += spent;
        took.extend(coming.drain(..batch).map(|at| now - at));
        commits += 1;
        if batch > 1 && spent > SLOW_COMMIT_MS {
            linger = Some((batch, now + (spent * 1.25).min(LONGEST_LINGER_MS)));
        }
    }
    took.sort_unstable_by(f64::total_cmp);
    let share = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    let commits = f64::from(commits);
    Ok(Seen {
        acts: many as f64 / commits,
        commits: commits * 1e3 / now,
        p50: share(0.5),
        p99: share(0.99),
        keeps_up: now - last < 100.0 + last / 50.0,
    })
}

/// SplitMix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    /// From 0 to below 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn ms(value: f64) -> String {
    format!("{value:.1} ms")
}

fn rate(value: f64) -> String {
    match value {
        few if few < 10.0 => format!("{few:.1}"),
        many => grouped(many.round()),
    }
}

fn size(bytes: f64) -> String {
    match bytes {
        b if b >= 1e12 => format!("{:.1} TB", b / 1e12),
        b if b >= 1e9 => format!("{:.1} GB", b / 1e9),
        b => format!("{:.0} MB", b / 1e6),
    }
}

/// A whole number with commas.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_shows_what_its_costs_give() {
        let (page, tables) = computed().unwrap();
        let (_, shown, _) = parts(&page).unwrap();
        assert_eq!(
            shown, tables,
            "tests/reports/scale.md: type cargo xtask scale --write"
        );
    }

    #[test]
    fn writer_shares_commits_and_falls_behind_beyond_its_bound() {
        let costs = |commit: f64| {
            let page = format!("| `commit_ms` | {commit} | x |\n| `act_us` | 50 | x |\n");
            Costs::read(&page).unwrap()
        };
        // One message at a time waits for its own commit.
        let alone = simulated(&costs(2.0), 10.0).unwrap();
        assert!((alone.p50 - 2.05).abs() < 0.01 && alone.acts < 1.1);
        // Many share: the commits stay bounded by their length.
        let shared = simulated(&costs(2.0), 6_000.0).unwrap();
        assert!(shared.keeps_up && shared.acts > 10.0 && shared.commits < 500.0);
        // 20,000 acts a second are the end of 50 µs each, whatever the commit takes.
        assert!(!simulated(&costs(0.0), 25_000.0).unwrap().keeps_up);
    }
}
