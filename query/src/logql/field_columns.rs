//! Filters, values and groups of entries whose fields came as columns, a column at a time.
//!
//! What a column says once for many entries is asked once: an entry of a dictionary, a constant. The
//! rule: what is computed here is what the stages make of the lines; entries on which a stage would
//! fail are told apart (`Outcome::Doubt`) and go through the stages one by one.

use std::borrow::Cow;
use std::collections::HashMap;

use kansoku_model::{Field, FieldForm, FieldGroup, FieldValues, Labels};

use super::record::{Record, clean_text};
use super::stages::json_text;
use super::stages::unwrap::{Conversion, Unwrap};
use super::stages::{Compare, LabelFilter};

/// Integers of a column that lie this close together are told apart by a table.
const TABLE_MAX: i128 = 1 << 16;
/// Integers that a float holds exactly.
const EXACT_MAX: u64 = 1 << 53;

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Fail,
    Pass,
    /// The stages decide.
    Doubt,
}

impl Outcome {
    fn of(passes: bool) -> Self {
        if passes { Self::Pass } else { Self::Fail }
    }

    /// Of two stages one after the other: what a failure leaves to later ones is theirs to see.
    fn then(self, next: Self) -> Self {
        match self {
            Self::Pass => next,
            _ => self,
        }
    }

    /// Of two conditions that must both hold: a failure of either is seen, whatever the other says.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Doubt, _) | (_, Self::Doubt) => Self::Doubt,
            (Self::Pass, other) => other,
            (Self::Fail, _) => Self::Fail,
        }
    }

    /// Of two conditions of which the second is only looked at when the first does not hold.
    fn or(self, other: Self) -> Self {
        match self {
            Self::Fail => other,
            _ => self,
        }
    }
}

/// One thing for each entry of a group.
#[derive(Debug, Clone, PartialEq)]
pub enum PerRow<T> {
    All(T),
    Each(Vec<T>),
}

impl<T: Copy> PerRow<T> {
    pub fn get(&self, row: usize) -> T {
        match self {
            Self::All(value) => *value,
            Self::Each(values) => values[row],
        }
    }

    fn with<U: Copy, V>(self, other: &PerRow<U>, join: impl Fn(T, U) -> V) -> PerRow<V> {
        match (self, other) {
            (Self::All(a), PerRow::All(b)) => PerRow::All(join(a, *b)),
            (Self::All(a), PerRow::Each(b)) => {
                PerRow::Each(b.iter().map(|b| join(a, *b)).collect())
            }
            (Self::Each(a), PerRow::All(b)) => {
                PerRow::Each(a.into_iter().map(|a| join(a, *b)).collect())
            }
            (Self::Each(a), PerRow::Each(b)) => {
                PerRow::Each(a.into_iter().zip(b).map(|(a, b)| join(a, *b)).collect())
            }
        }
    }
}

impl PerRow<Outcome> {
    /// What becomes of them when they must have a value, too.
    pub fn then_valued(self, values: &PerRow<(Outcome, f64)>) -> Self {
        self.with(values, |outcome, (has_value, _)| outcome.then(has_value))
    }

    pub fn then(self, next: &Self) -> Self {
        self.with(next, Outcome::then)
    }

    /// Whether this becomes of some.
    pub fn any(&self, outcome: Outcome) -> bool {
        match self {
            Self::All(all) => *all == outcome,
            Self::Each(each) => each.contains(&outcome),
        }
    }
}

/// The entries of a group with what they are looked at for.
#[derive(Clone, Copy)]
pub struct GroupColumns<'a> {
    pub group: &'a FieldGroup,
    /// Of the fields.
    pub names: &'a [String],
    pub stream: &'a Labels,
    /// An empty field is none.
    pub skips_empty: bool,
}

/// Where the values of a label are.
enum Source<'a> {
    Fixed(Option<&'a str>),
    Column(&'a Field),
}

impl<'a> GroupColumns<'a> {
    fn source(&self, name: &str) -> Source<'a> {
        // A field of such a name gets another.
        if let Some(value) = self.stream.get(name) {
            return Source::Fixed(Some(value));
        }
        let at = self.names.iter().position(|n| n == name);
        match at.and_then(|at| self.group.fields[at].as_ref()) {
            Some(field) => Source::Column(field),
            None => Source::Fixed(None),
        }
    }

    /// What label a field's bytes become.
    fn text<'t>(&self, form: FieldForm, bytes: &'t [u8]) -> Option<Cow<'t, str>> {
        match form {
            FieldForm::Plain if bytes.is_empty() && self.skips_empty => None,
            FieldForm::JsonWord if bytes == b"null" => None,
            FieldForm::JsonText => Some(json_text(bytes)),
            FieldForm::Plain | FieldForm::JsonWord => Some(clean_text(bytes)),
        }
    }

    /// Asks `of_text` for each value of a label, as seldom as the column allows; `of_number` in its
    /// place where values are numbers.
    fn map<T: Copy>(
        &self,
        name: &str,
        of_text: &dyn Fn(Option<&str>) -> T,
        of_number: Option<&dyn Fn(f64) -> T>,
    ) -> PerRow<T> {
        let field = match self.source(name) {
            Source::Fixed(value) => return PerRow::All(of_text(value)),
            Source::Column(field) => field,
        };
        let of_bytes = |bytes: &[u8]| of_text(self.text(field.form, bytes).as_deref());
        let mut buf = Vec::new();
        let mut of_row = |row: usize| {
            buf.clear();
            field.values.put(row, &mut buf);
            of_bytes(&buf)
        };
        match (&field.values, of_number) {
            (FieldValues::Same(bytes), _) => PerRow::All(of_bytes(bytes)),
            (FieldValues::Coded { entries, codes }, _) => {
                let of_entry: Vec<T> = (0..entries.len())
                    .map(|at| of_bytes(entries.get(at)))
                    .collect();
                PerRow::Each(codes.iter().map(|code| of_entry[*code as usize]).collect())
            }
            (FieldValues::Integers { values, .. }, Some(of_number)) => {
                PerRow::Each(values.iter().map(|v| of_number(*v as f64)).collect())
            }
            (FieldValues::Integers { values, .. }, None) => {
                let mut known = HashMap::new();
                let rows = values.iter().enumerate();
                PerRow::Each(
                    rows.map(|(row, value)| *known.entry(*value).or_insert_with(|| of_row(row)))
                        .collect(),
                )
            }
            (
                FieldValues::Decimals {
                    scales, mantissas, ..
                },
                Some(of_number),
            ) => {
                let numbers = mantissas.iter().zip(scales).enumerate();
                PerRow::Each(
                    numbers
                        .map(
                            |(row, (mantissa, scale))| match decimal(*mantissa, *scale) {
                                Some(number) => of_number(number),
                                None => of_row(row),
                            },
                        )
                        .collect(),
                )
            }
            (FieldValues::Decimals { mantissas, .. }, None) => {
                PerRow::Each((0..mantissas.len()).map(of_row).collect())
            }
            (FieldValues::Each(texts), _) => {
                PerRow::Each((0..texts.len()).map(|at| of_bytes(texts.get(at))).collect())
            }
        }
    }

    /// Which entries a filter keeps.
    pub fn filtered(&self, filter: &LabelFilter) -> PerRow<Outcome> {
        match filter {
            LabelFilter::Text(matcher) => {
                let matches = |text: Option<&str>| Outcome::of(matcher.matches(text.unwrap_or("")));
                self.map(&matcher.name, &matches, None)
            }
            LabelFilter::Compare(compare) => self.compared(compare),
            LabelFilter::Ip(ip) => self.map(ip.label(), &|text| Outcome::of(ip.holds(text)), None),
            LabelFilter::And(sides) => self
                .filtered(&sides.0)
                .with(&self.filtered(&sides.1), Outcome::and),
            LabelFilter::Or(sides) => self
                .filtered(&sides.0)
                .with(&self.filtered(&sides.1), Outcome::or),
        }
    }

    fn compared(&self, compare: &Compare) -> PerRow<Outcome> {
        let of_text = |text: Option<&str>| match text.map(|text| compare.of_text(text)) {
            None => Outcome::Fail,
            Some(Ok(passes)) => Outcome::of(passes),
            Some(Err(_)) => Outcome::Doubt,
        };
        match compare.of_number() {
            Some(passes) => {
                let of_number = |number| Outcome::of(passes(number));
                self.map(compare.label(), &of_text, Some(&of_number))
            }
            None => self.map(compare.label(), &of_text, None),
        }
    }

    /// Which entries pass all filters.
    pub fn passing<'f>(&self, filters: impl Iterator<Item = &'f LabelFilter>) -> PerRow<Outcome> {
        let mut all = PerRow::All(Outcome::Pass);
        for filter in filters {
            all = all.then(&self.filtered(filter));
            if all == PerRow::All(Outcome::Fail) {
                break;
            }
        }
        all
    }

    /// The values of the unwrapped label, and whether an entry has one.
    pub fn unwrapped(&self, unwrap: &Unwrap) -> PerRow<(Outcome, f64)> {
        let of_text = |text: Option<&str>| match text.filter(|text| !text.is_empty()) {
            None => (Outcome::Fail, 0.0),
            Some(text) => match unwrap.converted(text) {
                Ok(value) => (Outcome::Pass, value),
                Err(_) => (Outcome::Doubt, 0.0),
            },
        };
        match unwrap.conversion {
            Conversion::Number => {
                let of_number = |number| (Outcome::Pass, number);
                self.map(&unwrap.label, &of_text, Some(&of_number))
            }
            Conversion::Bytes | Conversion::Duration => self.map(&unwrap.label, &of_text, None),
        }
    }

    /// A number for each entry, the same for entries whose labels of these names are the same.
    pub fn keys(&self, names: &[String]) -> PerRow<u32> {
        let mut keys = PerRow::All(0);
        let mut n = 1;
        for name in names {
            let Source::Column(field) = self.source(name) else {
                continue;
            };
            let (codes, n_codes) = codes(&field.values);
            (keys, n) = match (keys, n) {
                (_, 1) => (codes, n_codes),
                (keys, _) => joined(keys, &codes),
            };
        }
        keys
    }

    /// Makes the record an entry of the group, parsed.
    pub fn fill(&self, record: &mut Record<'_>, time_ns: i64, row: usize) {
        record.reset(time_ns, b"");
        let mut bytes = Vec::new();
        for (name, field) in self.names.iter().zip(&self.group.fields) {
            let Some(field) = field else {
                continue;
            };
            bytes.clear();
            field.values.put(row, &mut bytes);
            if let Some(text) = self.text(field.form, &bytes) {
                record.labels.extract(name, &text);
            }
        }
    }
}

/// The number that `mantissa / 10^scale` is read as, when one division gives it.
fn decimal(mantissa: i64, scale: i64) -> Option<f64> {
    const POWERS: [f64; 19] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17, 1e18,
    ];
    // Both are exact, so the quotient is rounded once.
    let power = POWERS.get(usize::try_from(scale).ok()?)?;
    (mantissa.unsigned_abs() <= EXACT_MAX).then(|| mantissa as f64 / power)
}

/// A number for each value, the same for the same bytes, and how many there are.
fn codes(values: &FieldValues) -> (PerRow<u32>, usize) {
    match values {
        FieldValues::Same(_) => (PerRow::All(0), 1),
        FieldValues::Coded { entries, codes } => (PerRow::Each(codes.clone()), entries.len()),
        FieldValues::Integers { values, .. } => integer_codes(values),
        FieldValues::Decimals {
            scales, mantissas, ..
        } => numbered(mantissas.iter().zip(scales)),
        FieldValues::Each(texts) => numbered((0..texts.len()).map(|at| texts.get(at))),
    }
}

fn numbered<T: Eq + std::hash::Hash>(values: impl Iterator<Item = T>) -> (PerRow<u32>, usize) {
    let mut known: HashMap<T, u32> = HashMap::new();
    let mut codes = Vec::with_capacity(values.size_hint().0);
    for value in values {
        let next = known.len() as u32;
        codes.push(*known.entry(value).or_insert(next));
    }
    (PerRow::Each(codes), known.len())
}

fn integer_codes(values: &[i64]) -> (PerRow<u32>, usize) {
    let (Some(min), Some(max)) = (values.iter().min(), values.iter().max()) else {
        return (PerRow::All(0), 1);
    };
    if i128::from(*max) - i128::from(*min) >= TABLE_MAX {
        return numbered(values.iter());
    }
    let mut n = 0;
    let mut table = vec![u32::MAX; (max - min) as usize + 1];
    let codes = values.iter().map(|value| {
        let code = &mut table[(value - min) as usize];
        if *code == u32::MAX {
            *code = n;
            n += 1;
        }
        *code
    });
    let codes = codes.collect();
    (PerRow::Each(codes), n as usize)
}

/// Numbers of pairs of numbers.
fn joined(a: PerRow<u32>, b: &PerRow<u32>) -> (PerRow<u32>, usize) {
    match a.with(b, |a, b| u64::from(a) << 32 | u64::from(b)) {
        PerRow::All(_) => (PerRow::All(0), 1),
        PerRow::Each(pairs) => numbered(pairs.into_iter()),
    }
}
