//! Which series have which label values, while a part is being written.
//!
//! A value takes its text and some forty bytes, so that a merge of millions of series that came and
//! went does not need a multiple of their labels.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

use kansoku_model::Labels;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::spread::Spread;

/// The values of all label names.
#[derive(Debug)]
pub struct Postings {
    names: BTreeMap<Box<str>, Values>,
    /// Drawn anew each time: nobody can prepare values that meet in one place.
    seed: u64,
}

/// The values of one label name.
#[derive(Debug, Default)]
pub struct Values {
    text: String,
    /// Where each value ends in `text`, and the first series that has it.
    values: Vec<(usize, u32)>,
    /// By hash, or the next number that is free.
    by_hash: HashMap<u64, u32, Spread>,
    /// Further series of a value.
    more: HashMap<u32, Vec<u32>>,
}

impl Default for Postings {
    fn default() -> Self {
        Self {
            names: BTreeMap::new(),
            seed: RandomState::new().hash_one(0),
        }
    }
}

impl Postings {
    /// Notes the labels of a series; numbers ascend.
    pub fn add(&mut self, labels: &Labels, series: u32) {
        for (name, value) in labels {
            let values = match self.names.get_mut(name) {
                Some(values) => values,
                None => self.names.entry(name.into()).or_default(),
            };
            values.add(
                value,
                xxh3_64_with_seed(value.as_bytes(), self.seed),
                series,
            );
        }
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Names in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Values)> {
        self.names.iter().map(|(name, values)| (&**name, values))
    }
}

impl Values {
    fn text(&self, value: u32) -> &str {
        let at = value as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.values[before].0);
        &self.text[start..self.values[at].0]
    }

    fn add(&mut self, text: &str, mut hash: u64, series: u32) {
        while let Some(&known) = self.by_hash.get(&hash) {
            if self.text(known) == text {
                self.more.entry(known).or_default().push(series);
                return;
            }
            hash = hash.wrapping_add(1);
        }
        self.by_hash.insert(hash, self.values.len() as u32);
        self.text.push_str(text);
        self.values.push((self.text.len(), series));
    }

    /// Values in order, each with the numbers of its series in order.
    pub fn sorted(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = u32>)> {
        let mut order: Vec<u32> = (0..self.values.len() as u32).collect();
        order.sort_unstable_by(|a, b| self.text(*a).cmp(self.text(*b)));
        order.into_iter().map(|value| {
            let more = self.more.get(&value).into_iter().flatten().copied();
            let first = self.values[value as usize].1;
            (self.text(value), std::iter::once(first).chain(more))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn values_come_in_order_with_all_their_series() {
        let mut random = Random(6);
        let mut postings = Postings::default();
        let mut expected: BTreeMap<String, BTreeMap<String, Vec<u32>>> = BTreeMap::new();
        for series in 0..3000 {
            let pod = format!("pod-{}", random.below(900));
            let labels = Labels::from_pairs([("pod", pod.as_str()), ("zone", "z")]);
            for (name, value) in &labels {
                let values = expected.entry(name.to_owned()).or_default();
                values.entry(value.to_owned()).or_default().push(series);
            }
            postings.add(&labels, series);
        }
        let got: BTreeMap<String, BTreeMap<String, Vec<u32>>> = postings
            .iter()
            .map(|(name, values)| {
                let all: Vec<(String, Vec<u32>)> = values
                    .sorted()
                    .map(|(value, ids)| (value.to_owned(), ids.collect()))
                    .collect();
                assert!(all.is_sorted());
                (name.to_owned(), all.into_iter().collect())
            })
            .collect();
        assert_eq!(got, expected);
        assert_eq!(postings.len(), 2);
    }

    #[test]
    fn values_of_one_hash_stay_apart() {
        let mut values = Values::default();
        for (series, text) in (0..).zip(["a", "b", "a", "c", "b"]) {
            values.add(text, 7, series);
        }
        let all: Vec<(&str, Vec<u32>)> = values
            .sorted()
            .map(|(text, ids)| (text, ids.collect()))
            .collect();
        assert_eq!(all, [("a", vec![0, 2]), ("b", vec![1, 4]), ("c", vec![3])]);
    }
}
