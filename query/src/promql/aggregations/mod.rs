//! Aggregations over series: `sum by (job) (x)` and the like.
//!
//! An aggregation is one constant (name, parameter, documentation, body) and one line in [`ALL`].
//! Groups are worked out once from the labels; bodies then fold columns.

mod count_values;
mod fold;
mod pick;
mod quantile;

use kansoku_model::Labels;
use kansoku_model::labels::METRIC_NAME;

use super::ast::{Aggregate, ValueType};
use super::error::QueryError;
use super::evaluate::Evaluator;
use super::label_groups::LabelGroups;
use super::value::{Column, Grid, Value};

pub(super) use quantile::quantile_of;

/// One aggregation.
#[derive(Debug)]
pub struct Aggregation {
    pub name: &'static str,
    /// The type of the parameter before the vector, if there is one.
    pub parameter: Option<ValueType>,
    pub doc: &'static str,
    pub(super) eval: fn(Input<'_, '_>) -> Result<Vec<Column>, QueryError>,
}

/// All aggregations, by name.
pub const ALL: &[&Aggregation] = &[
    &fold::AVG,
    &pick::BOTTOMK,
    &fold::COUNT,
    &count_values::COUNT_VALUES,
    &fold::GROUP,
    &pick::LIMIT_RATIO,
    &pick::LIMITK,
    &fold::MAX,
    &fold::MIN,
    &quantile::QUANTILE,
    &fold::STDDEV,
    &fold::STDVAR,
    &fold::SUM,
    &pick::TOPK,
];

/// The aggregation called `name`, which is in lower case.
#[must_use]
pub fn find(name: &str) -> Option<&'static Aggregation> {
    ALL.iter().find(|a| a.name == name).copied()
}

/// The series of one group.
#[derive(Debug)]
pub(super) struct Group {
    pub labels: Labels,
    pub drop_name: bool,
    /// Indices of columns.
    pub members: Vec<usize>,
}

/// What an aggregation works on.
pub(super) struct Input<'e, 'a> {
    pub ev: &'e Evaluator<'a>,
    pub node: &'e Aggregate,
    pub grid: &'e Grid,
    pub columns: Vec<Column>,
    /// In order of first appearance.
    pub groups: Vec<Group>,
    pub parameter: Option<Value>,
}

impl Input<'_, '_> {
    /// Says that histograms are left out, if there are any.
    fn ignore_histograms(&self, name: &str) {
        if self
            .columns
            .iter()
            .any(|c| c.histograms.iter().any(Option::is_some))
        {
            let text = format!("ignored histogram in {name} aggregation");
            self.ev.inform(self.node.operand.span, text);
        }
    }

    /// The scalar parameter at each step.
    fn scalars(&self) -> &[f64] {
        match &self.parameter {
            Some(Value::Scalar(values)) => values,
            _ => &[],
        }
    }
}

pub(super) fn eval(
    ev: &Evaluator<'_>,
    node: &Aggregate,
    grid: &Grid,
) -> Result<Vec<Column>, QueryError> {
    let parameter = match &node.parameter {
        Some(parameter) => Some(ev.eval(parameter, grid)?),
        None => None,
    };
    let columns = ev.vector(&node.operand, grid)?;
    let groups = groups(node, &columns);
    (node.op.eval)(Input {
        ev,
        node,
        grid,
        columns,
        groups,
        parameter,
    })
}

fn groups(node: &Aggregate, columns: &[Column]) -> Vec<Group> {
    let mut found = LabelGroups::default();
    let mut groups: Vec<Group> = Vec::new();
    let listed = |name: &str| node.grouping.iter().any(|l| l == name);
    for (member, column) in columns.iter().enumerate() {
        let (at, new) = if node.without {
            let keep = |name: &str| name != METRIC_NAME && !listed(name);
            found.number(&column.labels, keep)
        } else {
            found.number(&column.labels, listed)
        };
        groups.extend(new.map(|labels| Group {
            labels,
            drop_name: false,
            members: Vec::new(),
        }));
        groups[at].members.push(member);
        groups[at].drop_name |= column.drop_name;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_by_eye_unique_and_documented() {
        let mut names: Vec<&str> = ALL.iter().map(|a| a.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for aggregation in ALL {
            assert!(aggregation.doc.ends_with('.'), "{}", aggregation.name);
            assert!(find(aggregation.name).is_some());
        }
    }
}
