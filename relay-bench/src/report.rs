//! What people and programs see of the results.

use serde_json::{Map, Value, json};

use crate::database::Engine;
use crate::targets::{self, Verdict};
use crate::usage;

/// Behind the name of what was measured on PostgreSQL.
const POSTGRES: &str = " (postgres)";
/// Figures that are compared between stores.
const COMPARED: [&str; 6] =
    ["first_copy_ms", "last_answer_s", "copies_per_s", "relay_us_per_copy", "per_s", "relay_ms_with_posts"];

/// All results of a run.
#[derive(Debug)]
pub(crate) struct Report {
    as_json: bool,
    store: Option<Engine>,
    results: Vec<Measurement>,
}

/// What a phase measured at one size.
#[derive(Debug, Default)]
pub(crate) struct Measurement {
    pub(crate) phase: String,
    /// Members of all groups.
    pub(crate) members: u32,
    figures: Map<String, Value>,
}

impl Measurement {
    pub(crate) fn new(phase: impl Into<String>, members: u32) -> Self {
        Self { phase: phase.into(), members, figures: Map::new() }
    }

    pub(crate) fn with(mut self, name: &str, value: f64) -> Self {
        self.figures.insert(name.to_owned(), json!(rounded(value)));
        self
    }

    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name)?.as_f64()
    }

    fn to_json(&self) -> Value {
        let mut all = Map::new();
        all.insert("phase".to_owned(), json!(self.phase));
        all.insert("members".to_owned(), json!(self.members));
        all.extend(self.figures.clone());
        all.insert("load".to_owned(), json!(usage::load()));
        Value::Object(all)
    }
}

impl Report {
    pub(crate) fn new(as_json: bool) -> Self {
        Self { as_json, store: None, results: Vec::new() }
    }

    /// What follows is measured on this store.
    pub(crate) fn begin(&mut self, store: Engine) {
        self.store = Some(store);
    }

    /// Prints a result at once and keeps it for the end.
    pub(crate) fn add(&mut self, mut result: Measurement) {
        if self.store == Some(Engine::Postgres) {
            result.phase.push_str(POSTGRES);
        }
        let value = result.to_json();
        if self.as_json {
            println!("{value}");
        } else {
            let fields = value.as_object().into_iter().flatten();
            let words = fields.map(|(name, value)| match value {
                Value::String(text) => text.clone(),
                number => format!("{name} {number}"),
            });
            println!("{}", words.collect::<Vec<_>>().join("  "));
        }
        self.results.push(result);
    }

    /// How a figure grew from the first to each further of these phases.
    pub(crate) fn growth(&mut self, phase: &str, figure: &str) {
        let starts = format!("{phase}:");
        let is_here = |phase: &str| phase.ends_with(POSTGRES) == (self.store == Some(Engine::Postgres));
        let found =
            self.results.iter().filter(|result| result.phase.starts_with(&starts) && is_here(&result.phase));
        let values: Vec<f64> = found.filter_map(|result| result.figure(figure)).collect();
        let Some(first) = values.first().copied().filter(|first| *first > 0.0) else { return };
        let worst = values.iter().map(|value| value / first).fold(0.0, f64::max);
        let last = values.last().map_or(0.0, |value| value / first);
        let result = Measurement::new(format!("{phase} in all"), 0);
        self.add(result.with("ratio_largest_to_smallest", last).with("ratio_worst", worst));
    }

    /// How PostgreSQL compares with a file, where both were measured.
    pub(crate) fn stores(&mut self) {
        self.store = None;
        let mut compared = Vec::new();
        for result in &self.results {
            let Some(phase) = result.phase.strip_suffix(POSTGRES) else { continue };
            // Posts between the joins are as many as there was time for.
            let name = |phase: &str| phase.split(", and ").next().map(str::to_owned);
            let Some(file) = self.results.iter().find(|file| name(&file.phase) == name(phase)) else {
                continue;
            };
            let mut ratios = Measurement::new(format!("{phase}: postgres to sqlite"), result.members);
            for figure in COMPARED {
                let (Some(one), Some(other)) = (result.figure(figure), file.figure(figure)) else { continue };
                ratios = ratios.with(figure, one / other);
            }
            compared.push(ratios);
        }
        compared.into_iter().for_each(|ratios| self.add(ratios));
    }

    /// The targets with what was measured, as a table for `docs/performance.md`.
    pub(crate) fn targets(&self) {
        let verdicts = targets::judge(&self.results);
        if !self.as_json && !verdicts.is_empty() {
            println!("\n| what | measured | target | met | phase |\n|---|---|---|---|---|");
        }
        for Verdict { target, at, measured, is_met } in verdicts {
            let bound = target.bound();
            if self.as_json {
                println!(
                    "{}",
                    json!({"target": target.what, "phase": at, "measured": measured, "bound": bound, "met": is_met})
                );
            } else {
                let met = if is_met { "yes" } else { "**no**" };
                println!("| {} | {measured} | {bound} | {met} | {at} |", target.what);
            }
        }
    }
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
