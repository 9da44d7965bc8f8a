//! What the runs of one orchestration may use together, and what of it is left.
//!
//! A run that begins is given a share: what is left, divided by the runs that may begin beside it. Until it ends the share counts
//! as used; then what the run says does, or the whole share where it says nothing.
//!
//! Must not know: what a token is, how a run is held to its share.

use serde::{Deserialize, Serialize};

/// Tokens and US dollars; none: as many as there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// Tokens in and out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<f64>,
}

/// What a run says that it used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// Tokens in and out.
    pub tokens: Option<u64>,
    /// US dollars.
    pub cost: Option<f64>,
}

impl Budget {
    /// What is left after a run with this share.
    #[must_use]
    pub fn less(self, share: Self, used: Used) -> Self {
        let tokens = used.tokens.or(share.max_tokens).unwrap_or_default();
        let cost = used.cost.or(share.max_cost).unwrap_or_default();
        Self {
            max_tokens: self.max_tokens.map(|most| most.saturating_sub(tokens)),
            max_cost: self.max_cost.map(|most| (most - cost).max(0.0)),
        }
    }

    /// The share of one of `runs` that begin.
    #[must_use]
    pub fn share(self, runs: usize) -> Self {
        let runs = u32::try_from(runs.max(1)).unwrap_or(u32::MAX);
        Self {
            max_tokens: self.max_tokens.map(|most| most / u64::from(runs)),
            max_cost: self.max_cost.map(|most| most / f64::from(runs)),
        }
    }

    /// Whether there is too little for a further run.
    #[must_use]
    pub fn is_spent(self) -> bool {
        self.max_tokens == Some(0) || self.max_cost.is_some_and(|most| most < LEAST)
    }
}

/// Less than this is no money for a run, in US dollars.
const LEAST: f64 = 0.000_1;
