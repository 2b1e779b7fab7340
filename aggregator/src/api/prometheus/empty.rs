//! Parts of Prometheus's API that clients ask for and that have nothing to tell here: the
//! aggregator scrapes no targets, evaluates no rules yet.

use super::envelope;
use crate::app::App;
use crate::http::{Call, Reply};

/// `/api/v1/targets`
pub fn targets(_: &App, _: &Call) -> Reply {
    envelope::success(br#"{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}"#)
}

/// `/api/v1/rules`
pub fn rules(_: &App, _: &Call) -> Reply {
    envelope::success(br#"{"groups":[]}"#)
}

/// `/api/v1/alerts`
pub fn alerts(_: &App, _: &Call) -> Reply {
    envelope::success(br#"{"alerts":[]}"#)
}
