//! The options of the output, and what of librdkafka's own settings (`rdkafka.*`) means something
//! to this client.

use std::sync::Arc;
use std::time::Duration;

use kansoku_model::plugin::{Setting, parse_bool};
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};
use rskafka::client::partition::Compression;
use rskafka::client::{Credentials, SaslConfig};
use rustls::ClientConfig;

use super::msk_iam;
use super::partition::{PARTITIONERS, Partitioner};
use crate::{OutputEnvironment, tls};

const fn text(name: &'static str, default: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Text, default, about)
}

/// The output's own options.
pub const OPTIONS: &[OptionSpec] = &[
    text(
        "brokers",
        "",
        "first brokers to ask: HOST:PORT, comma separated",
    ),
    text(
        "topics",
        "fluent-bit",
        "topics, comma separated; the first is the default",
    ),
    text(
        "topic_key",
        "",
        "field with the topic; it has to be one of 'topics' unless 'dynamic_topic' is on",
    ),
    OptionSpec::new(
        "dynamic_topic",
        OptionKind::Bool,
        "off",
        "take any topic that 'topic_key' names",
    ),
    OptionSpec::new(
        "format",
        OptionKind::Choice(&["json", "msgpack", "gelf", "raw"]),
        "json",
        "form of the messages",
    ),
    text(
        "raw_log_key",
        "",
        "field that is the message, for 'format raw'",
    ),
    text("message_key", "", "key of all messages"),
    text("message_key_field", "", "field with the key of the message"),
    text(
        "timestamp_key",
        "@timestamp",
        "key of the time in json and msgpack",
    ),
    OptionSpec::new(
        "timestamp_format",
        OptionKind::Choice(&["double", "iso8601", "iso8601_ns"]),
        "double",
        "form of the time",
    ),
    OptionSpec::new(
        "queue_full_retries",
        OptionKind::Int,
        "10",
        "no effect: there is no queue in the client that could be full",
    ),
    text("client_id", "kansoku-agent", "name that brokers show"),
    text("group_id", "", "no effect: only consumers have a group"),
    text("rdkafka.bootstrap.servers", "", "same as 'brokers'"),
    text("rdkafka.metadata.broker.list", "", "same as 'brokers'"),
    text("rdkafka.client.id", "", "same as 'client_id'"),
    OptionSpec::new(
        "rdkafka.security.protocol",
        OptionKind::Choice(&["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]),
        "plaintext",
        "how to connect",
    ),
    text(
        "rdkafka.sasl.mechanism",
        "",
        "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
    ),
    text(
        "rdkafka.sasl.mechanisms",
        "",
        "same as 'rdkafka.sasl.mechanism'",
    ),
    OptionSpec::new(
        "aws_msk_iam",
        OptionKind::Bool,
        "off",
        "log in to Amazon MSK with AWS credentials, over TLS",
    ),
    text(
        "aws_msk_iam_cluster_arn",
        "",
        "the cluster, for 'aws_msk_iam'; its region is taken from it",
    ),
    text("rdkafka.sasl.username", "", "user"),
    text("rdkafka.sasl.password", "", "password"),
    text("rdkafka.ssl.ca.location", "", "same as 'tls.ca_file'"),
    text(
        "rdkafka.ssl.certificate.location",
        "",
        "same as 'tls.crt_file'",
    ),
    text("rdkafka.ssl.key.location", "", "same as 'tls.key_file'"),
    text("rdkafka.ssl.key.password", "", "same as 'tls.key_passwd'"),
    text(
        "rdkafka.enable.ssl.certificate.verification",
        "true",
        "same as 'tls.verify'",
    ),
    OptionSpec::new(
        "rdkafka.compression.codec",
        OptionKind::Choice(CODECS),
        "none",
        "compression of messages; zstd is sent as lz4",
    ),
    OptionSpec::new(
        "rdkafka.compression.type",
        OptionKind::Choice(CODECS),
        "none",
        "same as 'rdkafka.compression.codec'",
    ),
    OptionSpec::new(
        "rdkafka.message.max.bytes",
        OptionKind::Int,
        "1000000",
        "the most bytes of one request to a partition",
    ),
    OptionSpec::new(
        "rdkafka.request.timeout.ms",
        OptionKind::Int,
        "30000",
        "longest wait for a broker",
    ),
    text(
        "rdkafka.partitioner",
        "consistent_random",
        "random, consistent, consistent_random, murmur2, murmur2_random, fnv1a or fnv1a_random",
    ),
    text("rdkafka.acks", "all", "always all: nothing less is safe"),
    text(
        "rdkafka.request.required.acks",
        "all",
        "same as 'rdkafka.acks'",
    ),
];

const CODECS: &[&str] = &["none", "gzip", "snappy", "lz4", "zstd"];

/// Everything a client needs, read and checked.
pub(super) struct Connect {
    pub(super) brokers: Vec<String>,
    pub(super) client_id: String,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) sasl: Option<SaslConfig>,
    pub(super) compression: Compression,
    pub(super) max_bytes: usize,
    pub(super) timeout: Duration,
    pub(super) partitioner: Partitioner,
}

/// Takes the settings of librdkafka that mean nothing here out, with a warning for each.
pub(super) fn without_unknown(settings: &Settings, environment: &OutputEnvironment) -> Settings {
    let mut known = settings.clone();
    known.settings.retain(|s| {
        let is_known =
            !s.key.starts_with("rdkafka.") || OPTIONS.iter().any(|option| option.name == s.key);
        if !is_known {
            let message = format!(
                "'{}' has no effect: records are not queued in the client",
                s.key
            );
            environment.warn(&s.place, message);
        }
        is_known
    });
    known
}

impl Connect {
    pub(super) fn of(
        settings: &Settings,
        environment: &OutputEnvironment,
    ) -> Result<Self, ConfigError> {
        let first = |keys: &[&str]| keys.iter().find_map(|key| settings.get(key));
        let brokers = first(&[
            "brokers",
            "rdkafka.bootstrap.servers",
            "rdkafka.metadata.broker.list",
        ]);
        let Some(brokers) = brokers else {
            let message = "kafka needs 'brokers', which is not set";
            return Err(ConfigError::new(&settings.place, message));
        };
        for key in ["rdkafka.acks", "rdkafka.request.required.acks"] {
            if let Some(s) = settings.get(key)
                && !matches!(s.value.as_str(), "-1" | "all")
            {
                let message = format!(
                    "'{key} {}' has no effect: all replicas are waited for",
                    s.value
                );
                environment.warn(&s.place, message);
            }
        }
        let codec = first(&["rdkafka.compression.codec", "rdkafka.compression.type"]);
        if let Some(s) = codec.filter(|s| s.value.eq_ignore_ascii_case("zstd")) {
            let message = format!(
                "'{} zstd': lz4 is used, which every consumer reads too",
                s.key
            );
            environment.warn(&s.place, message);
        }
        let client_id = first(&["client_id", "rdkafka.client.id"]);
        let protocol = settings
            .text("rdkafka.security.protocol", "plaintext")
            .to_ascii_lowercase();
        let msk_iam = msk_iam::sasl(settings)?;
        let with_tls =
            protocol.ends_with("ssl") || msk_iam.is_some() || settings.bool("tls", false)?;
        Ok(Self {
            brokers: brokers.value.split(',').map(with_port).collect(),
            client_id: client_id.map_or("kansoku-agent", |s| &s.value).to_owned(),
            tls: match with_tls {
                true => Some(Arc::new(tls::config(&tls_settings(settings))?)),
                false => None,
            },
            sasl: match msk_iam {
                None if protocol.starts_with("sasl") => Some(sasl(settings)?),
                login => login,
            },
            compression: match codec.map(|s| s.value.to_ascii_lowercase()).as_deref() {
                Some("gzip") => Compression::Gzip,
                Some("snappy") => Compression::Snappy,
                Some("lz4" | "zstd") => Compression::Lz4,
                _ => Compression::NoCompression,
            },
            max_bytes: settings
                .int("rdkafka.message.max.bytes", 1_000_000)?
                .clamp(1000, 100_000_000) as usize,
            timeout: Duration::from_millis(
                settings
                    .int("rdkafka.request.timeout.ms", 30_000)?
                    .clamp(100, 300_000) as u64,
            ),
            partitioner: partitioner(settings)?,
        })
    }
}

fn with_port(broker: &str) -> String {
    let broker = broker.trim();
    // librdkafka allows PROTOCOL://HOST.
    let broker = broker.rsplit_once("://").map_or(broker, |(_, rest)| rest);
    match broker.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => broker.to_owned(),
        _ => format!("{broker}:9092"),
    }
}

fn partitioner(settings: &Settings) -> Result<Partitioner, ConfigError> {
    let Some(s) = settings.get("rdkafka.partitioner") else {
        return Ok(Partitioner::ConsistentRandom);
    };
    let known = PARTITIONERS.iter().find(|(name, _)| *name == s.value);
    known.map(|&(_, p)| p).ok_or_else(|| {
        let names: Vec<_> = PARTITIONERS.iter().map(|(name, _)| *name).collect();
        let message = format!(
            "'{}' is '{}', but must be one of {}",
            s.key,
            s.value,
            names.join(", ")
        );
        ConfigError::new(&s.place, message)
    })
}

fn sasl(settings: &Settings) -> Result<SaslConfig, ConfigError> {
    let user = settings.required("rdkafka.sasl.username")?.to_owned();
    let password = settings.required("rdkafka.sasl.password")?.to_owned();
    let credentials = Credentials::new(user, password);
    let mechanism = settings
        .get("rdkafka.sasl.mechanism")
        .or(settings.get("rdkafka.sasl.mechanisms"));
    let Some(s) = mechanism else {
        return Ok(SaslConfig::Plain(credentials));
    };
    match s.value.to_ascii_uppercase().as_str() {
        "PLAIN" => Ok(SaslConfig::Plain(credentials)),
        "SCRAM-SHA-256" => Ok(SaslConfig::ScramSha256(credentials)),
        "SCRAM-SHA-512" => Ok(SaslConfig::ScramSha512(credentials)),
        other => Err(ConfigError::new(
            &s.place,
            format!(
                "'{}' is '{other}', but must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
                s.key
            ),
        )),
    }
}

/// The settings with librdkafka's TLS names turned into the common ones.
fn tls_settings(settings: &Settings) -> Settings {
    let mut all = settings.clone();
    for (theirs, ours) in [
        ("rdkafka.ssl.ca.location", "tls.ca_file"),
        ("rdkafka.ssl.certificate.location", "tls.crt_file"),
        ("rdkafka.ssl.key.location", "tls.key_file"),
        ("rdkafka.ssl.key.password", "tls.key_passwd"),
        ("rdkafka.enable.ssl.certificate.verification", "tls.verify"),
    ] {
        if let Some(s) = settings.get(theirs) {
            all.settings.push(Setting {
                key: ours.to_owned(),
                ..s.clone()
            });
        }
    }
    all
}

/// Whether a setting is on.
pub(super) fn is_on(settings: &Settings, key: &str) -> bool {
    settings
        .get(key)
        .is_some_and(|s| parse_bool(&s.value) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(pairs: &[(&str, &str)]) -> Result<Connect, String> {
        let settings = Settings::of("kafka", pairs);
        settings.check(OPTIONS).map_err(|e| e.to_string())?;
        Connect::of(&settings, &OutputEnvironment::default()).map_err(|e| e.to_string())
    }

    #[test]
    fn settings_of_librdkafka_are_read() {
        let all = connect(&[
            ("brokers", "a:1, ssl://b,[::1]:3"),
            ("rdkafka.compression.codec", "Snappy"),
            ("rdkafka.security.protocol", "SASL_PLAINTEXT"),
            ("rdkafka.sasl.mechanisms", "scram-sha-256"),
            ("rdkafka.sasl.username", "u"),
            ("rdkafka.sasl.password", "p"),
            ("rdkafka.partitioner", "murmur2_random"),
            ("rdkafka.request.timeout.ms", "5000"),
        ])
        .expect("valid");
        assert_eq!(all.brokers, ["a:1", "b:9092", "[::1]:3"]);
        assert_eq!(all.compression, Compression::Snappy);
        assert!(matches!(all.sasl, Some(SaslConfig::ScramSha256(_))));
        assert_eq!(all.partitioner, Partitioner::Murmur2Random);
        assert_eq!((all.timeout.as_secs(), all.tls.is_none()), (5, true));
    }

    #[test]
    fn a_codec_that_is_not_built_in_is_another_one() {
        let pairs = [("brokers", "a"), ("rdkafka.compression.type", "ZSTD")];
        assert_eq!(
            connect(&pairs).expect("valid").compression,
            Compression::Lz4
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (pairs, message) in [
            (&[("topics", "t")][..], "kafka needs 'brokers'"),
            (
                &[("brokers", "a"), ("rdkafka.compression.codec", "brotli")],
                "must be one of none, gzip, snappy, lz4, zstd",
            ),
            (
                &[
                    ("brokers", "a"),
                    ("rdkafka.security.protocol", "sasl_ssl"),
                    ("tls.verify", "off"),
                ],
                "unknown key 'tls.verify'",
            ),
            (
                &[
                    ("brokers", "a"),
                    ("rdkafka.security.protocol", "sasl_plaintext"),
                ],
                "needs 'rdkafka.sasl.username'",
            ),
            (
                &[("brokers", "a"), ("rdkafka.partitioner", "x")],
                "must be one of random",
            ),
        ] {
            let error = connect(pairs).err().expect("refused");
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn unknown_settings_of_librdkafka_are_warned_of() {
        let environment = OutputEnvironment::default();
        let settings = Settings::of("kafka", &[("rdkafka.linger.ms", "5"), ("brokers", "a")]);
        let known = without_unknown(&settings, &environment);
        assert_eq!(known.settings.len(), 1);
        let warnings = environment.warnings.take();
        assert!(
            warnings[0]
                .to_string()
                .contains("'rdkafka.linger.ms' has no effect")
        );
    }
}
