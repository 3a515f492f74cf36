"""Energy of a fake model through the real zeus, on RAPL files that count known joules.

`python rapl_counter.py FOLDER` prints the rows; zeus spawns a process, so this is a script.
"""

import json
import multiprocessing
import sys
from pathlib import Path

import torch
from test_profiling import FakeModel, FakeWidths

from ppmlib.profile import counters, energy, profiling

TOKEN_J, IDLE_J = 3, 7


def main(folder: Path) -> None:
    from zeus.device.cpu import rapl

    package = folder / "intel-rapl:0"
    package.mkdir()
    for name, text in {
        "name": "package-0",
        "energy_uj": "0",
        "max_energy_range_uj": "9" * 12,
    }.items():
        (package / name).write_text(text)
    rapl.RAPL_DIR = str(folder)

    def spend(joules):
        counter = package / "energy_uj"
        counter.write_text(str(int(counter.read_text()) + joules * 1_000_000))

    def generate(model, ids, new_tokens, mark):
        spend(TOKEN_J * new_tokens)
        return profiling.greedy(model, ids, new_tokens, mark)

    work = profiling.Workload("fixed", prompt_tokens=6, new_tokens=4, batch_sizes=(1, 3))
    sets = profiling.draw_prompt_sets([work], profiling.Rounds(0, 1), 9, [0])
    meter = counters.open_meter(torch.device("cpu"))
    found = energy.measure(
        FakeWidths(FakeModel()), [work], sets, meter, seconds=0.05, repeats=1, generate=generate,
        sleep=lambda seconds: spend(IDLE_J),
    )  # fmt: skip
    left = len(multiprocessing.active_children())
    print(json.dumps({"what": meter.what, "helpers": left, **found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
