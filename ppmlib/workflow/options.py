"""What the options of `ppm run` ask of Snakemake, as Snakemake's own parser reads them."""

import contextlib
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Answers a question; nothing is run and nothing may be written.
QUERIES = (
    *("dryrun", "lint", "list_rules", "list_target_rules", "print_compilation"),
    *("dag", "rulegraph", "filegraph", "d3dag", "summary", "detailed_summary"),
    *("list_changes", "list_input_changes", "list_params_changes", "list_untracked"),
    *("list_conda_envs", "containerize"),
)
# Snakemake does something else than run the study, in the study's folder.
UPKEEP = (
    *("unlock", "touch", "cleanup_metadata", "cleanup_shadow", "conda_cleanup_envs"),
    *("conda_create_envs_only", "container_cleanup_images", "archive", "report", "reporter"),
    *("generate_unit_tests", "delete_all_output", "delete_temp_output", "deploy_sources"),
)
PROFILE = "SNAKEMAKE_PROFILE"


class WrongOptions(Exception):
    """Snakemake does not take these options; the message says why."""


class Asked(NamedTuple):
    """What a command line asks for. Neither `query` nor `upkeep`: that the study is run."""

    query: bool = False
    dry_run: bool = False
    upkeep: bool = False
    forced: tuple[str, ...] = ()  # rules and files of --forcerun, and the targets of --force
    everything: bool = False


def read(options: Sequence[str]) -> Asked:
    """Read Snakemake's options. WrongOptions in its own words; SystemExit 0 after `--help`."""
    if not options and PROFILE not in os.environ:
        return Asked()
    parser, found = _parse(options)
    # Profiles may ask for a dry run too, also the one that the environment names.
    profiles = [name for name in (*(found.profile or ()), found.workflow_profile) if name]
    if profiles and "none" not in profiles:
        parser, found = _parse(options, profiles)
    for name in ("directory", "snakefile"):
        if getattr(found, name) is not None:
            raise WrongOptions(f"--{name} is set by ppm: it runs a study in its folder")

    def given(names: Sequence[str]) -> bool:
        return any(getattr(found, name) != parser.get_default(name) for name in names)

    targets = found.targets if found.force else ()
    return Asked(
        query=given(QUERIES),
        dry_run=bool(found.dryrun),
        upkeep=not given(QUERIES) and given(UPKEEP) and not found.report_after_run,
        forced=tuple(sorted(map(str, (*(found.forcerun or ()), *targets)))),
        everything=bool(found.forceall),
    )


def _parse(options: Sequence[str], profiles: Sequence[str] | None = None):
    """Snakemake's parser and what it reads. WrongOptions has what it would print on a mistake."""
    from snakemake.cli import get_argument_parser
    from snakemake.exceptions import CliException

    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            parser = get_argument_parser(profiles=profiles)
            return parser, parser.parse_args(list(options))
    except SystemExit as done:
        if not done.code:
            raise
        message = printed.getvalue().rpartition(": error: ")[2]
    except (CliException, ValueError) as error:
        message = str(error)
    raise WrongOptions(" ".join(message.split()))


def keys_of(names: Sequence[str], jobs: Mapping[str, Any]) -> set[str]:
    """The jobs that rules (`stage3_evaluation`) or files (`records/1_scoring.json`) name."""
    found = set()
    for name in names:
        rule = name.removeprefix("stage").removesuffix("_by_task")
        key = name.removeprefix("records/").removesuffix(".json").removesuffix(".html")
        found |= {known for known, job in jobs.items() if job["stage"] == rule or known == key}
        found |= {"index"} if key == "index" else set()
    return found
