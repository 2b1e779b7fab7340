//! `<filter>`, and those `<match>` that are filters here.

use std::rc::Rc;

use kansoku_parsers::config::fluentd::Element;

use super::params::Params;
use super::parse::Parse;
use super::report::Report;
use super::routing::{Arrival, Routes};
use super::tags::{self, Glob, Piece};
use super::text;
use super::transform;
use super::written::Section;
use super::{Converter, origin};

/// Whether a `<match>` of that type is a filter here.
pub(super) fn is_filter(kind: &str) -> bool {
    matches!(kind, "detect_exceptions" | "rewrite_tag_filter")
}

impl Converter {
    pub(super) fn filter(&mut self, element: &Element, arrivals: &[Arrival], routes: &Routes<'_>) {
        let report = Rc::clone(&self.report);
        let params = Params::new(element, &report);
        let kind = params.kind();
        let made = match kind.as_str() {
            "record_transformer" => {
                transform::record_transformer(&params, &report, &mut self.n_lua)
            }
            "record_modifier" => transform::record_modifier(&params, &report, &mut self.n_lua),
            "grep" => grep(&params, &report),
            "parser" => self.parser(&params, &report),
            "kubernetes_metadata" => {
                self.kubernetes(&params, arrivals, routes);
                Vec::new()
            }
            "concat" => self.concat(&params),
            "detect_exceptions" => detect_exceptions(&params),
            "rewrite_tag_filter" => rewrite_tag(&params, &report),
            "stdout" => {
                params.ignore_elements(&["format", "inject"]);
                params.ignore(&["output_type", "format", "use_logger"]);
                vec![Section::plugin("FILTER", "stdout", &origin(element))]
            }
            "prometheus" => prometheus(&params, &report),
            "geoip" => {
                report.lost(&element.place, "<filter> of type geoip: use the filter geoip2 with Database, Lookup_Key and Record");
                return;
            }
            other => {
                let message = format!("<filter> of type {other}: {}", instead_of(other));
                report.lost(&element.place, message);
                return;
            }
        };
        params.finish();
        for (at, mut section) in made.into_iter().enumerate() {
            self.set_match(&mut section, arrivals, routes, &element.place);
            if at == 0
                && let Some(alias) = element.get("@id").and_then(|a| a.value.plain())
            {
                section.set("Alias", alias);
            }
            self.filters.push(section);
        }
    }

    fn parser(&mut self, params: &Params<'_>, report: &Report) -> Vec<Section> {
        let mut filter = Section::plugin("FILTER", "parser", &origin(params.element));
        let Some(key) = params.word("key_name") else {
            params.lost("<filter> of type parser has no 'key_name'");
            params.ignore_elements(&["parse"]);
            return Vec::new();
        };
        let Some(path) = text::path(&key) else {
            params.lost(format!("'key_name' {key} reaches into an array"));
            return Vec::new();
        };
        filter.set(
            "Key_Name",
            &if path.len() > 1 {
                text::accessor(&path)
            } else {
                path[0].clone()
            },
        );
        let parse = self.parsers.of(params, report, "");
        let names = match parse {
            Parse::By(name) => vec![name],
            Parse::FirstOf(mut names, fallback) => {
                names.extend(fallback.map(|key| self.parsers.whole(&key)));
                names
            }
            Parse::Raw(key) => vec![self.parsers.whole(&key)],
            Parse::Joined(..) | Parse::Nested(..) => {
                params.lost("this form of <parse> cannot read a field");
                Vec::new()
            }
        };
        for name in &names {
            filter.set("Parser", name);
        }
        let reserves = params.switch("reserve_data") == Some(true);
        let removes = params.switch("remove_key_name_field") == Some(true);
        filter.set("Reserve_Data", if reserves { "on" } else { "off" });
        filter.set(
            "Preserve_Key",
            if reserves && !removes { "on" } else { "off" },
        );
        if reserves {
            filter.set("Overwrite", "on");
        }
        if removes && path.len() > 1 {
            params.differs(format!("'remove_key_name_field': {key} lies in another field and stays; remove it with a filter lua"));
        }
        let keeps_time = params.switch("reserve_time") == Some(true);
        if !keeps_time {
            params.differs("a record of which the parser takes no time keeps its own, where Fluentd gives it the time of parsing");
        } else if names.iter().any(|name| self.parsers.has_time(name)) {
            params.differs("'reserve_time': a parser with a Time_Format sets the record's time; take Time_Format out of it to keep the time as it is");
        }
        if !reserves {
            params.differs(
                "records that no parser fits stay as they are, where Fluentd drops them, or sends them to @ERROR",
            );
        }
        params.ignore(&[
            "emit_invalid_record_to_error",
            "replace_invalid_sequence",
            "suppress_parse_error_log",
            "ignore_key_not_exist",
        ]);
        for key in ["inject_key_prefix", "hash_value_field"] {
            if let Some(value) = params.word(key) {
                params.lost(format!("'{key}' {value}: parsed fields stand beside the others; move them with a filter nest"));
            }
        }
        if names.is_empty() {
            Vec::new()
        } else {
            vec![filter]
        }
    }

    fn kubernetes(&mut self, params: &Params<'_>, arrivals: &[Arrival], routes: &Routes<'_>) {
        let mut filter = Section::plugin("FILTER", "kubernetes", &origin(params.element));
        // A URL that Ruby puts together is the cluster's own, which the agent finds, too.
        let url = params
            .element
            .get("kubernetes_url")
            .and_then(|a| text::text(&a.value).ok());
        if let Some(url) = url.filter(|u| !u.has_variable && !u.assumed.is_empty()) {
            filter.set(
                "Kube_URL",
                url.assumed.trim_end_matches('/').trim_end_matches("/api"),
            );
        }
        params.ignore(&["kubernetes_url", "apiVersion", "secret_dir", "verify_ssl"]);
        let ca = params.text("ca_file").filter(|t| !t.has_variable);
        if let Some(ca) = ca {
            filter.put("Kube_CA_File", &ca);
        }
        if let Some(token) = params.text("bearer_token_file").filter(|t| !t.has_variable) {
            filter.put("Kube_Token_File", &token);
        }
        if params.switch("skip_labels") == Some(true) {
            filter.set("Labels", "off");
        }
        if params.list("annotation_match").is_empty() {
            filter.set("Annotations", "off");
        } else {
            params.differs(
                "'annotation_match': all annotations are added; remove others with a filter",
            );
        }
        if params.switch("merge_json_log") == Some(true) {
            filter.set("Merge_Log", "on");
            let keeps = params.switch("preserve_json_log") != Some(false);
            filter.set("Keep_Log", if keeps { "on" } else { "off" });
        }
        if params.switch("skip_namespace_metadata") == Some(false) {
            filter.set("Namespace_Labels", "on");
            params.differs("labels of the namespace stand under kubernetes_namespace, not in kubernetes.namespace_labels");
        }
        params.ignore(&[
            "watch",
            "cache_size",
            "cache_ttl",
            "watch_retry_interval",
            "watch_retry_max_times",
            "stats_interval",
            "open_timeout",
            "read_timeout",
            "skip_container_metadata",
            "skip_master_url",
            "allow_orphans",
            "orphaned_namespace_name",
            "orphaned_namespace_id",
            "lookup_from_k8s_field",
            "ssl_partial_chain",
            "test_api_adapter",
            "include_namespace_metadata",
            "preserve_json_log",
            "client_cert",
            "client_key",
            "watch_retry_exponential_backoff_base",
            "watch_retry_interval",
            "use_journal",
            "tag_to_kubernetes_name_regexp",
        ]);
        if params.element.get("de_dot").is_some()
            || params.element.get("de_dot_separator").is_some()
        {
            params.ignore(&[
                "de_dot",
                "de_dot_separator",
                "de_slash",
                "de_slash_separator",
            ]);
            params.differs("'de_dot': labels keep their dots; the outputs es and opensearch replace them with Replace_Dots on");
        }
        params.differs("the record's kubernetes has docker_id, container_hash and pod_id; docker.container_id, container_image_id, namespace_id and master_url are not there");
        let mut prefixes: Vec<(String, Vec<Arrival>)> = Vec::new();
        let mut without = Vec::new();
        for arrival in arrivals {
            let source = &routes.sources[arrival.source];
            for glob in &source.physical {
                match container_prefix(glob) {
                    Some(prefix) => {
                        let known = prefixes.iter().position(|(p, _)| *p == prefix);
                        let at = known.unwrap_or_else(|| {
                            prefixes.push((prefix, Vec::new()));
                            prefixes.len() - 1
                        });
                        prefixes[at].1.push(arrival.clone());
                    }
                    None if source.is_open => without.push(arrival.clone()),
                    None => {}
                }
            }
        }
        if prefixes.is_empty() && !without.is_empty() {
            params.differs("tags come from outside; they are taken to begin with kubernetes.var.log.containers.");
            prefixes.push(("kubernetes.var.log.containers.".to_owned(), without));
        }
        if prefixes.is_empty() {
            params.lost("<filter> of type kubernetes_metadata: no source that comes here follows the files of /var/log/containers with a star in its tag");
        }
        for (prefix, arrivals) in prefixes {
            let mut one = filter.clone();
            one.set("Kube_Tag_Prefix", &prefix);
            self.set_match(&mut one, &arrivals, routes, params.place());
            self.filters.push(one);
        }
    }

    fn concat(&mut self, params: &Params<'_>) -> Vec<Section> {
        let mut filter = Section::plugin("FILTER", "multiline", &origin(params.element));
        let key = params.word("key").unwrap_or_else(|| "log".to_owned());
        let flush = params
            .word("flush_interval")
            .and_then(|t| text::seconds(&t));
        let flush_ms = flush.filter(|s| *s > 0.0).map(|s| (s * 1000.0) as u64);
        if params.switch("use_first_timestamp") != Some(true) {
            params.differs(
                "a joined record has the time of its first part, as with use_first_timestamp",
            );
        }
        params.ignore(&[
            "timeout_label",
            "stream_identity_key",
            "use_first_timestamp",
            "n_lines_per_chunk",
            "partial_cri_stream_key",
        ]);
        let separator = params.element.get("separator").map(|a| a.value.to_string());
        params.ignore(&["separator"]);
        let is_partial_cri = params.switch("use_partial_cri_logtag") == Some(true)
            || params.word("partial_key").is_some_and(|k| k == "logtag");
        if is_partial_cri {
            params.ignore(&["partial_value", "partial_cri_logtag_key"]);
            let keys = Section::new("", "")
                .with("Type", "equal")
                .with("Match_String", "F")
                .with("Key_Content", &key)
                .with("Key_Pattern", "logtag")
                .with("Key_Group", "stream");
            let name = self.parsers.add("MULTILINE_PARSER", "partial", "", &keys);
            filter.set("multiline.parser", &name);
            filter.set("multiline.key_content", &key);
            if separator.as_deref() != Some("") {
                params.differs("parts of a line are joined with nothing between them, where the plugin puts its 'separator', by default a line end");
            }
            params.differs("the parts of each stream are joined by themselves, whatever 'stream_identity_key' says");
            let mut rest = Section::plugin("FILTER", "record_modifier", "");
            if params.switch("keep_partial_key") != Some(true) {
                rest.set("Remove_key", "logtag");
            }
            if params.switch("use_partial_cri_logtag") == Some(true) {
                rest.set("Remove_key", "stream");
            }
            let has_rest = rest.get("remove_key").is_some();
            return std::iter::once(filter)
                .chain(has_rest.then_some(rest))
                .collect();
        }
        if params.switch("use_partial_metadata") == Some(true) {
            params.ignore(&["keep_partial_metadata", "partial_metadata_format"]);
            filter.set("Mode", "partial_message");
            filter.set("multiline.key_content", &key);
            return vec![filter];
        }
        if separator
            .as_deref()
            .is_some_and(|s| s != "\n" && s != "\\n")
        {
            params.differs("'separator': joined lines are kept apart by a line end");
        }
        let first = params
            .text("multiline_start_regexp")
            .map(|t| text::pattern(&t.written));
        let next = params
            .text("continuous_line_regexp")
            .map(|t| text::pattern(&t.written));
        let end = params
            .text("multiline_end_regexp")
            .map(|t| text::pattern(&t.written));
        if end.is_some() {
            params.lost("'multiline_end_regexp': rules say which line begins a record and which goes on, not which ends it; write a [MULTILINE_PARSER] whose last state has no rule");
        }
        if params.word("n_lines").is_some() {
            params.lost(
                "'n_lines': records are joined by what their lines hold, not by their number",
            );
        }
        let (first, next) = (first.unwrap_or_default(), next.unwrap_or_default());
        if first.is_empty() && next.is_empty() {
            params.lost("<filter> of type concat has no multiline_start_regexp");
            return Vec::new();
        }
        let name = self.parsers.joiner(&first, &next, "concat", flush_ms);
        filter.set("multiline.parser", &name);
        filter.set("multiline.key_content", &key);
        if let Some(flush) = flush_ms {
            filter.set("flush_ms", &flush.to_string());
        }
        vec![filter]
    }
}

/// The beginning of a tag up to the file's name, where the files are those of containers.
fn container_prefix(glob: &Glob) -> Option<String> {
    let head: String = glob
        .iter()
        .map_while(|piece| match piece {
            Piece::Char(c) => Some(*c),
            _ => None,
        })
        .collect();
    let mark = "var.log.containers.";
    head.find(mark).map(|at| head[..at + mark.len()].to_owned())
}

fn grep(params: &Params<'_>, report: &Report) -> Vec<Section> {
    let mut made = Vec::new();
    let head = |op: Option<&str>| {
        let mut filter = Section::plugin("FILTER", "grep", &origin(params.element));
        if let Some(op) = op {
            filter.set("Logical_Op", op);
        }
        filter.set("Compare_All", "on");
        filter
    };
    let rule = |params: &Params<'_>| -> Option<String> {
        let (Some(key), Some(pattern)) = (params.word("key"), params.text("pattern")) else {
            params.lost("the rule needs 'key' and 'pattern'");
            return None;
        };
        let pattern = text::pattern(&pattern.written);
        let Some(path) = text::path(&key) else {
            params.lost(format!("'key' {key} reaches into an array"));
            return None;
        };
        let key = if path.len() > 1 {
            text::accessor(&path)
        } else {
            path[0].clone()
        };
        Some(format!("{key} {pattern}"))
    };
    let of = |element: &Element| {
        let params = Params::new(element, report);
        let found = rule(&params);
        params.finish();
        found
    };
    for (name, ours) in [("regexp", "Regex"), ("exclude", "Exclude")] {
        for element in params.elements(name) {
            made.extend(of(element).map(|r| head(None).with(ours, &r)));
        }
        for n in 1..=20 {
            let old = params.text(&format!("{name}{n}"));
            if let Some((key, pattern)) = old.as_ref().and_then(|t| t.written.split_once(' ')) {
                let rule = format!("{key} {}", text::pattern(pattern.trim()));
                made.push(head(None).with(ours, &rule));
            }
        }
    }
    for op in ["and", "or"] {
        for group in params.elements(op) {
            let inside = Params::new(group, report);
            for (name, ours) in [("regexp", "Regex"), ("exclude", "Exclude")] {
                let rules: Vec<String> = inside.elements(name).filter_map(of).collect();
                if rules.is_empty() {
                    continue;
                }
                let mut filter = head(Some(op));
                for rule in &rules {
                    filter.set(ours, rule);
                }
                made.push(filter);
            }
            inside.finish();
        }
    }
    made
}

fn detect_exceptions(params: &Params<'_>) -> Vec<Section> {
    let mut filter = Section::plugin("FILTER", "multiline", &origin(params.element));
    let known = ["java", "python", "go", "ruby"];
    let languages = params.list("languages");
    let mut parsers: Vec<&str> = Vec::new();
    for language in &languages {
        match language.as_str() {
            "all" | "all_languages" => parsers.extend(known),
            "js" | "javascript" | "csharp" | "php" | "dart" => {
                params.differs(format!(
                    "traces of {language} are not joined; write a [MULTILINE_PARSER] for them"
                ));
            }
            other => parsers.extend(known.iter().find(|k| **k == other)),
        }
    }
    if languages.is_empty() {
        parsers.extend(known);
        params.differs("traces of Java, Python, Go and Ruby are joined; for JavaScript, C#, PHP and Dart write a [MULTILINE_PARSER]");
    }
    filter.set("multiline.parser", &parsers.join(","));
    let key = params.word("message").unwrap_or_else(|| "log".to_owned());
    filter.set("multiline.key_content", &key);
    if let Some(flush) = params
        .word("multiline_flush_interval")
        .and_then(|t| text::seconds(&t))
    {
        filter.set("flush_ms", &((flush * 1000.0) as u64).to_string());
    }
    params.ignore(&[
        "remove_tag_prefix",
        "stream",
        "max_bytes",
        "max_lines",
        "force_line_breaks",
        "match_tag",
    ]);
    vec![filter]
}

/// The tag of a `rewrite_tag_filter` rule as a glob.
pub(super) fn template_glob(tag: &str) -> Glob {
    let mut glob = Glob::new();
    let mut rest = tag;
    while let Some(at) = rest.find(['$', '_']) {
        glob.extend(tags::literal(&rest[..at]));
        rest = &rest[at..];
        let n = if rest.starts_with("${") {
            rest.find('}').map_or(rest.len(), |end| end + 1)
        } else if rest.starts_with("__TAG") {
            rest[2..].find("__").map_or(rest.len(), |end| end + 4)
        } else if rest.starts_with('$') && rest.len() > 1 {
            2
        } else {
            glob.extend(tags::literal(&rest[..1]));
            rest = &rest[1..];
            continue;
        };
        if glob.last() != Some(&Piece::Any) {
            glob.push(Piece::Any);
        }
        rest = &rest[n..];
    }
    glob.extend(tags::literal(rest));
    glob
}

fn rewrite_tag(params: &Params<'_>, report: &Report) -> Vec<Section> {
    let mut filter = Section::plugin("FILTER", "rewrite_tag", &origin(params.element));
    let mut n_rules = 0;
    for element in params.elements("rule") {
        let rule = Params::new(element, report);
        rule.ignore(&["label"]);
        let found = (rule.word("key"), rule.text("pattern"), rule.word("tag"));
        let (Some(key), Some(pattern), Some(tag)) = found else {
            rule.lost("the rule needs 'key', 'pattern' and 'tag'");
            continue;
        };
        let pattern = text::pattern(&pattern.written);
        let inverted = rule.switch("invert") == Some(true);
        if inverted {
            rule.differs(
                "'invert': a record without the field is not taken, where Fluentd takes it",
            );
        }
        let pattern = if inverted {
            format!("^(?!.*(?:{pattern}))")
        } else {
            pattern
        };
        let ours = tag
            .replace("${tag}", "$TAG")
            .replace("__TAG__", "$TAG")
            .replace("${tag_parts[", "$TAG[")
            .replace("]}", "]");
        match text::path(&key) {
            Some(path) if !ours.contains("${") && !ours.contains("__") => {
                let quoted =
                    if pattern.contains(char::is_whitespace) || pattern.starts_with(['"', '\'']) {
                        format!("\"{}\"", pattern.replace('\\', "\\\\").replace('"', "\\\""))
                    } else {
                        pattern
                    };
                filter.set(
                    "Rule",
                    &format!("{} {quoted} {ours} false", text::accessor(&path)),
                );
                n_rules += 1;
            }
            _ => rule.lost(format!(
                "the tag '{tag}' or the key '{key}' cannot be said in a rule of rewrite_tag"
            )),
        }
        rule.finish();
    }
    if params.word("remove_tag_prefix").is_some() || params.word("remove_tag_regexp").is_some() {
        params.lost("'remove_tag_prefix': name the parts of the tag that stay, as $TAG[1].$TAG[2], in the Rule");
    }
    if params.switch("capitalize_regex_backreference") == Some(true) {
        params.lost("'capitalize_regex_backreference': groups stand in the tag as they are");
    }
    params.ignore(&["hostname_command", "emit_mode"]);
    if n_rules == 0 {
        params.lost("there is no <rule> that can be used; records keep their tags");
        Vec::new()
    } else {
        vec![filter]
    }
}

fn prometheus(params: &Params<'_>, report: &Report) -> Vec<Section> {
    let mut made = Vec::new();
    for element in params.elements("metric") {
        let metric = Params::new(element, report);
        let kind = metric.word("type").unwrap_or_default();
        let kind = if kind == "summary" {
            "histogram".to_owned()
        } else {
            kind
        };
        let mut filter = Section::plugin("FILTER", "log_to_metrics", &origin(element));
        filter.set("Tag", "metrics.logs");
        filter.set("Metric_Mode", &kind);
        let name = metric.word("name").unwrap_or_default();
        filter.set("Metric_Name", &name);
        let description = metric
            .text("desc")
            .map_or_else(|| name.clone(), |t| t.written);
        filter.set("Metric_Description", &description);
        match metric.word("key") {
            Some(key) if kind != "counter" => filter.set("Value_Field", &key),
            Some(key) => metric.lost(format!("a counter that adds up the field {key}: records are counted one by one; use a gauge or histogram")),
            None => {}
        }
        for bucket in metric.list("buckets") {
            filter.set("Bucket", &bucket);
        }
        labels(&metric, &mut filter);
        metric.differs("the metric is named log_metric_MODE_NAME, and an output prometheus_exporter or prometheus_remote_write with Match metrics.logs has to send it");
        metric.finish();
        made.push(filter);
    }
    if let Some(common) = params.nested("labels") {
        for filter in &mut made {
            label_keys(&common, filter);
        }
        common.finish();
    }
    made
}

fn labels(metric: &Params<'_>, filter: &mut Section) {
    if let Some(labels) = metric.nested("labels") {
        label_keys(&labels, filter);
        labels.finish();
    }
}

fn label_keys(labels: &Params<'_>, filter: &mut Section) {
    for attribute in &labels.element.attributes {
        let value = labels.word(&attribute.key).unwrap_or_default();
        match text::path(&value).filter(|_| value.starts_with('$') && !value.contains('{')) {
            Some(path) => filter.set(
                "Add_Label",
                &format!("{} {}", attribute.key, text::accessor(&path)),
            ),
            None => labels.lost(format!(
                "the label {} is '{value}', which is no field",
                attribute.key
            )),
        }
    }
}

fn instead_of(kind: &str) -> &'static str {
    match kind {
        "throttle" => {
            "records are counted per group there; the filter throttle counts all together, which would drop others' lines. Bound a noisy pod with Rate_Gate of its own input, or leave it out"
        }
        "dedot" => "the outputs es and opensearch replace dots with Replace_Dots on",
        "flatten_hash" | "flatten" => "lift maps with a filter nest",
        "genhashvalue" | "elasticsearch_genid" => {
            "the outputs es and opensearch make ids of their own, from file and offset"
        }
        "anonymizer" | "masking" => "change the fields with a filter lua",
        "jq_transformer" | "jq" => "change the fields with a filter lua or modify",
        "rename_key" => "rename fields with a filter modify (Rename)",
        "typecast" | "types_filter" => {
            "convert fields with a filter type_converter, or with Types of the parser"
        }
        "sampling_filter" | "sampling" => "drop records by chance with a filter lua",
        "systemd_entry" => "use Strip_Underscores and Lowercase of the input systemd",
        "enrich_jvm" | "fields_parser" | "kvp" => {
            "parse the field with a filter parser and a parser of format logfmt"
        }
        _ => "there is no such filter; a filter lua, modify, nest or grep may do the same",
    }
}
