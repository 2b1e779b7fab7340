//! What the importer has to say: where, what, why, and what to do instead.

use std::cell::RefCell;
use std::fmt;

use kansoku_model::Place;

/// How much is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// It is not in the result.
    NotConverted,
    /// It is there and does something a little different.
    Differs,
}

/// One thing to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub place: Place,
    pub grade: Grade,
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grade = match self.grade {
            Grade::NotConverted => "not converted",
            Grade::Differs => "differs",
        };
        write!(f, "{}: {grade}: {}", self.place, self.text)
    }
}

/// All findings, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: RefCell<Vec<Finding>>,
}

impl Report {
    /// Something that is not in the result: what it is, and why or what to do instead.
    pub(super) fn lost(&self, place: &Place, text: impl Into<String>) {
        self.add(place, Grade::NotConverted, text.into());
    }

    /// Something that is done in another way.
    pub(super) fn differs(&self, place: &Place, text: impl Into<String>) {
        self.add(place, Grade::Differs, text.into());
    }

    fn add(&self, place: &Place, grade: Grade, text: String) {
        let finding = Finding {
            place: place.clone(),
            grade,
            text,
        };
        let mut findings = self.findings.borrow_mut();
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        self.findings.take()
    }
}
