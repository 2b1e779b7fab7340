//! Operators between two values: arithmetic, comparisons and sets, with vector matching.
//!
//! Matching is worked out once for all steps; only duplicates are looked for step by step.

use std::sync::Arc;

use kansoku_model::Labels;
use kansoku_model::labels::METRIC_NAME;

use super::ast::{Binary, BinaryOp, Cardinality, Matching};
use super::error::QueryError;
use super::evaluate::{Evaluator, SAME_LABELSET};
use super::label_groups::LabelGroups;
use super::native::{FloatHistogram, ResetHint};
use super::notes;
use super::value::{ABSENT, Column, Grid, Point, Value, is_absent};
use crate::number::quote;

const EXPLICIT: &str =
    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
const UNIQUE: &str = "multiple matches for labels: grouping labels must ensure unique matches";

pub(super) fn eval(ev: &Evaluator<'_>, node: &Binary, grid: &Grid) -> Result<Value, QueryError> {
    let left = ev.eval(&node.left, grid)?;
    let right = ev.eval(&node.right, grid)?;
    match (left, right) {
        (Value::Scalar(_), Value::Scalar(_)) if node.op.is_trim() => {
            Err(QueryError::Execution(format!(
                "operator {} not allowed for operations between scalars",
                quote(node.op.as_str())
            )))
        }
        (Value::Scalar(mut a), Value::Scalar(b)) => {
            for (a, b) in a.iter_mut().zip(b) {
                *a = if node.op.is_comparison() {
                    f64::from(u8::from(compare(node.op, *a, b)))
                } else {
                    arithmetic(node.op, *a, b)
                };
            }
            Ok(Value::Scalar(a))
        }
        (Value::Vector(columns), Value::Scalar(scalars)) => {
            vector_scalar(ev, node, columns, &scalars, false).map(Value::Vector)
        }
        (Value::Scalar(scalars), Value::Vector(columns)) => {
            vector_scalar(ev, node, columns, &scalars, true).map(Value::Vector)
        }
        (Value::Vector(left), Value::Vector(right)) if node.op.is_set() => {
            set(ev, node, left, right).map(Value::Vector)
        }
        (Value::Vector(left), Value::Vector(right)) => {
            vectors(ev, node, left, right, grid).map(Value::Vector)
        }
        _ => Err(QueryError::Execution(
            "binary expression must contain only scalar and instant vector types".to_owned(),
        )),
    }
}

/// The arithmetic operators.
pub(super) fn arithmetic(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Atan2 => a.atan2(b),
        _ => f64::NAN,
    }
}

fn compare(op: BinaryOp, a: f64, b: f64) -> bool {
    match op {
        BinaryOp::Equal => a == b,
        BinaryOp::NotEqual => a != b,
        BinaryOp::Greater => a > b,
        BinaryOp::Less => a < b,
        BinaryOp::GreaterEqual => a >= b,
        BinaryOp::LessEqual => a <= b,
        _ => false,
    }
}

/// The value of `a op b`; `kept` is what a comparison that holds keeps.
fn element(node: &Binary, a: f64, b: f64, kept: f64) -> f64 {
    if node.op.is_trim() {
        return ABSENT;
    }
    if !node.op.is_comparison() {
        return arithmetic(node.op, a, b);
    }
    let holds = compare(node.op, a, b);
    if node.return_bool {
        f64::from(u8::from(holds))
    } else if holds {
        kept
    } else {
        ABSENT
    }
}

/// `a op b` when one of them is a histogram; what has no meaning is left out with a note.
fn with_histogram(ev: &Evaluator<'_>, node: &Binary, a: &Point, b: &Point) -> Option<Point> {
    let changed = |h: &Arc<FloatHistogram>, change: &dyn Fn(&mut FloatHistogram)| {
        let mut result = FloatHistogram::clone(h);
        change(&mut result);
        Some(Point::Histogram(Arc::new(result.compact())))
    };
    let kept = |holds: bool| match (node.return_bool, holds) {
        (true, holds) => Some(Point::Float(f64::from(u8::from(holds)))),
        (false, true) => Some(a.clone()),
        (false, false) => None,
    };
    match (a, node.op, b) {
        (Point::Float(f), BinaryOp::Mul, Point::Histogram(h))
        | (Point::Histogram(h), BinaryOp::Mul, Point::Float(f)) => changed(h, &|h| h.multiply(*f)),
        (Point::Histogram(h), BinaryOp::Div, Point::Float(f)) => changed(h, &|h| h.divide(*f)),
        (Point::Histogram(h), BinaryOp::TrimUpper | BinaryOp::TrimLower, Point::Float(f)) => {
            let keeps_below = node.op == BinaryOp::TrimUpper;
            let trimmed = FloatHistogram::clone(h).trim(*f, keeps_below);
            Some(Point::Histogram(Arc::new(trimmed)))
        }
        (Point::Histogram(a), BinaryOp::Add | BinaryOp::Sub, Point::Histogram(b)) => {
            sum_of_two(ev, node, a, b)
        }
        (Point::Histogram(a), BinaryOp::Equal, Point::Histogram(b)) => kept(are_equal(a, b)),
        (Point::Histogram(a), BinaryOp::NotEqual, Point::Histogram(b)) => kept(!are_equal(a, b)),
        _ => {
            incompatible(ev, node, a, b);
            None
        }
    }
}

fn incompatible(ev: &Evaluator<'_>, node: &Binary, a: &Point, b: &Point) {
    let kind = |point: &Point| match point {
        Point::Float(_) => "float",
        Point::Histogram(_) => "histogram",
    };
    let op = node.op.as_str();
    let text = format!(
        "incompatible sample types encountered for binary operator {}: {} {op} {}",
        quote(op),
        kind(a),
        kind(b)
    );
    ev.inform(node.span(), text);
}

fn are_equal(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    let (a, b) = (a.clone().compact(), b.clone().compact());
    FloatHistogram { hint: b.hint, ..a } == b
}

fn sum_of_two(
    ev: &Evaluator<'_>,
    node: &Binary,
    a: &FloatHistogram,
    b: &FloatHistogram,
) -> Option<Point> {
    let is_sum = node.op == BinaryOp::Add;
    let mut result = a.clone();
    let joined = match is_sum {
        true => result.add(b),
        false => result.subtract(b),
    };
    let Ok(joined) = joined else {
        let op = node.op.as_str();
        let text = format!("incompatible bucket layout encountered for binary operator {op}");
        ev.warn(node.span(), text);
        return None;
    };
    let operation = if is_sum { "addition" } else { "subtraction" };
    if joined.hints_collide {
        ev.warn(node.span(), notes::hints_collide(operation));
    }
    if joined.bounds_differed {
        ev.inform(node.span(), notes::bounds_differed(operation));
    }
    if !is_sum {
        result.hint = ResetHint::Gauge;
    }
    Some(Point::Histogram(Arc::new(result.compact())))
}

/// `a op b` of samples of any kind.
fn of_points(ev: &Evaluator<'_>, node: &Binary, a: &Point, b: &Point) -> Option<Point> {
    match (a, b) {
        (Point::Float(_), Point::Float(_)) if node.op.is_trim() => with_histogram(ev, node, a, b),
        (Point::Float(a), Point::Float(b)) => {
            let value = element(node, *a, *b, *a);
            (!is_absent(value)).then_some(Point::Float(value))
        }
        _ => with_histogram(ev, node, a, b),
    }
}

fn vector_scalar(
    ev: &Evaluator<'_>,
    node: &Binary,
    mut columns: Vec<Column>,
    scalars: &[f64],
    scalar_is_left: bool,
) -> Result<Vec<Column>, QueryError> {
    let drops_name = node.op.drops_name() || node.return_bool;
    for column in &mut columns {
        (ev.check)()?;
        if node.op.is_trim() && column.values.iter().any(|v| !is_absent(*v)) {
            incompatible(ev, node, &Point::Float(0.0), &Point::Float(0.0));
        }
        if !column.histograms.is_empty() {
            let mut result = Column::new(column.labels.clone(), column.drop_name);
            for (step, scalar) in scalars.iter().enumerate() {
                let scalar = Point::Float(*scalar);
                result.push(column.point(step).and_then(|point| match point {
                    Point::Float(value) => {
                        let (a, b) = if scalar_is_left {
                            (scalars[step], value)
                        } else {
                            (value, scalars[step])
                        };
                        let value = element(node, a, b, value);
                        (!is_absent(value)).then_some(Point::Float(value))
                    }
                    histogram @ Point::Histogram(_) if scalar_is_left => {
                        with_histogram(ev, node, &scalar, &histogram)
                    }
                    histogram @ Point::Histogram(_) => {
                        with_histogram(ev, node, &histogram, &scalar)
                    }
                }));
            }
            ev.hold(super::value::weight(result.histograms.iter().flatten()))?;
            *column = result;
        }
        for (value, scalar) in column
            .values
            .iter_mut()
            .zip(scalars)
            .filter(|_| column.histograms.is_empty())
        {
            if !is_absent(*value) {
                // The vector's value is kept whichever side it is on.
                *value = if scalar_is_left {
                    element(node, *scalar, *value, *value)
                } else {
                    element(node, *value, *scalar, *value)
                };
            }
        }
        if drops_name {
            ev.drop_name(column);
        }
    }
    columns.retain(Column::any_present);
    if drops_name {
        ev.merge(columns, SAME_LABELSET)
    } else {
        Ok(columns)
    }
}

/// The labels that decide which series meet.
fn signature(matching: &Matching, labels: &Labels) -> Labels {
    labels.filtered(|name| is_matched(matching, name))
}

fn is_matched(matching: &Matching, name: &str) -> bool {
    let is_named = matching.labels.iter().any(|l| l == name);
    is_named == matching.on && (matching.on || name != METRIC_NAME)
}

/// The columns of both sides that have one signature, by index.
#[derive(Default)]
struct Group {
    left: Vec<usize>,
    right: Vec<usize>,
}

/// Groups in order of first appearance, left side first.
fn groups(matching: &Matching, left: &[Column], right: &[Column]) -> Vec<(Labels, Group)> {
    let mut found = LabelGroups::default();
    let mut groups: Vec<(Labels, Group)> = Vec::new();
    let mut at = |labels: &Labels, groups: &mut Vec<(Labels, Group)>| {
        let (at, new) = found.number(labels, |name| is_matched(matching, name));
        groups.extend(new.map(|labels| (labels, Group::default())));
        at
    };
    for (i, column) in left.iter().enumerate() {
        let group = at(&column.labels, &mut groups);
        groups[group].1.left.push(i);
    }
    for (i, column) in right.iter().enumerate() {
        let group = at(&column.labels, &mut groups);
        groups[group].1.right.push(i);
    }
    groups
}

fn presence(columns: &[Column], members: &[usize], n_steps: usize) -> Vec<bool> {
    let mut present = vec![false; n_steps];
    for column in members.iter().map(|m| &columns[*m]) {
        for (step, flag) in present.iter_mut().enumerate() {
            *flag |= column.is_present(step);
        }
    }
    present
}

fn mask(column: &mut Column, present: &[bool], keep_where: bool) {
    for (step, flag) in present.iter().enumerate() {
        if *flag != keep_where {
            column.remove(step);
        }
    }
}

fn set(
    ev: &Evaluator<'_>,
    node: &Binary,
    mut left: Vec<Column>,
    mut right: Vec<Column>,
) -> Result<Vec<Column>, QueryError> {
    let n_steps = left
        .iter()
        .chain(&right)
        .map(|c| c.values.len())
        .next()
        .unwrap_or(0);
    let groups = groups(&node.matching, &left, &right);
    for (_, group) in &groups {
        (ev.check)()?;
        if node.op == BinaryOp::Or {
            if !group.left.is_empty() && !group.right.is_empty() {
                let present = presence(&left, &group.left, n_steps);
                for member in &group.right {
                    mask(&mut right[*member], &present, false);
                }
            }
        } else if !group.left.is_empty() {
            let present = presence(&right, &group.right, n_steps);
            for member in &group.left {
                mask(&mut left[*member], &present, node.op == BinaryOp::And);
            }
        }
    }
    if node.op == BinaryOp::Or {
        left.append(&mut right);
    }
    left.retain(Column::any_present);
    if node.op == BinaryOp::Or {
        ev.merge(left, SAME_LABELSET)
    } else {
        Ok(left)
    }
}

fn duplicate_error(
    matching: &Matching,
    group: &Labels,
    newer: &Labels,
    older: &Labels,
    side: &str,
) -> QueryError {
    let shown = if matching.on {
        group.clone()
    } else {
        signature(matching, newer)
    };
    QueryError::Execution(format!(
        "found duplicate series for the match group {shown} on the {side} hand-side of the \
         operation: [{older}, {newer}];many-to-many matching not allowed: matching labels must be \
         unique on one side"
    ))
}

/// Which column of the "one" side is present at each step.
fn one_per_step(
    node: &Binary,
    key: &Labels,
    columns: &[Column],
    members: &[usize],
    active: &[bool],
    side: &str,
) -> Result<Vec<Option<usize>>, QueryError> {
    let mut one: Vec<Option<usize>> = vec![None; active.len()];
    for member in members {
        for step in 0..active.len() {
            if !columns[*member].is_present(step) || !active[step] {
                continue;
            }
            if let Some(other) = one[step] {
                let (newer, older) = (&columns[*member].labels, &columns[other].labels);
                return Err(duplicate_error(&node.matching, key, newer, older, side));
            }
            one[step] = Some(*member);
        }
    }
    Ok(one)
}

fn vectors(
    ev: &Evaluator<'_>,
    node: &Binary,
    left: Vec<Column>,
    right: Vec<Column>,
    grid: &Grid,
) -> Result<Vec<Column>, QueryError> {
    let swapped = node.matching.cardinality == Cardinality::OneToMany;
    let (many, one) = if swapped {
        (right, left)
    } else {
        (left, right)
    };
    // As in Prometheus, `fill_left` is for the many side also when that is the right one.
    let fill = node.matching.fill;
    let everyone = |columns: &[Column]| {
        presence(
            columns,
            &(0..columns.len()).collect::<Vec<_>>(),
            grid.n_steps,
        )
    };
    let (any_many, any_one) = (everyone(&many), everyone(&one));
    // A step with an empty side and nothing to fill it is empty, whatever the other side holds.
    let active: Vec<bool> = any_many
        .iter()
        .zip(&any_one)
        .map(|(m, o)| (*m || fill[0].is_some()) && (*o || fill[1].is_some()))
        .collect();
    let pairing = Pairing {
        ev,
        node,
        many: &many,
        one: &one,
        fill,
        swapped,
        active,
    };
    let mut out = Vec::new();
    for (key, group) in groups(&node.matching, &many, &one) {
        (ev.check)()?;
        pairing.group(&key, &group, grid, &mut out)?;
    }
    let conflict = if node.matching.cardinality == Cardinality::OneToOne {
        EXPLICIT
    } else {
        UNIQUE
    };
    ev.merge(out, conflict)
}

struct Pairing<'p> {
    ev: &'p Evaluator<'p>,
    node: &'p Binary,
    many: &'p [Column],
    one: &'p [Column],
    /// Values for a missing many side and a missing one side.
    fill: [Option<f64>; 2],
    swapped: bool,
    active: Vec<bool>,
}

impl Pairing<'_> {
    fn group(
        &self,
        key: &Labels,
        group: &Group,
        grid: &Grid,
        out: &mut Vec<Column>,
    ) -> Result<(), QueryError> {
        let side = if self.swapped { "left" } else { "right" };
        let ones = one_per_step(self.node, key, self.one, &group.right, &self.active, side)?;
        if self.node.matching.cardinality == Cardinality::OneToOne && group.left.len() > 1 {
            self.no_two_at_once(group, &ones)?;
        }
        for member in &group.left {
            self.pair(*member, group, &ones, grid, out)?;
        }
        if self.fill[0].is_some() {
            self.fill_many(key, group, &ones, grid, out)?;
        }
        Ok(())
    }

    /// One series of the many side with whatever the one side has at each step: a column for each
    /// partner, as labels may be taken from it.
    fn pair(
        &self,
        member: usize,
        group: &Group,
        ones: &[Option<usize>],
        grid: &Grid,
        out: &mut Vec<Column>,
    ) -> Result<(), QueryError> {
        let many = &self.many[member];
        let partners = group.right.iter().map(|p| Some(*p));
        let nobody = self.fill[1].is_some().then_some(None);
        for partner in partners.chain(nobody) {
            let one = partner.map(|p| &self.one[p]);
            self.ev.hold(grid.n_steps)?;
            let has_histograms = |c: &Column| !c.histograms.is_empty();
            if has_histograms(many) || one.is_some_and(has_histograms) {
                self.pair_points(many, one, (partner, ones), out);
                continue;
            }
            let values: Vec<f64> = (0..grid.n_steps)
                .map(|step| {
                    if ones[step] != partner || !self.active[step] {
                        return ABSENT;
                    }
                    let one = one.map_or(self.fill[1].unwrap_or(ABSENT), |c| c.values[step]);
                    self.element(many.values[step], one)
                })
                .collect();
            let labels = self.labels(&many.labels, one.map(|c| &c.labels));
            self.put(Column::floats(labels, many.drop_name, values), out);
        }
        Ok(())
    }

    /// As `pair`, of samples of either kind.
    fn pair_points(
        &self,
        many: &Column,
        one: Option<&Column>,
        (partner, ones): (Option<usize>, &[Option<usize>]),
        out: &mut Vec<Column>,
    ) {
        let labels = self.labels(&many.labels, one.map(|c| &c.labels));
        let mut column = Column::new(labels, many.drop_name);
        for (step, met) in ones.iter().enumerate() {
            let meets = *met == partner && self.active[step];
            let other = match one {
                Some(one) => one.point(step),
                None => self.fill[1].map(Point::Float),
            };
            let both = many.point(step).zip(other).filter(|_| meets);
            column.push(both.and_then(|(many, one)| self.of_points(&many, &one)));
        }
        self.put(column, out);
    }

    fn of_points(&self, many: &Point, one: &Point) -> Option<Point> {
        let (a, b) = if self.swapped {
            (one, many)
        } else {
            (many, one)
        };
        of_points(self.ev, self.node, a, b)
    }

    /// Where no series of the many side is present, the fill value stands for it.
    fn fill_many(
        &self,
        key: &Labels,
        group: &Group,
        ones: &[Option<usize>],
        grid: &Grid,
        out: &mut Vec<Column>,
    ) -> Result<(), QueryError> {
        let Some(fill) = self.fill[0] else {
            return Ok(());
        };
        let present = presence(self.many, &group.left, grid.n_steps);
        for partner in &group.right {
            let one = &self.one[*partner];
            self.ev.hold(grid.n_steps)?;
            let mut column = Column::new(self.labels(key, Some(&one.labels)), false);
            for step in 0..grid.n_steps {
                let is_met = present[step] || ones[step] != Some(*partner);
                let one = one.point(step).filter(|_| !is_met);
                column.push(one.and_then(|one| self.of_points(&Point::Float(fill), &one)));
            }
            self.put(column, out);
        }
        Ok(())
    }

    fn put(&self, mut column: Column, out: &mut Vec<Column>) {
        if !column.any_present() {
            return;
        }
        if self.node.op.drops_name() || self.node.return_bool {
            self.ev.drop_name(&mut column);
        }
        out.push(column);
    }

    fn element(&self, many: f64, one: f64) -> f64 {
        if is_absent(many) || is_absent(one) {
            return ABSENT;
        }
        if self.node.op.is_trim() {
            let float = Point::Float(many);
            incompatible(self.ev, self.node, &float, &float);
            return ABSENT;
        }
        let (a, b) = if self.swapped {
            (one, many)
        } else {
            (many, one)
        };
        element(self.node, a, b, a)
    }

    fn labels(&self, many: &Labels, one: Option<&Labels>) -> Labels {
        let matching = &self.node.matching;
        let mut labels = if matching.cardinality == Cardinality::OneToOne {
            let named = |name: &str| matching.labels.iter().any(|l| l == name);
            many.filtered(|name| named(name) == matching.on)
        } else {
            many.clone()
        };
        for name in &matching.include {
            let value = one.and_then(|one| one.get(name)).unwrap_or("");
            labels = labels.with(name, value);
        }
        labels
    }

    /// Several series of one side must not meet the same series of the other, even where a
    /// comparison then leaves at most one.
    fn no_two_at_once(&self, group: &Group, ones: &[Option<usize>]) -> Result<(), QueryError> {
        for (step, one) in ones.iter().enumerate() {
            let met = one.is_some() || self.fill[1].is_some();
            let present = |m: &&usize| self.many[**m].is_present(step);
            if met && self.active[step] && group.left.iter().filter(present).count() > 1 {
                return Err(QueryError::Execution(EXPLICIT.to_owned()));
            }
        }
        Ok(())
    }
}
