//! The samples of one object: all that is kept of it.
//!
//! All text lies in one string in which nothing stands twice: a pod of one container has its name in
//! forty series. Families are numbers into the [`Plan`]; the labels that name the object are held once.

use std::collections::HashMap;

use kansoku_model::MetricBatch;
use kansoku_model::metric::{FamilyId, Point, Suffix};
use xxhash_rust::xxh3::Xxh3;

use super::family::LabelNames;
use super::label_names::label_names;
use super::object::{Object, unix_s};
use super::selection::Plan;

/// More samples of an object are left out: one of so many (endpoints times ports) would be most of a scrape.
const MAX_SAMPLES: usize = 50_000;

/// Start and length in an object's text.
type Slice = (u32, u32);

/// A sample without its object's labels.
#[derive(Debug, Clone, Copy)]
struct Sample {
    value: f64,
    /// Its first label value among the object's, and their number; names stand between them when the
    /// family has no fixed ones.
    values: u32,
    n_values: u16,
    /// Index of the family in the plan.
    family: u16,
}

/// What is kept of an object.
#[derive(Debug, Default)]
pub struct Samples {
    text: Box<str>,
    values: Box<[Slice]>,
    samples: Box<[Sample]>,
    /// How many values, from the first one on, belong to the labels that name the object.
    n_base: u8,
    /// Whether some samples were left out.
    pub is_cut: bool,
}

/// Ids of a plan's families in a batch.
#[derive(Default)]
pub struct FamilyIds(Vec<Option<FamilyId>>);

impl FamilyIds {
    fn get(&mut self, plan: &Plan, index: u16, batch: &mut MetricBatch) -> FamilyId {
        let index = usize::from(index);
        if self.0.len() <= index {
            self.0.resize(plan.families.len(), None);
        }
        let family = plan.families[index];
        *self.0[index].get_or_insert_with(|| batch.family(family.name, family.kind, family.help))
    }
}

impl Samples {
    /// Makes the samples of an object.
    #[must_use]
    pub fn of(plan: &Plan, object: &Object) -> Self {
        let mut sink = Sink {
            plan,
            text: String::new(),
            known: HashMap::new(),
            values: Vec::new(),
            samples: Vec::new(),
            family: 0,
            is_cut: false,
        };
        let metadata = &object.metadata;
        if plan.kind.is_namespaced {
            sink.value(&metadata.namespace);
        }
        sink.value(&metadata.name);
        if plan.kind.has_uid {
            sink.value(&metadata.uid);
        }
        let n_base = sink.values.len() as u8;
        for (index, family) in plan.families.iter().enumerate() {
            sink.family = index as u16;
            (family.make)(object, &mut sink);
        }
        Self {
            text: sink.text.into(),
            values: sink.values.into(),
            samples: sink.samples.into(),
            n_base,
            is_cut: sink.is_cut,
        }
    }

    /// Bytes of memory held, roughly.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.text.len() + self.values.len() * size_of::<Slice>() + size_of_val(&*self.samples)
    }

    /// Appends all samples.
    pub fn write(&self, plan: &Plan, ids: &mut FamilyIds, batch: &mut MetricBatch) {
        for sample in &self.samples {
            self.write_one(sample, sample.value, plan, ids, batch);
        }
    }

    /// Appends the samples of one family.
    pub fn write_family(
        &self,
        family: usize,
        plan: &Plan,
        ids: &mut FamilyIds,
        batch: &mut MetricBatch,
    ) {
        // They were made family by family.
        let first = (self.samples).partition_point(|s| usize::from(s.family) < family);
        let of_family = self.samples[first..].iter();
        for sample in of_family.take_while(|s| usize::from(s.family) == family) {
            self.write_one(sample, sample.value, plan, ids, batch);
        }
    }

    /// Appends `value` for the series that `now` has no more.
    pub fn write_gone(
        &self,
        now: Option<&Self>,
        value: f64,
        plan: &Plan,
        ids: &mut FamilyIds,
        batch: &mut MetricBatch,
    ) {
        let series = now.map(|now| {
            let all = now.samples.iter();
            all.map(|s| now.series(s))
                .collect::<std::collections::HashSet<_>>()
        });
        for sample in &self.samples {
            if !series
                .as_ref()
                .is_some_and(|s| s.contains(&self.series(sample)))
            {
                self.write_one(sample, value, plan, ids, batch);
            }
        }
    }

    fn write_one(
        &self,
        sample: &Sample,
        value: f64,
        plan: &Plan,
        ids: &mut FamilyIds,
        batch: &mut MetricBatch,
    ) {
        let family = ids.get(plan, sample.family, batch);
        let base = plan.kind.base_labels();
        let base = base
            .zip(self.base())
            .map(|(n, v)| -> (&str, &str) { (n, v) });
        let labels = match plan.families[usize::from(sample.family)].labels {
            LabelNames::Fixed(names) => {
                let own = names.iter().zip(self.own(sample));
                batch.label_set(base.chain(own.map(|(n, v)| -> (&str, &str) { (n, v) })))
            }
            LabelNames::Own => {
                let names = self.own(sample).step_by(2);
                let values = self.own(sample).skip(1).step_by(2);
                batch.label_set(base.chain(names.zip(values)))
            }
        };
        batch.push(Point {
            family,
            suffix: Suffix::None,
            labels,
            time_ms: None,
            value,
        });
    }

    fn base(&self) -> impl Iterator<Item = &str> {
        let values = &self.values[..usize::from(self.n_base)];
        values.iter().map(|v| self.slice(*v))
    }

    fn own(&self, sample: &Sample) -> impl Iterator<Item = &str> {
        let values = &self.values[sample.values as usize..][..usize::from(sample.n_values)];
        values.iter().map(|v| self.slice(*v))
    }

    fn slice(&self, (start, len): Slice) -> &str {
        &self.text[start as usize..][..len as usize]
    }

    /// Names a series within its table.
    fn series(&self, sample: &Sample) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(&sample.family.to_le_bytes());
        for text in self.base().chain(self.own(sample)) {
            hash.update(text.as_bytes());
            hash.update(&[0xff]);
        }
        hash.digest()
    }
}

/// Takes the samples of one object, family by family.
pub struct Sink<'a> {
    plan: &'a Plan,
    text: String,
    /// Where texts stand already.
    known: HashMap<String, Slice>,
    values: Vec<Slice>,
    samples: Vec<Sample>,
    family: u16,
    is_cut: bool,
}

impl Sink<'_> {
    /// A sample with the values of the family's labels, in their order.
    pub fn sample(&mut self, values: &[&str], value: f64) {
        debug_assert!(
            match self.plan.families[usize::from(self.family)].labels {
                LabelNames::Fixed(names) => names.len() == values.len(),
                LabelNames::Own => values.len().is_multiple_of(2),
            },
            "labels of {}",
            self.plan.families[usize::from(self.family)].name
        );
        let n_values = u16::try_from(values.len());
        let (Ok(n_values), true) = (n_values, self.samples.len() < MAX_SAMPLES) else {
            self.is_cut = true;
            return;
        };
        let start = self.values.len() as u32;
        for value in values {
            self.value(value);
        }
        self.samples.push(Sample {
            value,
            values: start,
            n_values,
            family: self.family,
        });
    }

    /// A sample of 1 that tells by its labels.
    pub fn info(&mut self, values: &[&str]) {
        self.sample(values, 1.0);
    }

    /// The only sample of its family.
    pub fn number(&mut self, value: f64) {
        self.sample(&[], value);
    }

    /// A time as the API writes it, in Unix seconds; nothing when it is not set.
    pub fn time(&mut self, values: &[&str], time: Option<&str>) {
        if let Some(time_s) = time.and_then(unix_s) {
            self.sample(values, time_s);
        }
    }

    /// A sample for each value that a condition can have; `values` are the labels in front of it.
    pub fn condition(&mut self, values: &[&str], status: &str) {
        for (label, of) in [("true", "True"), ("false", "False"), ("unknown", "Unknown")] {
            let values: Vec<&str> = values.iter().copied().chain([label]).collect();
            self.sample(&values, f64::from(u8::from(status == of)));
        }
    }

    /// A sample for each of the states, 1 for the one that is.
    pub fn states(&mut self, states: &[&str], is: &str) {
        for state in states {
            self.sample(&[state], f64::from(u8::from(*state == is)));
        }
    }

    /// The labels that `metric_labels_allowlist` lets through, as one sample; `others` are names and
    /// values of labels that it has besides.
    pub fn labels(&mut self, object: &Object, others: &[&str]) {
        let (plan, labels) = (self.plan, &object.metadata.labels);
        if !plan.labels.is_empty() {
            self.pairs("label", plan.labels.pick(labels.as_ref()), others);
        }
    }

    /// The annotations that `metric_annotations_allowlist` lets through, as one sample, with `others`.
    pub fn annotations(&mut self, object: &Object, others: &[&str]) {
        let (plan, annotations) = (self.plan, &object.metadata.annotations);
        if !plan.annotations.is_empty() {
            let picked = plan.annotations.pick(annotations.as_ref());
            self.pairs("annotation", picked, others);
        }
    }

    /// Kubernetes' pairs as a sample's labels, behind the names and values in `others`.
    pub fn pairs<'p>(
        &mut self,
        prefix: &str,
        pairs: impl Iterator<Item = (&'p str, &'p str)>,
        others: &[&str],
    ) {
        let pairs = label_names(prefix, pairs);
        let pairs = pairs.iter().flat_map(|(n, v)| [n.as_str(), *v]);
        let all: Vec<&str> = others.iter().copied().chain(pairs).collect();
        self.sample(&all, 1.0);
    }

    fn value(&mut self, value: &str) {
        let slice = match self.known.get(value) {
            Some(slice) => *slice,
            None => {
                // An object is at most a few megabytes.
                let slice = (self.text.len() as u32, value.len() as u32);
                self.text.push_str(value);
                self.known.insert(value.to_owned(), slice);
                slice
            }
        };
        self.values.push(slice);
    }
}
