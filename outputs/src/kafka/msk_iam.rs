//! Login to Amazon MSK with AWS credentials (`aws_msk_iam`).
//!
//! The bearer token is the URL of a request to connect, signed in its query and good for 15 minutes, as
//! AWS's own signers make it: <https://github.com/aws/aws-msk-iam-sasl-signer-python>. Each connection
//! gets a new one.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use kansoku_model::{ConfigError, Settings};
use rskafka::client::{OauthBearerCredentials, SaslConfig};

use crate::aws::AwsLogin;

const ACTION: &str = "Action=kafka-cluster%3AConnect";
const USER_AGENT: &str = "&User-Agent=kansoku-agent";
const EXPIRES_S: u32 = 900;

/// The login, when `aws_msk_iam` is on.
///
/// # Errors
/// When the cluster's ARN is missing or none, or other settings contradict it.
pub(super) fn sasl(settings: &Settings) -> Result<Option<SaslConfig>, ConfigError> {
    if !settings.bool("aws_msk_iam", false)? {
        return Ok(None);
    }
    let arn = settings.required("aws_msk_iam_cluster_arn")?;
    // arn:PARTITION:kafka:REGION:ACCOUNT:cluster/...
    let parts: Vec<&str> = arn.split(':').collect();
    let region = match parts[..] {
        ["arn", _, "kafka", region, _, _, ..] if !region.is_empty() => region,
        _ => {
            let place = settings.get("aws_msk_iam_cluster_arn");
            let place = place.map_or(&settings.place, |s| &s.place);
            let message = format!(
                "'aws_msk_iam_cluster_arn' is '{arn}', but must be arn:aws:kafka:REGION:ACCOUNT:cluster/..."
            );
            return Err(ConfigError::new(place, message));
        }
    };
    for (key, wanted) in [
        ("rdkafka.security.protocol", "sasl_ssl"),
        ("rdkafka.sasl.mechanism", "oauthbearer"),
        ("rdkafka.sasl.mechanisms", "oauthbearer"),
    ] {
        if let Some(s) = settings.get(key)
            && !s.value.eq_ignore_ascii_case(wanted)
        {
            let message = format!(
                "'{key}' is '{}', but 'aws_msk_iam' needs {wanted}; remove it",
                s.value
            );
            return Err(ConfigError::new(&s.place, message));
        }
    }
    let login = Arc::new(AwsLogin::new(settings, region, "kafka-cluster"));
    let host: Arc<str> = format!("kafka.{region}.amazonaws.com").into();
    Ok(Some(SaslConfig::Oauthbearer(OauthBearerCredentials {
        callback: Arc::new(move || {
            let (login, host) = (login.clone(), host.clone());
            async move { Ok(token(&login, &host).await?) }.boxed()
        }),
        authz_id: None,
        bearer_kvs: Vec::new(),
    })))
}

async fn token(login: &AwsLogin, host: &str) -> Result<String, String> {
    let url = login.presigned(host, ACTION, EXPIRES_S).await?;
    Ok(URL_SAFE_NO_PAD.encode(url + USER_AGENT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws_sign::Credentials;

    const ARN: (&str, &str) = (
        "aws_msk_iam_cluster_arn",
        "arn:aws:kafka:eu-west-1:123:cluster/c/1-2",
    );
    const ON: (&str, &str) = ("aws_msk_iam", "on");

    #[test]
    fn the_region_is_the_clusters_and_contradictions_are_refused() {
        let login = |pairs: &[(&str, &str)]| sasl(&Settings::of("kafka", pairs));
        assert!(login(&[ARN]).is_ok_and(|l| l.is_none()));
        assert!(login(&[ON, ARN]).is_ok_and(|l| l.is_some()));
        for (pairs, expected) in [
            (vec![ON], "aws_msk_iam_cluster_arn"),
            (
                vec![ON, (ARN.0, "my-cluster")],
                "must be arn:aws:kafka:REGION",
            ),
            (
                vec![ON, (ARN.0, "arn:aws:kafka::1:cluster/c")],
                "must be arn:aws:kafka:REGION",
            ),
            (
                vec![ON, ARN, ("rdkafka.security.protocol", "plaintext")],
                "needs sasl_ssl; remove it",
            ),
            (
                vec![ON, ARN, ("rdkafka.sasl.mechanism", "PLAIN")],
                "needs oauthbearer; remove it",
            ),
        ] {
            let error = login(&pairs).expect_err("refused");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn tokens_are_signed_urls() {
        let login = AwsLogin::new(&Settings::default(), "eu-west-1", "kafka-cluster");
        let login = login.with_credentials(Credentials {
            access_key: "AK".into(),
            secret_key: "SK".into(),
            session_token: None,
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let token = runtime
            .expect("a runtime")
            .block_on(token(&login, "kafka.eu-west-1.amazonaws.com"));
        let url = URL_SAFE_NO_PAD
            .decode(token.expect("a token"))
            .expect("base64url");
        let url = String::from_utf8(url).expect("text");
        assert!(url.starts_with(
            "https://kafka.eu-west-1.amazonaws.com/?Action=kafka-cluster%3AConnect&X-Amz-"
        ));
        assert!(
            url.contains("%2Feu-west-1%2Fkafka-cluster%2Faws4_request"),
            "{url}"
        );
        assert!(url.ends_with("&User-Agent=kansoku-agent"), "{url}");
    }
}
