"""An IPython kernel that dies with its parent: `python -m ppmlib.workflow.kernel -f FILE`."""

import signal

from ppmlib.workflow.processes import die_with_parent

if __name__ == "__mp_main__":
    # A process that the kernel's own code spawned (zeus does, to watch counters): it too dies.
    die_with_parent(signal.SIGKILL)
if __name__ == "__main__":
    die_with_parent(signal.SIGKILL)
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()
