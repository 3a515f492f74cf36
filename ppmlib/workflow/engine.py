"""Snakemake with our progress lines: `python -m ppmlib.workflow.engine [snakemake options]`."""

import signal
import sys

from ppmlib.workflow import progress
from ppmlib.workflow.processes import die_with_parent


def main(arguments: list[str]) -> None:
    """Register the progress lines as a Snakemake logger; run Snakemake, exit with its status."""
    die_with_parent(signal.SIGKILL)
    from snakemake.cli import main as snakemake
    from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

    sys.argv[0] = "snakemake"
    LoggerPluginRegistry().register_plugin("snakemake_logger_plugin_ppm", progress)
    snakemake(["--logger", "ppm", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
