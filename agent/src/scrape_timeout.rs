//! By when a scrape has to be answered: Prometheus says in a header how long it waits.

use std::time::{Duration, Instant};

use hyper::HeaderMap;

/// Prometheus's `scrape_timeout` in seconds.
const HEADER: &str = "x-prometheus-scrape-timeout-seconds";
/// Taken off it for the way of the answer.
const TRANSFER_TIME: Duration = Duration::from_millis(500);
/// More than any collector takes.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// When the answer to a request that came now is to be ready; `None` when nobody says.
pub(crate) fn limit(headers: &HeaderMap) -> Option<Instant> {
    timeout(headers).map(|timeout| Instant::now() + timeout)
}

fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let seconds: f64 = text.trim().parse().ok()?;
    let all = Duration::try_from_secs_f64(seconds).ok()?;
    let all = all.min(MAX_TIMEOUT);
    Some(all.saturating_sub(TRANSFER_TIME).max(all / 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn timeouts_leave_time_for_the_way() {
        for (value, milliseconds) in [
            ("10", Some(9500)),
            ("0.8", Some(400)),
            ("1e9", Some(3_599_500)),
            ("-1", None),
            ("nan", None),
            ("x", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_static(value));
            let expected = milliseconds.map(Duration::from_millis);
            assert_eq!(timeout(&headers), expected, "{value}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }
}
