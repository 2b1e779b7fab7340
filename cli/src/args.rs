//! The command line: every command with its flags and their help.
//!
//! Flags that kubectl has too are called as there and mean the same. What flags mean together is
//! checked by the command itself.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// kansoku's command line: logs and metrics of a kansoku-aggregator.
#[derive(Debug, Parser)]
#[command(name = "kansoku", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// A number that counts something.
fn number(text: &str) -> Result<usize, String> {
    let read = text.parse();
    read.map_err(|_| "expected a number, 0 or more".to_owned())
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Address of the aggregator, for example https://kansoku.example:9428 (KANSOKU_SERVER).
    #[arg(long, global = true, value_name = "URL", help_heading = "Server")]
    pub server: Option<String>,

    /// The context of the configuration file to use (KANSOKU_CONTEXT).
    #[arg(long, global = true, value_name = "NAME", help_heading = "Server")]
    pub context: Option<String>,

    /// The configuration file (KANSOKU_CONFIG) [default: ~/.config/kansoku/config.yaml].
    #[arg(long, global = true, value_name = "FILE", help_heading = "Server")]
    pub config: Option<PathBuf>,

    /// Token for the server (KANSOKU_TOKEN); a token file of a context keeps it out of lists of processes.
    #[arg(long, global = true, value_name = "TOKEN", help_heading = "Server")]
    pub token: Option<String>,

    /// User for the server, in the place of a token (KANSOKU_USERNAME).
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        conflicts_with = "token",
        help_heading = "Server"
    )]
    pub username: Option<String>,

    /// The user's password (KANSOKU_PASSWORD, which keeps it out of lists of processes).
    #[arg(long, global = true, value_name = "PASSWORD", help_heading = "Server")]
    pub password: Option<String>,

    /// Tenant whose data is asked for (KANSOKU_TENANT).
    #[arg(long, global = true, value_name = "NAME", help_heading = "Server")]
    pub tenant: Option<String>,

    /// The aggregator's service in a cluster; asks through the API server with kubectl's credentials.
    #[arg(
        long,
        global = true,
        value_name = "NAMESPACE/NAME:PORT",
        help_heading = "Server"
    )]
    pub kube_service: Option<String>,

    /// The kubeconfig for that.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Server")]
    pub kubeconfig: Option<PathBuf>,

    /// The kubeconfig's context for that.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Server")]
    pub kube_context: Option<String>,

    /// How long one request may take, for example 30s; 0 waits for ever.
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        default_value = "5m",
        help_heading = "Server"
    )]
    pub request_timeout: String,

    /// How results are written.
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t = Output::Table, help_heading = "Output")]
    pub output: Output,

    /// Colours: when the output is a terminal and NO_COLOR is not set, always, or never.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = When::Auto, help_heading = "Output")]
    pub color: When,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Aligned columns; lines of logs as they are.
    Table,
    Json,
    Yaml,
    Csv,
}

/// When there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print what containers wrote, living and dead, with kubectl logs' flags.
    Logs(Logs),
    /// Evaluate a PromQL or LogQL query at one moment.
    Query(Query),
    /// Evaluate a query over a span of time.
    Range(Range),
    /// Print lines of a LogQL query as they come.
    Tail(Tail),
    /// CPU and memory of nodes or pods, as kubectl top shows them.
    #[command(subcommand)]
    Top(Top),
    /// List labels, or the values of one.
    Labels(Labels),
    /// Patterns of lines with their number, the most frequent first.
    Patterns(Patterns),
    /// The agents that send, and how they fare.
    Agents(Agents),
    /// Check a configuration, rules or a store with the program that reads it.
    #[command(subcommand)]
    Check(Check),
    /// Back up a store: kansoku-aggregator backup with these arguments.
    #[command(disable_help_flag = true)]
    Backup(Passed),
    /// Restore a backup into an empty folder: kansoku-aggregator restore with these arguments.
    #[command(disable_help_flag = true)]
    Restore(Passed),
    /// Write logs or samples of a span of time to a file.
    #[command(subcommand)]
    Export(Export),
    /// Show and change the configuration file.
    #[command(subcommand)]
    Config(Config),
    /// Print the completion script of a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the help of a command.
    Help {
        /// The command, for example: top pods.
        #[arg(value_name = "COMMAND")]
        path: Vec<String>,
    },
}

/// `kansoku logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// POD, or TYPE/NAME: pod, deployment, replicaset, statefulset, daemonset, job, cronjob, replicationcontroller.
    #[arg(value_name = "POD | TYPE/NAME")]
    pub resource: Option<String>,

    /// Container; the same as -c.
    #[arg(value_name = "CONTAINER")]
    pub inline_container: Option<String>,

    /// Namespace [default: that of the context, else default].
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// Pods with these labels: a=b, a!=b, a in (b,c), a notin (b,c), a, !a; separated by commas.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,

    /// This container.
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,

    /// All containers of the pods.
    #[arg(long, action = clap::ArgAction::Set, hide_possible_values = true, hide_default_value = true, value_name = "true|false", default_missing_value = "true", num_args = 0..=1, require_equals = true, default_value_t = false)]
    pub all_containers: bool,

    /// All pods of a workload; with --prefix.
    #[arg(long, action = clap::ArgAction::Set, hide_possible_values = true, hide_default_value = true, value_name = "true|false", default_missing_value = "true", num_args = 0..=1, require_equals = true, default_value_t = false)]
    pub all_pods: bool,

    /// Go on with what comes, until interrupted.
    #[arg(short, long, action = clap::ArgAction::Set, hide_possible_values = true, hide_default_value = true, value_name = "true|false", default_missing_value = "true", num_args = 0..=1, require_equals = true, default_value_t = false)]
    pub follow: bool,

    /// What the container wrote before its last restart.
    #[arg(short, long, action = clap::ArgAction::Set, hide_possible_values = true, hide_default_value = true, value_name = "true|false", default_missing_value = "true", num_args = 0..=1, require_equals = true, default_value_t = false)]
    pub previous: bool,

    /// Only lines newer than this, for example 5s, 2m or 3h.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub since: Option<String>,

    /// Only lines from this time on (RFC 3339).
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub since_time: Option<String>,

    /// The newest lines of each container; -1 are all. 10 with a selector, else all.
    #[arg(long, value_name = "LINES", allow_hyphen_values = true)]
    pub tail: Option<i64>,

    /// At most so many bytes of each container; 0 is no limit.
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 0,
        allow_hyphen_values = true
    )]
    pub limit_bytes: i64,

    /// The time before each line.
    #[arg(long, action = clap::ArgAction::Set, hide_possible_values = true, hide_default_value = true, value_name = "true|false", default_missing_value = "true", num_args = 0..=1, require_equals = true, default_value_t = false)]
    pub timestamps: bool,

    /// Pod and container before each line.
    #[arg(long, action = clap::ArgAction::Set, hide_possible_values = true, hide_default_value = true, value_name = "true|false", default_missing_value = "true", num_args = 0..=1, require_equals = true, default_value_t = false)]
    pub prefix: bool,

    /// Containers that may be followed at a time.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = number, allow_hyphen_values = true)]
    pub max_log_requests: usize,

    /// Say what goes wrong with one container and go on with the others.
    #[arg(long, action = clap::ArgAction::Set, hide_possible_values = true, hide_default_value = true, value_name = "true|false", default_missing_value = "true", num_args = 0..=1, require_equals = true, default_value_t = false)]
    pub ignore_errors: bool,

    /// With -f: how long to wait for the first line of a pod that is not known yet.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "20s",
        allow_hyphen_values = true
    )]
    pub pod_running_timeout: String,

    /// Of a selector or workload: pods that wrote within this time; when there are none, all that ever did.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "24h",
        allow_hyphen_values = true
    )]
    pub within: String,
}

/// The language of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// By how it looks.
    Auto,
    Promql,
    Logql,
}

/// `kansoku query`
#[derive(Debug, Args)]
pub struct Query {
    /// PromQL, or LogQL; lines of a log query are those of the last hour.
    pub query: String,
    /// The moment: RFC 3339, Unix seconds, or how long ago (5m) [default: now].
    #[arg(short, long, value_name = "TIME", allow_hyphen_values = true)]
    pub time: Option<String>,
    /// The language.
    #[arg(long, value_enum, default_value_t = Language::Auto)]
    pub lang: Language,
    /// The most lines of a log query, the newest; 0 are all, 100 without it.
    #[arg(long, value_name = "N", value_parser = number, allow_hyphen_values = true)]
    pub limit: Option<usize>,
}

/// A span of time.
#[derive(Debug, Clone, Args)]
pub struct Span {
    /// Where it begins: RFC 3339, Unix seconds, or how long ago (1h).
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1h",
        allow_hyphen_values = true
    )]
    pub start: String,
    /// Where it ends [default: now].
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub end: Option<String>,
}

/// `kansoku range`
#[derive(Debug, Args)]
pub struct Range {
    /// PromQL or LogQL.
    pub query: String,
    #[command(flatten)]
    pub span: Span,
    /// Distance of the points, for example 30s [default: a 250th of the span].
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub step: Option<String>,
    /// The language.
    #[arg(long, value_enum, default_value_t = Language::Auto)]
    pub lang: Language,
    /// The most lines of a log query, the newest; 0 are all, 1000 without it.
    #[arg(long, value_name = "N", value_parser = number, allow_hyphen_values = true)]
    pub limit: Option<usize>,
    /// The newest lines of a log query first.
    #[arg(long)]
    pub newest_first: bool,
}

/// `kansoku tail`
#[derive(Debug, Args)]
pub struct Tail {
    /// LogQL, without a metric.
    pub query: String,
    /// Begin with lines so old.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "0s",
        allow_hyphen_values = true
    )]
    pub since: String,
    /// The time before each line.
    #[arg(long)]
    pub timestamps: bool,
    /// The labels before each line.
    #[arg(long)]
    pub labels: bool,
}

#[derive(Debug, Subcommand)]
pub enum Top {
    /// Nodes.
    #[command(alias = "node", alias = "no")]
    Nodes(TopNodes),
    /// Pods.
    #[command(alias = "pod", alias = "po")]
    Pods(TopPods),
}

/// What rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SortBy {
    Cpu,
    Memory,
}

/// `kansoku top nodes`
#[derive(Debug, Args)]
pub struct TopNodes {
    /// This node.
    pub name: Option<String>,
    /// The greatest first, by this.
    #[arg(long, value_enum)]
    pub sort_by: Option<SortBy>,
    /// No line of headings.
    #[arg(long)]
    pub no_headers: bool,
    /// The time over which the use of CPUs is measured.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "2m",
        allow_hyphen_values = true
    )]
    pub window: String,
}

/// `kansoku top pods`
#[derive(Debug, Args)]
pub struct TopPods {
    /// This pod.
    pub name: Option<String>,
    /// Namespace [default: that of the context, else default].
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// All namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Pods with these labels, as for logs.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// A row for each container.
    #[arg(long)]
    pub containers: bool,
    /// The greatest first, by this.
    #[arg(long, value_enum)]
    pub sort_by: Option<SortBy>,
    /// A last row with the sums.
    #[arg(long)]
    pub sum: bool,
    /// No line of headings.
    #[arg(long)]
    pub no_headers: bool,
    /// The time over which the use of CPUs is measured.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "2m",
        allow_hyphen_values = true
    )]
    pub window: String,
}

/// `kansoku labels`
#[derive(Debug, Args)]
pub struct Labels {
    /// List the values of this label.
    pub name: Option<String>,
    /// Of metrics, and not of logs.
    #[arg(long)]
    pub metrics: bool,
    /// Only of what this selector selects.
    #[arg(long = "match", value_name = "SELECTOR")]
    pub selector: Option<String>,
    #[command(flatten)]
    pub span: Span,
}

/// `kansoku patterns`
#[derive(Debug, Args)]
pub struct Patterns {
    /// A stream selector, for example '{namespace="shop"}'.
    pub selector: String,
    #[command(flatten)]
    pub span: Span,
    /// The most patterns shown; 0 are all.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = number, allow_hyphen_values = true)]
    pub limit: usize,
}

/// `kansoku agents`
#[derive(Debug, Args)]
pub struct Agents {
    /// The time over which rates are measured.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5m",
        allow_hyphen_values = true
    )]
    pub window: String,
}

/// Arguments that go to another program as they are.
#[derive(Debug, Args)]
pub struct Passed {
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_hint = clap::ValueHint::AnyPath,
        value_name = "ARGUMENTS"
    )]
    pub arguments: Vec<std::ffi::OsString>,
}

#[derive(Debug, Subcommand)]
pub enum Check {
    /// An agent's configuration: kansoku-agent --dry-run --config FILE, with further arguments behind it.
    #[command(disable_help_flag = true)]
    Config(Passed),
    /// Files of rules: kansoku-aggregator check rules.
    #[command(disable_help_flag = true)]
    Rules(Passed),
    /// A store that is not in use: kansoku-aggregator check --storage.path FOLDER, with further arguments behind it.
    #[command(disable_help_flag = true)]
    Storage(Passed),
}

/// File formats of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A JSON object per line.
    Jsonl,
    /// OpenMetrics text; samples only.
    Openmetrics,
    /// Parquet with a column per label.
    Parquet,
}

#[derive(Debug, Subcommand)]
pub enum Export {
    /// Lines of a LogQL query.
    Logs(ExportData),
    /// Samples of the series that a selector selects.
    #[command(alias = "samples")]
    Metrics(ExportData),
}

/// `kansoku export …`
#[derive(Debug, Args)]
pub struct ExportData {
    /// LogQL without a metric for logs, a series selector for metrics.
    pub selector: String,
    #[command(flatten)]
    pub span: Span,
    /// The format [default: by the file's name, else jsonl].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// The file to write; - is the standard output. It appears when it is complete.
    #[arg(long, short = 'f', value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// No progress on the terminal.
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub enum Config {
    /// List the contexts.
    GetContexts,
    /// Use this context from now on.
    UseContext {
        /// Its name.
        name: String,
    },
    /// Add a context, or change what is given of it.
    SetContext(SetContext),
    /// Remove a context.
    DeleteContext {
        /// Its name.
        name: String,
    },
    /// Print the file that is used.
    View,
}

/// `kansoku config set-context`; the address, token and tenant are those of the global flags.
#[derive(Debug, Args)]
pub struct SetContext {
    /// Its name.
    pub name: String,
    /// File with the token; read at every start.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// File with the password of --username; read at every start.
    #[arg(long, value_name = "FILE", conflicts_with = "token_file")]
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) of the authorities that are trusted, and no others.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Our certificate (PEM) with its chain.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_certificate: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub client_key: Option<PathBuf>,
    /// The namespace for logs and top.
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}
