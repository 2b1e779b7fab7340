//! Which records reach which section.
//!
//! Fluentd sends a record to the first `<match>` that fits, through the `<filter>`s in front of it, and
//! on into labels. Here filters and outputs all look at the tag. So the way of every source is followed
//! once, and each section gets the tags that come to it.

use std::collections::HashMap;

use kansoku_model::Place;
use kansoku_parsers::config::fluentd::Element;

use super::tags::{self, Condition, Glob, Pattern, Share};

/// How far a record may be sent from label to label.
const MAX_RELABELS: usize = 32;

/// What gives records.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The tags as Fluentd sees them.
    pub logical: Vec<Glob>,
    /// The tags as they are here, where they differ.
    pub physical: Vec<Glob>,
    /// The label that they enter; empty for the root.
    pub label: String,
    /// How messages name it.
    pub shown: String,
    pub place: Place,
    /// Whether its tags come from outside, so that they can be any.
    pub is_open: bool,
}

/// A way by which records come to a section.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub source: usize,
    /// What their tags meet besides being the source's; empty for all.
    pub condition: Condition,
}

/// A section by its label and its place in it.
pub(super) type Key = (String, usize);

/// The sections of each label, with their patterns.
pub(super) struct Routes<'a> {
    pub labels: HashMap<String, Vec<(&'a Element, Vec<Pattern>)>>,
    pub sources: Vec<Source>,
    /// What comes to each section.
    pub arrivals: HashMap<Key, Vec<Arrival>>,
    /// Labels that send to others.
    pub edges: Vec<(String, String)>,
    /// Copies of which one goes through filters that the others' records do not: their places.
    pub entangled: Vec<&'a Element>,
    /// Labels that are named and not there.
    pub missing: Vec<(&'a Element, String)>,
    pub circles: Vec<&'a Element>,
}

/// What became of records behind a section.
#[derive(Clone, Copy, Default)]
struct Passed {
    through_filters: bool,
}

impl<'a> Routes<'a> {
    /// Follows all sources.
    pub(super) fn follow(&mut self) {
        for at in 0..self.sources.len() {
            let label = self.sources[at].label.clone();
            let condition = self.outside(at);
            self.enter(at, &label, condition, 0);
        }
    }

    /// An open source is taken to give no tags of those that are known and enter another label.
    fn outside(&self, at: usize) -> Condition {
        let source = &self.sources[at];
        if !source.is_open {
            return Condition::new();
        }
        let others = self
            .sources
            .iter()
            .filter(|s| !s.is_open && s.label != source.label);
        let globs: Vec<Glob> = others.flat_map(|s| s.physical.clone()).collect();
        match globs.is_empty() || !tags::meet(&source.physical, &globs) {
            true => Condition::new(),
            false => vec![(Pattern::Globs(globs), false)],
        }
    }

    /// Pairs of sources that give the same tags to different labels.
    pub(super) fn clashes(&self) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for (a, first) in self.sources.iter().enumerate() {
            for (b, second) in self.sources.iter().enumerate().skip(a + 1) {
                if first.label != second.label
                    && first.is_open == second.is_open
                    && tags::meet(&first.physical, &second.physical)
                {
                    found.push((a, b));
                }
            }
        }
        found
    }

    fn enter(
        &mut self,
        source: usize,
        label: &str,
        mut condition: Condition,
        depth: usize,
    ) -> Passed {
        let mut passed = Passed::default();
        let Some(sections) = self.labels.get(label).cloned() else {
            return passed;
        };
        let logical = self.sources[source].logical.clone();
        for (at, (element, patterns)) in sections.iter().enumerate() {
            // Patterns of one section are one condition: a source's tags fit one of them or none.
            let pattern = joined(patterns);
            let mut inside = condition.clone();
            inside.push((pattern.clone(), true));
            match tags::share(&logical, &inside) {
                Share::None => continue,
                Share::All => inside = condition.clone(),
                Share::Some => {}
            }
            let inside = shortened(&logical, inside);
            let arrival = Arrival {
                source,
                condition: inside.clone(),
            };
            let key = (label.to_owned(), at);
            self.arrivals.entry(key).or_default().push(arrival);
            if element.name == "filter" || is_passing(element) {
                passed.through_filters = true;
                continue;
            }
            let behind = self.leave(source, element, label, &inside, depth);
            passed.through_filters |= behind.through_filters;
            condition.push((pattern, false));
            if tags::share(&logical, &condition) == Share::None {
                break;
            }
            condition = shortened(&logical, condition);
        }
        passed
    }

    /// What a `<match>` does with the records: it may send them on.
    fn leave(
        &mut self,
        source: usize,
        element: &'a Element,
        label: &str,
        condition: &Condition,
        depth: usize,
    ) -> Passed {
        let stores: Vec<&'a Element> = match kind(element).as_str() {
            "copy" => element.all("store").collect(),
            _ => vec![element],
        };
        let mut passed = Passed::default();
        let n_stores = stores.len();
        for store in stores {
            let Some(target) = relabelled(store) else {
                continue;
            };
            if depth >= MAX_RELABELS {
                self.circles.push(store);
                continue;
            }
            if !self.labels.contains_key(&target) {
                self.missing.push((store, target));
                continue;
            }
            self.edges.push((label.to_owned(), target.clone()));
            let behind = self.enter(source, &target, condition.clone(), depth + 1);
            if behind.through_filters && n_stores > 1 {
                self.entangled.push(store);
            }
            passed.through_filters |= behind.through_filters;
        }
        passed
    }

    /// The labels in an order in which none comes before one that sends to it.
    pub(super) fn order(&self, written: &[String]) -> Vec<String> {
        let mut left: Vec<String> = written.to_vec();
        let mut order = Vec::new();
        while !left.is_empty() {
            let is_free = |label: &String| {
                let mut into = self.edges.iter().filter(|(_, to)| to == label);
                !into.any(|(from, _)| from != label && left.contains(from))
            };
            // A circle has no order; what was written first goes first.
            let at = left.iter().position(is_free).unwrap_or(0);
            order.push(left.remove(at));
        }
        order
    }
}

/// Drops conditions that hold for all tags that meet the others.
fn shortened(source: &[Glob], condition: Condition) -> Condition {
    let mut kept = condition;
    let mut at = 0;
    while at < kept.len() {
        let mut others = kept.clone();
        let one = others.remove(at);
        let mut opposite = others.clone();
        opposite.push((one.0, !one.1));
        if tags::share(source, &opposite) == Share::None {
            kept = others;
        } else {
            at += 1;
        }
    }
    kept
}

fn joined(patterns: &[Pattern]) -> Pattern {
    match patterns {
        [one] => one.clone(),
        many => Pattern::Regex(tags::any_of(many)),
    }
}

/// The type of a plugin as it is written.
pub(super) fn kind(element: &Element) -> String {
    let kind = element.get("@type").or_else(|| element.get("type"));
    kind.map(|a| a.value.to_string()).unwrap_or_default()
}

/// A `<match>` that is a filter here: its records go on.
fn is_passing(element: &Element) -> bool {
    kind(element) == "detect_exceptions"
}

/// The label that a `relabel` sends to.
fn relabelled(element: &Element) -> Option<String> {
    let label = element.get("@label").map(|a| a.value.to_string());
    match kind(element).as_str() {
        "relabel" => label.map(|l| if l == "@ROOT" { String::new() } else { l }),
        _ => None,
    }
}
