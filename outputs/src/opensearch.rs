//! `opensearch`: indexes records in OpenSearch over its bulk API, which is Elasticsearch's.

use kansoku_model::{ConfigError, Plugin, Settings};

use crate::{Output, OutputEnvironment, OutputPlugin, es};

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "opensearch",
    about: "Indexes records in OpenSearch.",
    options: es::SHARED,
    example: "[OUTPUT]\n    Name                opensearch\n    Match               kube.*\n    Host                opensearch.logging\n    Logstash_Format     On\n    Suppress_Type_Name  On\n",
    build,
};

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    es::build_checked(settings, environment)
}
