//! What became of unit tests as JUnit's XML, with the elements and attributes that promtool writes.

use std::fmt::Write as _;

/// A file of tests.
#[derive(Debug, Default)]
pub struct Suite {
    name: String,
    /// What kept the file from being run.
    error: Option<String>,
    /// Tests and what went wrong in each.
    cases: Vec<(String, Vec<String>)>,
}

impl Suite {
    /// A file none of whose tests ran yet.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    /// Notes a test.
    pub fn case(&mut self, name: &str, failures: &[String]) {
        self.cases.push((name.to_owned(), failures.to_vec()));
    }

    /// Notes that the file could not be run.
    pub fn abort(&mut self, error: &str) {
        self.error = Some(error.to_owned());
    }
}

/// The document.
#[must_use]
pub fn xml(suites: &[Suite]) -> String {
    let mut out = String::from("<testsuites>");
    for suite in suites {
        // An error stands in a case, which promtool makes up for it and counts.
        let unknown = [("unknown".to_owned(), Vec::new())];
        let cases = match suite.cases.is_empty() && suite.error.is_some() {
            true => &unknown[..],
            false => &suite.cases,
        };
        let n_failures: usize = cases.iter().map(|(_, failures)| failures.len()).sum();
        let _ = write!(
            out,
            r#"<testsuite name="{}" tests="{}" failures="{n_failures}" errors="{}" skipped="0" timestamp="">"#,
            escaped(&suite.name),
            cases.len(),
            u8::from(suite.error.is_some()),
        );
        for (at, (name, failures)) in cases.iter().enumerate() {
            let _ = write!(out, r#"<testcase name="{}">"#, escaped(name));
            for failure in failures {
                let _ = write!(out, "<failure>{}</failure>", escaped(failure));
            }
            if let Some(error) = suite.error.as_ref().filter(|_| at + 1 == cases.len()) {
                let _ = write!(out, "<error>{}</error>", escaped(error));
            }
            out.push_str("</testcase>");
        }
        out.push_str("</testsuite>");
    }
    out.push_str("</testsuites>");
    out
}

/// As Go's encoder escapes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\t' => out.push_str("&#x9;"),
            '\n' => out.push_str("&#xA;"),
            '\r' => out.push_str("&#xD;"),
            // What XML cannot hold.
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_count_their_cases() {
        let mut one = Suite::new("a.yml".into());
        one.case("good", &[]);
        one.case("bad", &["x < 'y'\n".into(), "\u{1}".into()]);
        let mut other = Suite::new("b.yml".into());
        other.abort("no file");
        assert_eq!(
            xml(&[one, other]),
            "<testsuites><testsuite name=\"a.yml\" tests=\"2\" failures=\"2\" errors=\"0\" skipped=\"0\" timestamp=\"\"><testcase name=\"good\"></testcase><testcase name=\"bad\"><failure>x &lt; &#39;y&#39;&#xA;</failure><failure>\u{fffd}</failure></testcase></testsuite><testsuite name=\"b.yml\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\" timestamp=\"\"><testcase name=\"unknown\"><error>no file</error></testcase></testsuite></testsuites>"
        );
    }
}
