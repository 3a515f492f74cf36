"""Which jobs of a study are to be run, and why: decided by records, never by file times.

A finished job has a verified record, made with the job's present settings from the present records
it reads. The runner writes both into the record (`made_from`), so that a clone, a copy or an
unpacked archive of a finished study has nothing to do.
"""

from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from ppmlib.record import records

ANALYSIS = "5_analysis"
ALONE = ("6_published", "7_models", "8_simulations")  # notebooks that belong to no study
INDEX = "index"
# Its record is not compared: widths and seeds are in the settings of the jobs that read it.
NOT_TRACKED = ("1_scoring",)
# Parameters that may name a file; its content is hashed in `static`.
NAME_FILES = ("criterion", "criteria", "matched", "calibration_file")
MADE_FROM = "made_from"
MISSING = "not done yet"
ASKED = "asked for"
CHANGED = "changed: "
UNUSABLE = "its record cannot be used: "


def describe_inputs(root: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into a job's record: the hash of its settings and of each record it reads."""
    return {
        "settings": settings_sha256(job),
        "records": {
            read: _identity(root, read, job) for read in job["reads"] if read not in NOT_TRACKED
        },
    }


def check_as_planned(root: Path, key: str, job: Mapping[str, Any]) -> None:
    """Delete a new record that was made from other files than its study was planned with.

    RecordError if so: a model or a score file was replaced while the study ran.
    """
    inputs, static = records.read(root, key)["inputs"], job.get("static", {})
    model = inputs.get("model") if isinstance(inputs.get("model"), dict) else {}
    hashes = sorted(name for name in {*model} & {*static} if name.endswith("_sha256"))
    wrong = [name for name in hashes if model[name] != static[name]]
    scored = {*inputs.get("criteria", {}).values(), inputs.get("criterion_sha256")}
    wrong += [n for n, digest in static.get("score_files", {}).items() if digest not in scored]
    if wrong:
        records.remove(root, key)
        raise records.RecordError(
            f"{key} read other files than the study was planned with ({', '.join(wrong)}): the "
            "model or score file was replaced meanwhile; run the same command again"
        )


def settings_sha256(job: Mapping[str, Any]) -> str:
    """Hash of a job's settings in the plan, without the folders of files on this machine."""
    about = {name: job.get(name) for name in ("parameters", "static", "reads", "notebook")}
    return records.fingerprint(_portable(about))


def find_jobs_to_run(
    root: Path, plan: Mapping[str, Any], forced: Iterable[str] = (), *, everything: bool = False
) -> dict[str, str]:
    """The jobs to run, each with its reason; `index` for the study's page.

    `forced`: keys to run in any case, and with them all jobs that read their records; `everything`
    forces all.
    """
    earlier, jobs = earlier_plan(root), plan["jobs"]
    forced = {*jobs, INDEX} if everything else set(forced)
    reasons: dict[str, str] = {}
    for key, job in jobs.items():  # a plan lists a job after those it reads
        reason = ASKED if key in forced else _reason(root, key, job, earlier["jobs"].get(key))
        for read in job["reads"]:
            if reason is None and read in reasons and _follows(job, read, reasons[read]):
                reason = f"reads {read}" + (f", {ASKED}" if reasons[read].endswith(ASKED) else "")
        if reason is not None:
            reasons[key] = reason
    if reasons or INDEX in forced or not _page_is_current(root, plan, earlier):
        reasons[INDEX] = "the page of the study"
    return reasons


def list_missing_pages(root: Path, plan: Mapping[str, Any], to_run: Container[str]) -> list[str]:
    """Finished jobs whose page is missing: it is rendered again, nothing is computed."""
    missing = (key for key in plan["jobs"] if not Path(root, f"{key}.html").is_file())
    return [key for key in missing if key not in to_run]


def earlier_plan(root: Path) -> dict[str, Any]:
    """The plan of the study's last run; one without jobs where none can be read."""
    try:
        return records.read_plan(root)
    except records.RecordError:
        return {"jobs": {}}


def refuse_other(root: Path, plan: Mapping[str, Any]) -> None:
    """RecordError where a folder holds another kind of report, which a run would overwrite."""
    mine = {job["stage"] for job in plan["jobs"].values()}
    here = {job.get("stage") for job in earlier_plan(root)["jobs"].values()} or mine
    for key in (here ^ mine) & {*ALONE}:
        what = "another report" if key in mine else f"the report of {key}"
        raise records.RecordError(f"{root}: holds {what} already: choose another name")


def delete_stale_records(root: Path, to_run: Mapping[str, str]) -> None:
    """Delete records of jobs that run again, so that no other job reads them meanwhile.

    Records that are only forced stay until their job starts.
    """
    for key, reason in to_run.items():
        if key == INDEX:
            Path(root, records.MANIFEST).unlink(missing_ok=True)
        elif not reason.endswith(ASKED):
            records.remove(root, key)


def _reason(root: Path, key: str, job: Mapping[str, Any], before: Mapping | None) -> str | None:
    """Why a job has to run; None if its record is current."""
    if not records.record_path(root, key).exists():
        return MISSING
    try:
        record = records.read(root, key)
    except records.RecordError as error:
        return f"{UNUSABLE}{error}"
    made = record.get(MADE_FROM)
    if made is None:  # an earlier version's record: the study's last plan has its settings
        same = before is not None and settings_sha256(before) == settings_sha256(job)
        return None if same else _changed(before, job)
    if made["settings"] != settings_sha256(job):
        return _changed(before, job)
    for read, identity in made["records"].items():
        now = _identity(root, read, job)
        if now is not None and now != identity:
            return f"{read} has changed"
    return None


def _follows(job: Mapping[str, Any], read: str, reason: str) -> bool:
    """Whether a job is run again because one that it reads is."""
    if job["stage"] == ANALYSIS or reason.endswith(ASKED):
        return True
    return read not in NOT_TRACKED and reason.startswith((CHANGED, "reads "))


def _changed(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """Name the settings that differ from those of the study's last run."""
    if before is None:
        return f"{CHANGED}other settings"
    names = []
    for part in records.PLAN_PARTS:
        old, new = _portable(before.get(part) or {}), _portable(now[part])
        names += [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    names += ["what it reads"] if before.get("reads") != now["reads"] else []
    return CHANGED + (", ".join(names) or "other settings")


def _identity(root: Path, read: str, job: Mapping[str, Any]) -> str | None:
    """The hash by which a job knows a record it reads; None where it cannot be read.

    The analysis shows measured seconds too, which are not in the fingerprint.
    """
    try:
        record = records.read_json(records.record_path(root, read))
    except records.RecordError:
        return None
    name = "sha256" if job["stage"] == ANALYSIS else "fingerprint"
    return record.get(name) if isinstance(record, dict) else None


def _portable(value: Any, names_file: bool = False) -> Any:
    """Settings without the folders of score and text files."""
    if isinstance(value, dict):
        return {name: _portable(item, name in NAME_FILES) for name, item in value.items()}
    if isinstance(value, list):
        return [_portable(item, names_file) for item in value]
    return Path(value).name if names_file and isinstance(value, str) else value


def _page_is_current(root: Path, plan: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    # Settings of jobs are compared with their records; here the rest, and which jobs there are.
    same = {**earlier, "jobs": set(earlier["jobs"])} == {**plan, "jobs": set(plan["jobs"])}
    if not same or not Path(root, f"{INDEX}.html").is_file():
        return False
    try:
        listed = records.read_manifest(root)
    except records.RecordError:
        return False
    return all(f"{key}.html" in listed for key in plan["jobs"])
