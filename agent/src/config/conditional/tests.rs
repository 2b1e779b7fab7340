//! Conditions over small batches, and filters behind them.

use kansoku_model::{Place, Position};

use super::*;

/// Drops records whose `x` is `drop`, marks the others.
struct Marker;

impl Filter for Marker {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        let accessor = Accessor::new("x").expect("valid");
        let keep: Vec<bool> = {
            let reading = accessor.over(batch);
            (0..batch.len())
                .map(|r| reading.text(r).as_deref() != Some(b"drop"))
                .collect()
        };
        batch.retain(|row| keep[row]);
        for row in 0..batch.len() {
            batch.set_text("seen", row, b"1");
        }
    }
}

fn run(any: bool, rules: &[(&str, Operator, Operand)]) -> String {
    let mut batch = LogBatch::new("t".into(), std::sync::Arc::default(), Vec::new());
    for (i, (x, n)) in [("a", "1"), ("drop", "2"), ("b", "3.5z"), ("", "4")]
        .iter()
        .enumerate()
    {
        let row = batch.push(i as i64, Position::at(i as u64));
        if !x.is_empty() {
            batch.set_text("x", row, x.as_bytes());
        }
        batch.set_text("n", row, n.as_bytes());
        let object = batch.store(format!("{{\"m\":\"{n}\"}}").as_bytes());
        batch.set_metadata(row, object);
    }
    let rules = rules.iter().map(|(field, operator, value)| Rule {
        place: Place::default(),
        context: if *field == "$m" {
            Context::Metadata
        } else {
            Context::Body
        },
        field: (*field).into(),
        operator: *operator,
        value: value.clone(),
    });
    let condition = Condition {
        place: Place::default(),
        is_default: false,
        any,
        rules: rules.collect(),
    };
    let filter = wrap(Box::new(Marker), &condition).expect("valid");
    filter.apply(&mut batch, &mut FilterContext::default());
    let texts = |key: &str| {
        let accessor = Accessor::new(key).expect("valid");
        let reading = accessor.over(&batch);
        (0..batch.len())
            .map(|r| {
                reading
                    .text(r)
                    .map_or("-".into(), |t| String::from_utf8_lossy(&t).into_owned())
            })
            .collect::<Vec<_>>()
    };
    let (n, seen) = (texts("n"), texts("seen"));
    n.iter()
        .zip(seen)
        .map(|(n, s)| format!("{n}:{s}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn only_matching_records_are_filtered_and_the_order_stays() {
    let text = |t: &str| Operand::Text(t.into());
    let list = |t: &[&str]| Operand::List(t.iter().map(|t| (*t).into()).collect());
    for (any, rules, expected) in [
        (
            false,
            vec![("$x", Operator::Equal, text("b"))],
            "1:- 2:- 3.5z:1 4:-",
        ),
        (
            false,
            // The last record has no x: an empty text.
            vec![("$x", Operator::NotEqual, text("b"))],
            "1:1 3.5z:- 4:1",
        ),
        (
            false,
            vec![("$n", Operator::Greater, text("2"))],
            "1:- 2:- 3.5z:1 4:1",
        ),
        (
            false,
            vec![("$n", Operator::LessOrEqual, text("2"))],
            "1:1 3.5z:- 4:-",
        ),
        (
            false,
            vec![("$n", Operator::Matches, text("^[0-9]$"))],
            "1:1 3.5z:- 4:1",
        ),
        (
            false,
            vec![("$n", Operator::Matches, text("^(?!2)[0-9](?=$|\\.)"))],
            "1:1 2:- 3.5z:1 4:1",
        ),
        (
            false,
            vec![("$n", Operator::MatchesNot, text("(?<=3)\\.5"))],
            "1:1 3.5z:- 4:1",
        ),
        (
            false,
            vec![("$x", Operator::In, list(&["a", "b"]))],
            "1:1 2:- 3.5z:1 4:-",
        ),
        (
            false,
            vec![("$x", Operator::NotIn, list(&["a", "b"]))],
            "1:- 3.5z:- 4:1",
        ),
        (
            true,
            vec![
                ("$x", Operator::Equal, text("a")),
                ("$n", Operator::Equal, text("4")),
            ],
            "1:1 2:- 3.5z:- 4:1",
        ),
        (
            false,
            vec![
                ("$x", Operator::Equal, text("a")),
                ("$n", Operator::Equal, text("4")),
            ],
            "1:- 2:- 3.5z:- 4:-",
        ),
        (
            false,
            vec![("$m", Operator::Equal, text("4"))],
            "1:- 2:- 3.5z:- 4:1",
        ),
        (
            false,
            vec![("$n", Operator::GreaterOrEqual, text("0"))],
            "1:1 3.5z:1 4:1",
        ),
    ] {
        assert_eq!(run(any, &rules), expected, "{rules:?}");
    }
}

#[test]
fn contexts_are_parts_of_the_group() {
    let attributes = [
        ("service.name", "shop"),
        ("otel.scope.name", "lib"),
        ("otel.scope.version", "2"),
        ("otel.scope.team", "core"),
    ];
    let resource = kansoku_model::Resource {
        attributes: attributes
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .to_vec(),
        ..kansoku_model::Resource::default()
    };
    let holds =
        |resource: &kansoku_model::Resource, context, field: &str, operator, value: &str| {
            let resource = std::sync::Arc::new(resource.clone());
            let mut batch = LogBatch::new("t".into(), resource, Vec::new());
            batch.push(0, Position::at(1));
            let object = batch.store(br#"{"otlp":{}}"#);
            batch.set_metadata(0, object);
            let tests = Tests::new(&Condition {
                place: Place::default(),
                is_default: false,
                any: false,
                rules: vec![Rule {
                    place: Place::default(),
                    context,
                    field: field.into(),
                    operator,
                    value: Operand::Text(value.into()),
                }],
            });
            tests.expect("valid").matching(&batch)[0]
        };
    let equal = |context, field, value| holds(&resource, context, field, Operator::Equal, value);
    for (context, field, value) in [
        (Context::Resource, "$['service.name']", "shop"),
        (Context::Resource, "$['otel.scope.name']", ""),
        (Context::Scope, "$name", "lib"),
        (Context::Scope, "$version", "2"),
        (Context::Scope, "$team", ""),
        (Context::ScopeAttributes, "$team", "core"),
        (Context::ScopeAttributes, "$name", ""),
        (
            Context::Group,
            "$resource['attributes']['service.name']",
            "shop",
        ),
        (Context::Group, "$scope['version']", "2"),
        (Context::Group, "$scope['attributes']['team']", "core"),
        (Context::GroupMetadata, "$schema", "otlp"),
    ] {
        assert!(equal(context, field, value), "{context:?} {field}");
    }
    // Without a group nothing holds.
    let none = kansoku_model::Resource::default();
    for context in [
        Context::Resource,
        Context::Scope,
        Context::ScopeAttributes,
        Context::Group,
    ] {
        assert!(
            !holds(&none, context, "$x", Operator::NotEqual, "y"),
            "{context:?}"
        );
    }
}

/// Makes three of each record.
struct Three;

impl Filter for Three {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        batch.repeat_rows(&vec![3; batch.len()]);
    }

    fn splits(&self) -> bool {
        true
    }
}

#[test]
fn positions_stay_apart_where_only_some_records_are_split() {
    let condition = Condition {
        place: Place::default(),
        is_default: false,
        any: true,
        rules: vec![Rule {
            place: Place::default(),
            field: "$x".into(),
            operator: Operator::Equal,
            value: Operand::Text("split".into()),
            context: Context::Body,
        }],
    };
    let filter = wrap(Box::new(Three), &condition).expect("valid");
    // Parts of one line, all at its offset, over three batches.
    let mut all = Vec::new();
    let mut ordinal = 0;
    for records in [&["split", "no"][..], &["no"], &["no", "split"]] {
        let mut batch = LogBatch::new("t".into(), std::sync::Arc::default(), Vec::new());
        let at = |ordinal| Position { offset: 9, ordinal };
        batch.source.from = at(ordinal);
        for x in records {
            let row = batch.push(0, at(ordinal));
            batch.set_text("x", row, x.as_bytes());
            batch.source.to = at(ordinal);
            ordinal += 1;
        }
        filter.apply(&mut batch, &mut FilterContext::default());
        assert!(batch.positions().iter().all(|p| *p <= batch.source.to));
        all.extend_from_slice(batch.positions());
    }
    assert_eq!(all.len(), 9);
    assert!(all.windows(2).all(|w| w[0] < w[1]), "{all:?}");
}
