//! Families that are named after what the kernel calls its fields, remembered between readings.
//!
//! A file such as vmstat has the same fields in the same order at every reading. So what a field
//! becomes, and whether a pattern leaves it out, is decided once per place in the file.

use kansoku_model::{MetricBatch, MetricKind};

/// Places of a file that are remembered: netstat has some 400, vmstat 200. Further ones are decided
/// anew each time.
const MAX_PLACES: usize = 4096;

/// What fields have become, by their place in the file.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    places: Vec<Place>,
    at: usize,
}

#[derive(Debug)]
struct Place {
    group: String,
    name: String,
    family: Option<Named>,
}

/// A family made of a field.
#[derive(Debug)]
pub(crate) struct Named {
    pub name: String,
    pub kind: MetricKind,
    pub help: String,
}

impl Named {
    /// Appends one sample.
    pub(crate) fn sample(&self, out: &mut MetricBatch, labels: &[(&str, &str)], value: f64) {
        let family = out.family(&self.name, self.kind, &self.help);
        out.sample(family, labels, value);
    }
}

impl Fields {
    /// Begins a reading at its first field.
    pub(crate) fn rewind(&mut self) {
        self.at = 0;
    }

    /// What the next field is given as; `None` when it is left out. `group` tells fields of the same
    /// name apart.
    pub(crate) fn next(
        &mut self,
        group: &str,
        name: &str,
        make: impl FnOnce(&str, &str) -> Option<Named>,
    ) -> Option<&Named> {
        let at = self.at.min(MAX_PLACES);
        self.at += 1;
        let known = self.places.get(at);
        // Two empty texts are not compared: with some C libraries that is the dearest comparison of all.
        let is_same = |place: &Place| {
            place.name == name
                && place.group.len() == group.len()
                && (group.is_empty() || place.group == group)
        };
        if !known.is_some_and(is_same) {
            // The kernel has other fields than before, as after loading a module.
            self.places.truncate(at);
            self.places.push(Place {
                group: group.to_owned(),
                name: name.to_owned(),
                family: make(group, name),
            });
        }
        self.places[at].family.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_made_once_until_the_file_changes() {
        let mut fields = Fields::default();
        let mut made = Vec::new();
        for file in [["a", "b", "c"], ["a", "b", "c"], ["a", "x", "c"]] {
            fields.rewind();
            for name in file {
                let named = fields.next("g", name, |group, name| {
                    made.push(name.to_owned());
                    (name != "b").then(|| Named {
                        name: format!("{group}_{name}"),
                        kind: MetricKind::Gauge,
                        help: String::new(),
                    })
                });
                let expected = (name != "b").then(|| format!("g_{name}"));
                assert_eq!(named.map(|n| n.name.clone()), expected);
            }
        }
        assert_eq!(made, ["a", "b", "c", "x", "c"]);
    }
}
