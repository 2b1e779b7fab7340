//! A family of metrics: its name, its help, its labels, and how it is made of an object.

use kansoku_model::MetricKind;

use super::object::Object;
use super::samples::Sink;

/// The labels of a family's series besides those that name the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelNames {
    /// The same for every series.
    Fixed(&'static [&'static str]),
    /// Each series brings its own.
    Own,
}

/// One family of one kind of objects.
pub struct Family {
    pub name: &'static str,
    /// As kube-state-metrics exposes it, with `[STABLE]` in front of what it promises to keep.
    pub help: &'static str,
    pub kind: MetricKind,
    pub labels: LabelNames,
    /// Whether it is made only when `metric_opt_in_list` names it.
    pub is_opt_in: bool,
    /// Gives the samples of an object.
    pub make: fn(&Object, &mut Sink<'_>),
}

impl Family {
    /// A gauge whose series have these labels.
    #[must_use]
    pub const fn new(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        make: fn(&Object, &mut Sink<'_>),
    ) -> Self {
        Self {
            name,
            help,
            kind: MetricKind::Gauge,
            labels: LabelNames::Fixed(labels),
            is_opt_in: false,
            make,
        }
    }

    /// A gauge whose series bring their labels.
    #[must_use]
    pub const fn own_labels(
        name: &'static str,
        help: &'static str,
        make: fn(&Object, &mut Sink<'_>),
    ) -> Self {
        Self {
            labels: LabelNames::Own,
            ..Self::new(name, help, &[], make)
        }
    }

    /// Makes it a counter.
    #[must_use]
    pub const fn counter(mut self) -> Self {
        self.kind = MetricKind::Counter;
        self
    }

    /// Leaves it out unless it is asked for.
    #[must_use]
    pub const fn opt_in(mut self) -> Self {
        self.is_opt_in = true;
        self
    }
}

/// In what form objects are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As they are.
    Whole,
    /// Only their metadata: the content never reaches this machine.
    Metadata,
    /// Metadata, and the type from the columns that `kubectl get` prints: the only form in which the API
    /// tells a secret's type and not its content.
    Table,
}

/// A kind of objects.
pub struct Kind {
    /// Its plural, as in the API's paths and in `resources`.
    pub resource: &'static str,
    /// The API's path in front of the resource.
    pub api: &'static str,
    /// The type that kube-state-metrics' own metrics name.
    pub go_type: &'static str,
    pub is_namespaced: bool,
    /// The label with the object's name.
    pub name_label: &'static str,
    /// Whether series carry the uid.
    pub has_uid: bool,
    pub form: Form,
    /// Whether it is listed without being asked for in cluster scope.
    pub is_default: bool,
    pub families: &'static [&'static [Family]],
}

impl Kind {
    /// The names of the labels that every series of an object has.
    pub fn base_labels(&self) -> impl Iterator<Item = &'static str> {
        let namespace = self.is_namespaced.then_some("namespace");
        let uid = self.has_uid.then_some("uid");
        namespace.into_iter().chain([self.name_label]).chain(uid)
    }

    /// All families.
    pub fn families(&self) -> impl Iterator<Item = &'static Family> {
        self.families.iter().copied().flatten()
    }
}
