//! Turns of Codex while the daemon, the worker and Codex itself are killed, in and between turns: each thread goes on, each
//! answer says what may have been said to the model, and nothing of a run is left running.

use crate::coding_agents::{CODEX, Desk};
use crate::host_tools::begun;
use crate::kills::Dice;
use nix::sys::signal::Signal;
use plexus_tests::processes::{self, Process};
use plexus_tests::{
    Agent, Gate, Step,
    waiting::{until, until_true},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Threads that the turns go round.
const THREADS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Daemon,
    Worker,
    Codex,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    /// The call is accepted; whether a worker has it yet is open.
    Accepted,
    /// The model has the message, and has said nothing.
    Asked,
    /// A command of the turn runs, with one of its own in the background.
    AtWork,
    /// The model has the command's output.
    Told,
    /// Nothing is under way.
    Between,
}

/// Every death at every moment at which it can come, and one turn without any.
const DEATHS: [Option<(Moment, Victim)>; 14] = {
    use Moment::{Accepted, Asked, AtWork, Between, Told};
    use Victim::{Codex, Daemon, Worker};
    [
        None,
        Some((Accepted, Daemon)),
        Some((Accepted, Worker)),
        Some((Asked, Daemon)),
        Some((Asked, Worker)),
        Some((Asked, Codex)),
        Some((AtWork, Daemon)),
        Some((AtWork, Worker)),
        Some((AtWork, Codex)),
        Some((Told, Daemon)),
        Some((Told, Worker)),
        Some((Told, Codex)),
        Some((Between, Daemon)),
        Some((Between, Worker)),
    ]
};

#[derive(Default)]
struct Thread {
    id: Value,
    /// Messages that were answered, in order.
    answered: Vec<String>,
    /// Messages of which the answer says that nothing came.
    unsaid: Vec<String>,
}

struct Talk {
    desk: Desk,
    threads: Vec<Thread>,
    turns: usize,
}

impl Talk {
    fn open() -> Self {
        let mut talk = Self {
            desk: Desk::open(CODEX, []),
            threads: Vec::new(),
            turns: 0,
        };
        for _ in 0..THREADS {
            let message = talk.message();
            talk.desk.model.instead([Step::say("Noted.")]);
            let first = talk.desk.run(&json!({"prompt": message}));
            talk.threads.push(Thread {
                id: first["thread"].clone(),
                answered: vec![message],
                ..Thread::default()
            });
        }
        talk
    }

    fn message(&mut self) -> String {
        self.turns += 1;
        format!("Message {}.", self.turns)
    }

    /// A turn that nothing happens to: the model is sent every message that was answered, each once.
    fn calm(&mut self, at: usize) {
        let message = self.message();
        self.desk.model.instead([Step::say("Noted.")]);
        let thread = &mut self.threads[at];
        let input = json!({"prompt": message, "thread": thread.id});
        let done = self.desk.run(&input);
        assert_eq!(done["thread"], thread.id, "{done}");
        assert_eq!(done["warnings"], json!([]), "{done}");
        thread.answered.push(message);
        let sent = self
            .desk
            .model
            .requests()
            .last()
            .expect("a request")
            .to_string();
        for message in &thread.answered {
            assert_eq!(sent.matches(message).count(), 1, "{message} in {sent}");
        }
        for message in &thread.unsaid {
            assert!(!sent.contains(message), "{message} in {sent}");
        }
    }

    /// A turn that something happens to.
    fn killed(&mut self, at: usize, moment: Moment, victim: Victim) {
        let message = self.message();
        let (first, second) = (Gate::closed(), Gate::closed());
        let at_work = format!("at-work-{}", self.turns);
        let command = Step::exec(&format!(
            "sleep 600 > /dev/null 2>&1 & touch {at_work}; until test -e go; do sleep 0.05; done"
        ));
        let mut steps = vec![Step::Wait(first.clone())];
        if moment != Moment::Accepted {
            steps.extend([command, Step::Wait(second.clone())]);
        }
        steps.push(Step::say("Noted."));
        self.desk.model.instead(steps);
        let requests = self.desk.model.requests().len();
        let run = begun(
            &self.desk,
            &json!({"prompt": message, "thread": self.threads[at].id}),
        );
        let asked = |count: usize| {
            until_true("the model is asked", || {
                self.desk.model.requests().len() >= requests + count
            });
        };
        if moment != Moment::Accepted {
            asked(1);
        }
        if matches!(moment, Moment::AtWork | Moment::Told) {
            first.open();
            let copy = until("the turn's command", || self.desk.copy_with(&at_work));
            if moment == Moment::Told {
                std::fs::write(copy.join("go"), "").expect("written");
                asked(2);
            }
        }
        let of_run = self.of_run();
        // Codex; while a command of it runs, its shell and what that has in the background.
        let least = match moment {
            Moment::Accepted | Moment::Between => 0,
            Moment::Asked | Moment::Told => 1,
            Moment::AtWork => 3,
        };
        assert!(of_run.len() >= least, "{moment:?}: {of_run:?}");
        self.kill(victim);
        first.open();
        second.open();
        let told = self.ended(&run);
        until_true("the end of everything of the run", || {
            let is_over = of_run.iter().all(|process| !process.alive());
            is_over && self.codex().is_none()
        });
        match told["error"]["effect"].as_str() {
            Some("none") => self.threads[at].unsaid.push(message),
            Some("partial" | "unknown") => {}
            // It waited for a worker still, and the next one served it.
            None if (moment, victim) == (Moment::Accepted, Victim::Worker) => {
                let output = &told["output"];
                assert_eq!(output["thread"], self.threads[at].id, "{told}");
                self.threads[at].answered.push(message);
            }
            _ => panic!("{moment:?} {victim:?}: {told}"),
        }
    }

    fn kill(&mut self, victim: Victim) {
        match victim {
            Victim::Daemon => {
                self.desk.gateway.kill9();
                self.desk.gateway.start_again();
                let (agent, client) = (&self.desk.agent, self.desk.gateway.client());
                self.desk.agent = Agent::with_pat(&client, &agent.id, &agent.pat);
            }
            Victim::Worker => {
                for worker in self.desk.gateway.processes("plexus-worker-codex") {
                    worker.signal(Signal::SIGKILL);
                }
            }
            Victim::Codex => {
                let codex = self.codex().expect("Codex runs");
                codex.signal(Signal::SIGKILL);
            }
        }
    }

    fn codex(&self) -> Option<Process> {
        let all = self.desk.gateway.workers();
        all.into_iter().find(|process| process.name == "codex")
    }

    /// Codex and all that it started, below the launcher of its cage.
    fn of_run(&self) -> Vec<Process> {
        let codex = self.codex();
        codex.map_or_else(Vec::new, |codex| processes::below(codex.parent))
    }

    fn ended(&self, run: &str) -> Value {
        let path = format!("/invoke/status?runId={run}&wait=30");
        let status = until("the end of the turn is known", || {
            let status = self.desk.agent.client().get(&path);
            (status.at("/status") != "running").then_some(status)
        });
        if status.status == 200 {
            return status.json()["result"].clone();
        }
        // The daemon died with it: the audit log has its end. A run that has no intent was never sent to a worker.
        let outcome = until("the outcome of the last run", || {
            let events = self.desk.owner().audit(200);
            let of = |phase: &str| {
                let is_of = |event: &&Value| {
                    event["capabilityId"] == "codex.run" && event["detail"]["phase"] == phase
                };
                events.iter().find(is_of)
            };
            let (intent, outcome) = (of("intent")?, of("outcome")?);
            (outcome["detail"]["intent"] == intent["id"]).then(|| outcome.clone())
        });
        let effect = match outcome["outcome"].as_str() {
            Some("refused") => "none",
            _ => "unknown",
        };
        json!({"error": {"effect": effect, "outcome": outcome}})
    }
}

#[test]
fn threads_survive_the_death_of_everything() {
    let mut dice = Dice::thrown();
    let mut talk = Talk::open();
    let mut deaths = DEATHS.to_vec();
    while !deaths.is_empty() {
        let next = dice.up_to(deaths.len() as u64 - 1);
        let death = deaths.swap_remove(usize::try_from(next).expect("small"));
        let at = usize::try_from(dice.up_to(THREADS as u64 - 1)).expect("small");
        match death {
            None => talk.calm(at),
            Some((Moment::Between, victim)) => {
                talk.kill(victim);
                talk.calm(at);
            }
            Some((moment, victim)) => talk.killed(at, moment, victim),
        }
    }
    (0..THREADS).for_each(|at| talk.calm(at));
    assert_eq!(talk.turns, 20);

    // Every call has its end on record.
    let events = talk.desk.owner().audit(1_000);
    let of = |phase: &'static str| {
        let events = events.iter().filter(move |event| {
            event["capabilityId"] == "codex.run" && event["detail"]["phase"] == phase
        });
        events.collect::<Vec<_>>()
    };
    let ended: BTreeSet<_> = of("outcome")
        .iter()
        .map(|event| event["detail"]["intent"].to_string())
        .collect();
    for intent in of("intent") {
        assert!(ended.contains(&intent["id"].to_string()), "{intent}");
    }
    assert!(of("intent").len() >= 18, "{}", of("intent").len());
    talk.desk.gateway.cli(["audit", "verify"]).expect_ok();
}
