//! What is not a load: starts, memory, an idle hour's wake-ups, the ledger's growth, a worker's start.

use crate::figures::Figures;
use crate::load::{Load, Measured, Target};
use crate::world::{Kind, World};
use anyhow::{Context as _, Result, ensure};
use plexus_tests::Gateway;
use redb::{ReadableTableMetadata as _, TableDefinition};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Starts of each kind; the middle one counts.
const STARTS: usize = 5;
/// The program of the workers that the load's reads are answered by.
const READS: &str = "plexus-worker-obsidian";
/// What it may still have to do after a start or a call.
const SETTLE: Duration = Duration::from_secs(2);
/// Answers after which the ledger's growth is measured.
const ENOUGH: f64 = 1_000.0;
/// When a start has nothing left to do: a ledger at rest for 5 s writes down which pages it uses, and threads of the pool
/// end 10 s after their work.
const AT_REST: Duration = Duration::from_secs(15);

/// Starts on empty, known and left-behind homes, in ms to the first answer.
pub(crate) fn boots(into: &mut Figures) -> Result<()> {
    let mut fresh = Vec::new();
    for _ in 0..STARTS {
        let began = Instant::now();
        let mut gateway = Gateway::start();
        fresh.push(answered(&gateway, began));
        ensure!(gateway.stop().success(), "a clean stop");
    }
    into.set("boot/empty/ms", middle(fresh));
    Ok(())
}

/// Starts of a world's gateway on its home, in ms to the first answer.
pub(crate) fn restarts(into: &mut Figures, world: &mut World, home: &str) -> Result<()> {
    for (how, name) in [(true, "known"), (false, "killed")] {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            // Something to check at the start: the log since the last checkpoint.
            for _ in 0..20 {
                world.once(Kind::Read).expect_ok();
            }
            if how {
                ensure!(world.gateway.stop().success(), "a clean stop");
            } else {
                world.gateway.kill9();
            }
            let began = Instant::now();
            world.gateway.start_again();
            times.push(answered(&world.gateway, began));
            world.renew()?;
        }
        into.set(&format!("boot/{home}-{name}/ms"), middle(times));
    }
    Ok(())
}

fn answered(gateway: &Gateway, began: Instant) -> f64 {
    gateway.client().get("/.well-known/plexus").expect_ok();
    began.elapsed().as_secs_f64() * 1e3
}

pub(crate) fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// How long work takes, in ms.
pub(crate) fn ms(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// Memory, CPU and wake-ups of a gateway that nobody calls and whose workers sleep, watched for so long.
pub(crate) fn idle(
    into: &mut Figures,
    world: &mut World,
    home: &str,
    watched: Duration,
) -> Result<()> {
    ensure!(world.gateway.stop().success(), "a clean stop");
    world.gateway.start_again();
    world.gateway.client().must_get("/.well-known/plexus");
    std::thread::sleep(AT_REST);
    let pid = world.gateway.pid();
    into.set(&format!("memory/{home}-idle/MB"), resident(pid)?);
    ensure!(
        world.gateway.workers().is_empty(),
        "a worker runs that nobody called"
    );
    let (mut cpu, mut woken) = (0, 0);
    let mut before = activity(pid)?;
    let until = Instant::now() + watched;
    while Instant::now() < until {
        // Each second, because a pool's threads end ten seconds after their work, and what they did with them.
        std::thread::sleep(Duration::from_secs(1));
        let now = activity(pid)?;
        for (task, after) in &now {
            let (known, times) = before.get(task).copied().unwrap_or_default();
            cpu += after.0.saturating_sub(known);
            woken += after.1.saturating_sub(times);
        }
        before = now;
    }
    let seconds = watched.as_secs_f64();
    let percent = Duration::from_nanos(cpu).as_secs_f64() / seconds * 100.0;
    into.set(&format!("idle/{home}/cpuPercent"), percent);
    into.set(
        &format!("idle/{home}/wakeUpsPerSecond"),
        woken as f64 / seconds,
    );
    world.renew()
}

/// Memory of a gateway and its worker after a load, in MB.
pub(crate) fn after_load(into: &mut Figures, load: &Load, world: &World, home: &str) -> Result<()> {
    for kind in [Kind::Read, Kind::Effect, Kind::Pending] {
        let Measured { wrong, .. } = load.run(&world.target(kind), 64)?;
        ensure!(wrong == 0, "{wrong} wrong answers under load");
    }
    into.set(
        &format!("memory/{home}-after-load/MB"),
        resident(world.gateway.pid())?,
    );
    // A process goes by the first 15 bytes of its program's name.
    let mut held: Option<f64> = None;
    for worker in world.gateway.workers() {
        if READS.starts_with(&worker.name) {
            held = Some(held.unwrap_or_default().max(resident(worker.pid)?));
        }
    }
    let held = held.context("no worker runs after a load")?;
    into.set(&format!("memory/{home}-worker-after-load/MB"), held);
    Ok(())
}

/// From a call that finds no worker to its answer, in ms; and what that worker holds then.
pub(crate) fn worker_starts(into: &mut Figures, world: &mut World) -> Result<()> {
    let (mut times, mut held) = (Vec::new(), 0.0_f64);
    for _ in 0..STARTS {
        ensure!(world.gateway.stop().success(), "a clean stop");
        world.gateway.start_again();
        world.renew()?;
        ensure!(world.gateway.workers().is_empty(), "a worker runs already");
        let began = Instant::now();
        world.once(Kind::Read).expect_ok();
        times.push(began.elapsed().as_secs_f64() * 1e3);
        for worker in world.gateway.workers() {
            held = held.max(resident(worker.pid)?);
        }
    }
    into.set("worker/start/ms", middle(times));
    into.set("worker/resident/MB", held);
    Ok(())
}

/// Bytes that the ledger grows by for each read and each effect, by redb's own statistics.
pub(crate) fn ledger(into: &mut Figures, load: &Load, world: &mut World) -> Result<()> {
    for (kind, events) in [(Kind::Read, 1.0), (Kind::Effect, 2.0)] {
        fill(load, &world.target(kind))?;
        let before = Stored::of(world)?;
        fill(load, &world.target(kind))?;
        let after = Stored::of(world)?;
        let added = (after.events - before.events) as f64;
        let grown = (after.bytes as f64 - before.bytes as f64) / added;
        into.set(&format!("ledger/{}/bytes", kind.name()), grown * events);
    }
    Ok(())
}

/// Loads a target until the ledger has grown by enough: of few events its pages say little.
fn fill(load: &Load, target: &Target) -> Result<()> {
    let mut answers = 0.0;
    while answers < ENOUGH {
        // At 16 connections a commit holds about as many records as on a busy machine.
        let seen = load.run(target, 16)?;
        ensure!(seen.wrong == 0, "{} wrong answers: {seen:?}", seen.wrong);
        answers += load.answers(&seen);
    }
    Ok(())
}

/// What a ledger holds.
struct Stored {
    bytes: u64,
    events: u64,
}

impl Stored {
    /// Stops the gateway to look, and starts it again.
    fn of(world: &mut World) -> Result<Self> {
        // What the index lacks is written when nothing comes.
        std::thread::sleep(SETTLE);
        ensure!(world.gateway.stop().success(), "a clean stop");
        let found = Self::at(&world.gateway.state().join("ledger.redb"))?;
        world.gateway.start_again();
        world.renew()?;
        Ok(found)
    }
    fn at(file: &Path) -> Result<Self> {
        let database = redb::Database::open(file)?;
        let look = database.begin_write()?;
        let stats = look.stats()?;
        // Pages that something lives in. The file itself grows in large steps, and keeps free pages for later.
        let pages = stats.leaf_pages() + stats.branch_pages();
        let bytes = pages * stats.page_size() as u64;
        let events = look
            .open_table(TableDefinition::<u64, &[u8]>::new("events"))?
            .len()?;
        look.abort()?;
        Ok(Self { bytes, events })
    }
}

/// For each thread of a process by its number: its time on a processor in ns, and how often it was put on one.
fn activity(pid: u32) -> Result<HashMap<String, (u64, u64)>> {
    let mut all = HashMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        // `schedstat`: time on a processor in ns, time waited for one, times put on one.
        let Ok(text) = std::fs::read_to_string(task.path().join("schedstat")) else {
            continue; // it has just ended
        };
        let numbers: Vec<u64> = text
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        let [cpu, _, times] = numbers[..] else {
            anyhow::bail!("schedstat says {text:?}");
        };
        all.insert(
            task.file_name().to_string_lossy().into_owned(),
            (cpu, times),
        );
    }
    Ok(all)
}

/// Memory that a process holds now, in MB of 1,000,000 bytes.
pub(crate) fn resident(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("the system does not say what a process holds")?;
    let kib: f64 = line
        .split_whitespace()
        .next()
        .context("an empty line")?
        .parse()?;
    Ok(kib * 1024.0 / 1e6)
}
