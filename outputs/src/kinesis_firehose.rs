//! `kinesis_firehose`: puts records into an Amazon Data Firehose stream.
//!
//! As `kinesis_streams`, with Firehose's names and limits, and without partition keys.

use kansoku_model::{ConfigError, OptionKind, OptionSpec, Plugin, Settings, joined};

use crate::aws_call::{self, AwsService};
use crate::kinesis_streams::{Kind, LINE_OPTIONS, Records};
use crate::{Output, OutputEnvironment, OutputPlugin, net};

const NAMED: &[OptionSpec] = &joined::<{ 1 + LINE_OPTIONS.len() }>(
    &[OptionSpec::new(
        "delivery_stream",
        OptionKind::Text,
        "",
        "name of the stream",
    )],
    LINE_OPTIONS,
);
const OWN: &[OptionSpec] =
    &joined::<{ NAMED.len() + aws_call::OPTIONS.len() }>(NAMED, aws_call::OPTIONS);
const OPTIONS: &[OptionSpec] = &joined::<{ OWN.len() + net::OPTIONS.len() }>(OWN, net::OPTIONS);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "kinesis_firehose",
    about: "Puts records into an Amazon Data Firehose stream.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name             kinesis_firehose\n    Match            *\n    Region           eu-central-1\n    Delivery_Stream  logs\n",
    build,
};

const FIREHOSE: Kind = Kind {
    operation: "PutRecordBatch",
    stream_key: "DeliveryStreamName",
    answers_key: "RequestResponses",
    has_partition_key: false,
    max_record_bytes: 1_024_000,
    max_call_bytes: 4 << 20,
};

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let service = AwsService::build(settings, environment, "firehose", "Firehose_20150804.")?;
    let stream = settings.required("delivery_stream")?;
    Ok(Box::new(Records::new(
        settings,
        environment,
        service,
        stream,
        FIREHOSE,
    )?))
}
