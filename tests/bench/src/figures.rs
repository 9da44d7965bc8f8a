//! What was measured: a number for each name, and the rounds that give the numbers of loads.
//!
//! A load's name is `<kind>/<server>/<connections>`; its figures end in `/perSecond`, `/p50` and `/p99` (µs), and
//! `/processor` (µs of processor time for each answer), and in `/part/` and who had it.

use crate::life::middle;
use crate::load::{Load, Measured, Target};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;

/// Numbers by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Takes a number down.
    pub(crate) fn set(&mut self, name: &str, value: f64) {
        self.0.insert(name.to_owned(), value);
    }
    /// A number, if it was measured.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }
    /// How often one goes into the other, if both were measured.
    pub(crate) fn ratio(&self, of: &str, to: &str) -> Option<f64> {
        let to = self.get(to).filter(|to| *to > 0.0)?;
        Some(self.get(of)? / to)
    }
    /// All of them, in order of their names.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

/// One thing that is loaded with so many connections.
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) connections: usize,
    pub(crate) target: Target,
}

/// Loads every cell once a round, one after the other, so that a busy neighbour is a neighbour of all of them; the best
/// round of each counts.
pub(crate) fn interleaved(
    into: &mut Figures,
    load: &Load,
    rounds: u32,
    cells: &[Cell],
) -> Result<()> {
    let mut best: BTreeMap<&str, Measured> = BTreeMap::new();
    for round in 0..rounds {
        for cell in cells {
            let seen = load
                .run(&cell.target, cell.connections)
                .with_context(|| format!("{}, round {round}", cell.name))?;
            ensure!(
                seen.wrong == 0,
                "{} gave {} wrong answers: {seen:?}",
                cell.name,
                seen.wrong
            );
            // On a machine that is busy with something else; the figure would be the neighbour's.
            ensure!(seen.per_second > 0.0, "{} gave no answer", cell.name);
            let better = |known: &Measured| seen.per_second > known.per_second;
            if best.get(cell.name.as_str()).is_none_or(better) {
                best.insert(&cell.name, seen);
            }
        }
    }
    for (name, seen) in best {
        into.set(&format!("{name}/perSecond"), seen.per_second);
        into.set(&format!("{name}/p50"), seen.p50.as_secs_f64() * 1e6);
        into.set(&format!("{name}/p99"), seen.p99.as_secs_f64() * 1e6);
        if let Some(spent) = seen.processor {
            into.set(&format!("{name}/processor"), spent.as_secs_f64() * 1e6);
        }
        for (part, spent) in seen.parts {
            into.set(&format!("{name}/part/{part}"), spent.as_secs_f64() * 1e6);
        }
    }
    Ok(())
}

/// Loads two cells one after the other in each round, and keeps the median of how often the first one's processor time for
/// an answer goes into the second one's: a round that a neighbour disturbed is one of many, and its two halves alike.
pub(crate) fn paired(
    into: &mut Figures,
    load: &Load,
    rounds: u32,
    pairs: &[(String, Cell, Cell)],
) -> Result<()> {
    for (name, bare, gateway) in pairs {
        let mut ratios = Vec::new();
        for round in 0..rounds {
            let spent = |cell: &Cell| {
                let seen = load.run(&cell.target, cell.connections);
                let seen = seen.with_context(|| format!("{}, round {round}", cell.name))?;
                let wrong = seen.wrong;
                ensure!(wrong == 0, "{} gave {wrong} wrong answers", cell.name);
                let spent = seen.processor.context("no processor time is known")?;
                ensure!(!spent.is_zero(), "{} took no processor time", cell.name);
                Ok(spent.as_secs_f64())
            };
            let bare = spent(bare)?;
            ratios.push(spent(gateway)? / bare);
        }
        into.set(name, middle(ratios));
    }
    Ok(())
}
