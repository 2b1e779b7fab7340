//! A label set that is being changed: what relabelling and target labels work on.

use kansoku_model::Labels;

/// Names and values, each name once and no value empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSet {
    /// In no order: there are few, and a search through them all costs less than keeping them sorted.
    pairs: Vec<(String, String)>,
}

impl LabelSet {
    /// The value of `name`, empty when there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        let found = self.pairs.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, value)| value)
    }

    /// Sets a label; an empty value takes it away.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.pairs.iter().position(|(n, _)| n == name) {
            Some(at) if value.is_empty() => {
                self.pairs.swap_remove(at);
            }
            Some(at) => self.pairs[at].1 = value,
            None if value.is_empty() => {}
            None => self.pairs.push((name.to_owned(), value)),
        }
    }

    /// Sets a label that is not there.
    pub fn set_default(&mut self, name: &str, value: impl Into<String>) {
        if self.get(name).is_empty() {
            self.set(name, value);
        }
    }

    /// Keeps the labels whose names pass.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.pairs.retain(|(name, _)| keep(name));
    }

    /// Names and values in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Forgets all labels and keeps the memory of the list.
    pub fn clear(&mut self) {
        self.pairs.clear();
    }

    /// The labels, sorted.
    #[must_use]
    pub fn to_labels(&self) -> Labels {
        Labels::from_pairs(self.iter())
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for LabelSet {
    /// Of a name that comes again the last value counts.
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(pairs: T) -> Self {
        let mut set = Self::default();
        for (name, value) in pairs {
            set.set(name, value);
        }
        set
    }
}
