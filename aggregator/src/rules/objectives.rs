//! Rules of objectives: what the SLOs that people keep ask to be evaluated, as groups of rules.
//!
//! They are those that the page shows (`ui/src/slo/model.ts`): Google's SRE workbook, chapter 5. The one rule:
//! an objective that cannot be read harms no other.

use std::sync::Arc;

use serde_json::{Value, json};

use super::file::{self, Group, Language};
use crate::app::App;
use crate::documents::{Kind, shelf};
use crate::journal;
use crate::tenants::Tenant;

/// What stands for a range in the expressions of an objective.
const WINDOW: &str = "$window";
/// The windows in which errors are counted.
const WINDOWS: [&str; 7] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"];
/// Severity, long and short window, hours of the long one, and the part of the budget that may go in it.
const BURNS: [(&str, &str, &str, f64, f64); 4] = [
    ("page", "1h", "5m", 1.0, 0.02),
    ("page", "6h", "30m", 6.0, 0.05),
    ("ticket", "1d", "2h", 24.0, 0.1),
    ("ticket", "3d", "6h", 72.0, 0.1),
];

/// Whether a document asks for its rules to be evaluated.
#[must_use]
pub fn is_evaluated(document: &Value) -> bool {
    document.get("evaluate").and_then(Value::as_bool) == Some(true)
}

/// The groups of an objective; `tenant` is empty while there is one.
///
/// # Errors
/// What is wrong with it.
pub fn groups(tenant: &str, id: &str, document: &Value) -> Result<Vec<Group>, String> {
    let objective = Objective::read(document)?;
    let file = match tenant {
        "" => format!("slos/{id}.yaml"),
        tenant => format!("slos/{tenant}/{id}.yaml"),
    };
    let language = objective.language;
    let of = |name: &str, rules: Vec<Value>, language| {
        let group = json!({"groups": [{"name": format!("slo-{id}-{name}"), "rules": rules}]});
        file::parse_object(&file, "rules", &group, language)
            .map_err(|all| all.join("\n").replace(&format!("{file}: "), ""))
    };
    let mut groups = of("errors", objective.records(id), language)?;
    groups.extend(of("alerts", objective.alerts(id), Language::Promql)?);
    for group in &mut groups {
        group.tenant = tenant.into();
    }
    Ok(groups)
}

struct Objective<'a> {
    title: &'a str,
    events: &'a str,
    total: &'a str,
    language: Language,
    counts_bad: bool,
    /// Percent.
    target: f64,
    days: f64,
}

impl<'a> Objective<'a> {
    fn read(document: &'a Value) -> Result<Self, String> {
        let text = |key: &str| {
            document
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or("")
                .trim()
        };
        let number = |key: &str, default| match document.get(key) {
            None => Some(default),
            Some(value) => value.as_f64(),
        };
        let found = Self {
            title: text("title"),
            events: text("events"),
            total: text("total"),
            language: match text("language") {
                "logql" => Language::Logql,
                _ => Language::Promql,
            },
            counts_bad: text("counts") != "good",
            target: number("target", 99.9).ok_or("'target' is no number")?,
            days: number("window_days", 30.0).ok_or("'window_days' is no number")?,
        };
        if found.title.is_empty() {
            return Err("'title' is missing".into());
        }
        for (key, expression) in [("events", found.events), ("total", found.total)] {
            if !expression.contains(WINDOW) {
                return Err(format!("'{key}' needs {WINDOW} in the place of a range"));
            }
        }
        if !(found.target > 0.0 && found.target < 100.0) {
            return Err("'target' must lie between 0 and 100 percent".into());
        }
        if !(1.0..=366.0).contains(&found.days) || found.days.fract() != 0.0 {
            return Err("'window_days' must be a whole number of days, at most 366".into());
        }
        Ok(found)
    }

    fn records(&self, id: &str) -> Vec<Value> {
        let one = |window: &&str| {
            let over = |expression: &str| expression.replace(WINDOW, window);
            let ratio = format!("(\n{}\n)\n/\n(\n{}\n)", over(self.events), over(self.total));
            let expression = match self.counts_bad {
                true => ratio,
                false => format!("1 - (\n{ratio}\n)"),
            };
            json!({"record": record(window), "expr": expression, "labels": {"slo": id}})
        };
        WINDOWS.iter().map(one).collect()
    }

    fn alerts(&self, id: &str) -> Vec<Value> {
        let budget = rounded(1.0 - self.target / 100.0, 10);
        let title = self.title.replace("{{", "{ {");
        let one = |(severity, name): (&str, &str)| {
            let own = BURNS.iter().filter(|burn| burn.0 == severity);
            let condition = |(_, long, short, hours, part): &(&str, &str, &str, f64, f64)| {
                let factor = rounded(part * self.days * 24.0 / hours, 6);
                let side =
                    |window| format!("{}{{slo=\"{id}\"}} > ({factor} * {budget})", record(window));
                format!("({} and {})", side(long), side(short))
            };
            let conditions: Vec<String> = own.clone().map(condition).collect();
            let windows: Vec<&str> = own.map(|burn| burn.1).collect();
            let description = format!(
                "Over {} the errors are so many that the budget of {} % for {} days would not last. The ratio is {{{{ $value | humanizePercentage }}}}.",
                windows.join(", "),
                rounded(budget * 100.0, 6),
                self.days
            );
            json!({
                "alert": name,
                "expr": conditions.join(" or "),
                "labels": {"severity": severity, "slo": id},
                "annotations": {
                    "summary": format!("The error budget of “{title}” burns too fast"),
                    "description": description,
                },
            })
        };
        [
            ("page", "SLOBudgetBurnsFast"),
            ("ticket", "SLOBudgetBurnsSlowly"),
        ]
        .map(one)
        .into()
    }
}

fn record(window: &str) -> String {
    format!("slo:error_ratio:rate{window}")
}

/// A number with so many digits, as the page writes it.
fn rounded(value: f64, digits: usize) -> f64 {
    let text = format!("{value:.*e}", digits.saturating_sub(1));
    text.parse().unwrap_or(value)
}

/// The groups of all objectives of all tenants. Reads files.
#[must_use]
pub fn load(app: &App) -> Vec<Group> {
    let mut groups = Vec::new();
    for tenant in app.tenants.all() {
        groups.extend(of_tenant(&tenant));
    }
    groups
}

fn of_tenant(tenant: &Arc<Tenant>) -> Vec<Group> {
    let folder = tenant.folder().join(Kind::Slo.folder());
    let versions = shelf::list(&folder).unwrap_or_default();
    let mut groups_of_all = Vec::new();
    for version in versions.into_iter().flatten() {
        let read = || {
            let (_, text) = shelf::get(&folder, &version.id, None)
                .map_err(|_| "its file cannot be read".to_owned())?;
            let document: Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
            match is_evaluated(&document) {
                true => groups(tenant.name(), &version.id, &document),
                false => Ok(Vec::new()),
            }
        };
        match read() {
            Ok(groups) => groups_of_all.extend(groups),
            Err(why) => journal::warn(&format!(
                "the rules of the SLO '{}'{} are not evaluated: {why}",
                version.id,
                tenant.section()
            )),
        }
    }
    groups_of_all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slo(change: Value) -> Value {
        let mut slo = json!({
            "title": "Requests {{succeed}}", "language": "promql", "counts": "bad", "evaluate": true,
            "events": "sum(rate(errors_total[$window]))", "total": "sum(rate(all_total[$window]))",
            "target": 99.9, "window_days": 30,
        });
        for (key, value) in change.as_object().expect("an object") {
            slo[key] = value.clone();
        }
        slo
    }

    #[test]
    fn groups_are_those_of_the_page() {
        let groups = groups("", "requests", &slo(json!({}))).expect("rules");
        let names: Vec<&str> = groups.iter().map(|g| &*g.name).collect();
        assert_eq!(names, ["slo-requests-errors", "slo-requests-alerts"]);
        assert!(groups.iter().all(|g| &*g.file == "slos/requests.yaml"));
        let rules: Vec<(&str, String)> = groups
            .iter()
            .flat_map(|g| &g.rules)
            .map(|r| (&*r.name, r.expression.to_string()))
            .collect();
        assert_eq!(rules.len(), 9);
        assert_eq!(rules[0].0, "slo:error_ratio:rate5m");
        assert_eq!(
            rules[0].1,
            "(sum(rate(errors_total[5m]))) / (sum(rate(all_total[5m])))"
        );
        let fast = "(slo:error_ratio:rate1h{slo=\"requests\"} > (14.4 * 0.001) and slo:error_ratio:rate5m{slo=\"requests\"} > (14.4 * 0.001)) or (slo:error_ratio:rate6h{slo=\"requests\"} > (6 * 0.001) and slo:error_ratio:rate30m{slo=\"requests\"} > (6 * 0.001))";
        assert_eq!(rules[7], ("SLOBudgetBurnsFast", fast.to_owned()));
    }

    #[test]
    fn lines_are_counted_in_their_own_language_and_tenants_have_files_of_their_own() {
        let document = slo(json!({
            "language": "logql", "counts": "good",
            "events": "sum(rate({app=\"x\"} !~ \"error\" [$window]))",
            "total": "sum(rate({app=\"x\"}[$window]))",
        }));
        let groups = groups("shop", "lines", &document).expect("rules");
        let languages: Vec<Language> = groups.iter().map(|g| g.language).collect();
        assert_eq!(languages, [Language::Logql, Language::Promql]);
        assert!(
            groups
                .iter()
                .all(|g| &*g.file == "slos/shop/lines.yaml" && &*g.tenant == "shop")
        );
    }

    #[test]
    fn mistakes_are_told() {
        for (change, expected) in [
            (json!({"title": " "}), "'title' is missing"),
            (
                json!({"events": "sum(rate(x[5m]))"}),
                "'events' needs $window in the place of a range",
            ),
            (
                json!({"target": 100}),
                "'target' must lie between 0 and 100 percent",
            ),
            (json!({"target": "x"}), "'target' is no number"),
            (
                json!({"window_days": 1.5}),
                "'window_days' must be a whole number of days, at most 366",
            ),
            (
                json!({"total": "sum(rate(x[$window]"}),
                "could not parse expression",
            ),
        ] {
            let error = groups("", "a", &slo(change.clone())).expect_err("wrong");
            assert!(error.contains(expected), "{change}: {error}");
        }
        assert!(!is_evaluated(&json!({"evaluate": "true"})));
    }
}
