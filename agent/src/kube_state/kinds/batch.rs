//! Jobs and CronJobs.

use jiff::Timestamp;

use super::common::{self, OWNER};
use crate::kube_state::cron::{NoSchedule, Schedule};
use crate::kube_state::family::{Family, Form, Kind};
use crate::kube_state::object::{Object, flag, is_true, list, number, text};

pub const JOBS: Kind = Kind {
    resource: "jobs",
    api: "/apis/batch/v1",
    go_type: "*v1.Job",
    is_namespaced: true,
    name_label: "job_name",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[JOB],
};

pub const CRON_JOBS: Kind = Kind {
    resource: "cronjobs",
    api: "/apis/batch/v1",
    go_type: "*v1.CronJob",
    is_namespaced: true,
    name_label: "cronjob",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[CRON_JOB],
};

const FAILURES: &[&str] = &["BackoffLimitExceeded", "DeadlineExceeded", "Evicted"];

const JOB: &[Family] = &[
    Family::new(
        "kube_job_info",
        "[STABLE] Information about job.",
        &[],
        |_, out| out.number(1.0),
    ),
    Family::new(
        "kube_job_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::own_labels(
        "kube_job_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels("kube_job_labels", common::STABLE_LABELS, common::labels),
    Family::new(
        "kube_job_spec_parallelism",
        "[STABLE] The maximum desired number of pods the job should run at any given time.",
        &[],
        |job, out| common::optional(&job.spec["parallelism"], out),
    ),
    Family::new(
        "kube_job_spec_completions",
        "[STABLE] The desired number of successfully finished pods the job should be run with.",
        &[],
        |job, out| common::optional(&job.spec["completions"], out),
    ),
    Family::new(
        "kube_job_spec_active_deadline_seconds",
        "[STABLE] The duration in seconds relative to the startTime that the job may be active before the system tries to terminate it.",
        &[],
        |job, out| common::optional(&job.spec["activeDeadlineSeconds"], out),
    ),
    Family::new(
        "kube_job_status_succeeded",
        "[STABLE] The number of pods which reached Phase Succeeded.",
        &[],
        |job, out| out.number(number(&job.status["succeeded"])),
    ),
    // Its series have a reason or none.
    Family::own_labels(
        "kube_job_status_failed",
        "[STABLE] The number of pods which reached Phase Failed and the reason for failure.",
        |job, out| {
            let failed = number(&job.status["failed"]);
            if failed == 0.0 {
                return out.number(failed);
            }
            let conditions = list(&job.status["conditions"]).iter();
            let mut is_known = false;
            for condition in conditions.filter(|c| text(&c["type"]) == "Failed") {
                for reason in FAILURES {
                    let is = text(&condition["reason"]) == *reason;
                    is_known |= is;
                    out.sample(&["reason", reason], flag(is));
                }
            }
            if !is_known {
                out.sample(&["reason", ""], failed);
            }
        },
    ),
    Family::new(
        "kube_job_status_active",
        "[STABLE] The number of actively running pods.",
        &[],
        |job, out| out.number(number(&job.status["active"])),
    ),
    Family::new(
        "kube_job_status_ready",
        "The number of ready pods that belong to this Job.",
        &[],
        |job, out| out.number(number(&job.status["ready"])),
    ),
    Family::new(
        "kube_job_complete",
        "[STABLE] The job has completed its execution.",
        &["condition"],
        |job, out| common::condition(job, "Complete", out),
    ),
    Family::new(
        "kube_job_failed",
        "[STABLE] The job has failed its execution.",
        &["condition"],
        |job, out| common::condition(job, "Failed", out),
    ),
    Family::new(
        "kube_job_status_start_time",
        "[STABLE] StartTime represents time when the job was acknowledged by the Job Manager.",
        &[],
        |job, out| out.time(&[], job.status["startTime"].as_str()),
    ),
    Family::new(
        "kube_job_status_completion_time",
        "[STABLE] CompletionTime represents time when the job was completed.",
        &[],
        |job, out| out.time(&[], job.status["completionTime"].as_str()),
    ),
    Family::new(
        "kube_job_status_suspended",
        "The number of pods which reached Phase Suspended.",
        &[],
        |job, out| {
            for condition in list(&job.status["conditions"]) {
                if text(&condition["type"]) == "Suspended" {
                    out.number(flag(text(&condition["status"]) == "True"));
                }
            }
        },
    ),
    Family::new(
        "kube_job_owner",
        "[STABLE] Information about the Job's owner.",
        OWNER,
        common::owner,
    ),
];

const CRON_JOB: &[Family] = &[
    Family::new(
        "kube_cronjob_info",
        "[STABLE] Info about cronjob.",
        &["schedule", "concurrency_policy", "timezone"],
        |job, out| {
            out.info(&[
                text(&job.spec["schedule"]),
                text(&job.spec["concurrencyPolicy"]),
                job.spec["timeZone"].as_str().unwrap_or("local"),
            ]);
        },
    ),
    Family::new(
        "kube_cronjob_created",
        common::STABLE_CREATED,
        &[],
        common::created,
    ),
    Family::own_labels(
        "kube_cronjob_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels("kube_cronjob_labels", common::STABLE_LABELS, common::labels),
    Family::new(
        "kube_cronjob_metadata_resource_version",
        "[STABLE] Resource version representing a specific version of the cronjob.",
        &[],
        common::resource_version,
    ),
    Family::new(
        "kube_cronjob_status_active",
        "[STABLE] Active holds pointers to currently running jobs.",
        &[],
        |job, out| out.number(list(&job.status["active"]).len() as f64),
    ),
    Family::new(
        "kube_cronjob_status_last_schedule_time",
        "[STABLE] LastScheduleTime keeps information of when was the last time the job was successfully scheduled.",
        &[],
        |job, out| out.time(&[], job.status["lastScheduleTime"].as_str()),
    ),
    Family::new(
        "kube_cronjob_status_last_successful_time",
        "[STABLE] LastSuccessfulTime keeps information of when was the last time the job was completed successfully.",
        &[],
        |job, out| out.time(&[], job.status["lastSuccessfulTime"].as_str()),
    ),
    Family::new(
        "kube_cronjob_spec_suspend",
        "[STABLE] Suspend flag tells the controller to suspend subsequent executions.",
        &[],
        |job, out| out.number(flag(is_true(&job.spec["suspend"]))),
    ),
    Family::new(
        "kube_cronjob_spec_starting_deadline_seconds",
        "[STABLE] Deadline in seconds for starting the job if it misses scheduled time for any reason.",
        &[],
        |job, out| common::optional(&job.spec["startingDeadlineSeconds"], out),
    ),
    Family::new(
        "kube_cronjob_next_schedule_time",
        "[STABLE] Next time the cronjob should be scheduled. The time after lastScheduleTime, or after the cron job's creation time if it's never been scheduled. Use this to determine if the job is delayed.",
        &[],
        |job, out| {
            if is_true(&job.spec["suspend"]) {
                return;
            }
            let last = job.status["lastScheduleTime"].as_str();
            let after = last.or(job.metadata.creation_timestamp.as_deref());
            let after: Option<Timestamp> = after.and_then(|t| t.parse().ok());
            if let (Ok(schedule), Some(after)) = (schedule(job), after)
                && let Some(next) = schedule.next(after)
            {
                out.number(next.as_second() as f64);
            }
        },
    ),
    Family::new(
        "kube_cronjob_schedule_invalid",
        "Emitted with value 1 for cronjobs whose schedule, in its configured timezone, cannot be parsed.",
        &[],
        |job, out| {
            if schedule(job) == Err(NoSchedule::Invalid) {
                out.number(1.0);
            }
        },
    ),
    Family::new(
        "kube_cronjob_spec_successful_job_history_limit",
        "Successful job history limit tells the controller how many completed jobs should be preserved.",
        &[],
        |job, out| common::optional(&job.spec["successfulJobsHistoryLimit"], out),
    ),
    Family::new(
        "kube_cronjob_spec_failed_job_history_limit",
        "Failed job history limit tells the controller how many failed jobs should be preserved.",
        &[],
        |job, out| common::optional(&job.spec["failedJobsHistoryLimit"], out),
    ),
];

fn schedule(job: &Object) -> Result<Schedule, NoSchedule> {
    Schedule::parse(text(&job.spec["schedule"]), job.spec["timeZone"].as_str())
}
