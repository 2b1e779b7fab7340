//! Groups of series by some of their labels: one look-up per series, and nothing is allocated for a group that is
//! known.

use std::collections::HashMap;

use kansoku_model::Labels;

/// Gives each label set that is left of a series a number, in order of first appearance.
#[derive(Debug, Default)]
pub(super) struct LabelGroups {
    /// By the canonical bytes of what is left.
    numbers: HashMap<Vec<u8>, usize>,
    /// The bytes looked for.
    key: Vec<u8>,
}

impl LabelGroups {
    /// The number of the group of `labels` without the pairs that `keep` refuses; with its labels when it is new.
    pub(super) fn number(
        &mut self,
        labels: &Labels,
        keep: impl Fn(&str) -> bool,
    ) -> (usize, Option<Labels>) {
        self.key.clear();
        labels.put_filtered(&mut self.key, keep);
        if let Some(number) = self.numbers.get(&self.key) {
            return (*number, None);
        }
        let number = self.numbers.len();
        self.numbers.insert(self.key.clone(), number);
        let left = Labels::from_bytes(&self.key).expect("pairs of a label set are one");
        (number, Some(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_numbered_as_they_appear() {
        let labels = |a: &str, b: &str| Labels::from_pairs([("a", a), ("b", b)]);
        let mut groups = LabelGroups::default();
        let only_a = |name: &str| name == "a";
        let (first, left) = groups.number(&labels("1", "x"), only_a);
        assert_eq!((first, left), (0, Some(labels("1", ""))));
        assert_eq!(groups.number(&labels("2", "x"), only_a).0, 1);
        assert_eq!(groups.number(&labels("1", "y"), only_a), (0, None));
        let (rest, left) = groups.number(&labels("", "x"), only_a);
        assert_eq!((rest, left), (2, Some(Labels::default())));
    }
}
