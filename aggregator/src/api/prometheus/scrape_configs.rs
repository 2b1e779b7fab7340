//! `/api/v1/scrape_pools/config`, `/targets/relabel_steps`: how something is scraped, which only the agents know.
//!
//! The parameters are checked as in Prometheus; the answer says where to look.

use super::envelope::ApiError;
use crate::app::App;
use crate::http::{Call, Reply};

/// `/api/v1/scrape_pools/config`
pub fn config(_: &App, call: &Call) -> Reply {
    unknown(call, &["scrapePool"])
}

/// `/api/v1/targets/relabel_steps`
pub fn relabel_steps(_: &App, call: &Call) -> Reply {
    unknown(call, &["scrapePool", "labels"])
}

fn unknown(call: &Call, needed: &[&str]) -> Reply {
    if let Some(missing) = needed.iter().find(|name| call.form.get(name).is_empty()) {
        return ApiError::bad_data(format!("no {missing} parameter provided")).reply();
    }
    let message = format!(
        "error retrieving scrape config: scrape pool {:?} not found: the aggregator scrapes nothing; look at the configuration of the agent that does",
        call.form.get("scrapePool")
    );
    ApiError::bad_data(message).reply()
}
