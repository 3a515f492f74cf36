"""The progress bar of a notebook's long cell; one line of text is left when it is done."""

import html
import time

from IPython.display import HTML, display


class Bar:
    """A bar that is updated in place: `bar(name, done, total, seconds)` after each step.

    Nothing is printed; what an executed notebook keeps is the last state, without the bar if
    every step was done.
    """

    def __init__(self, what: str) -> None:
        """Show an empty bar. `what` names the steps in plural: `tasks`, `rounds`."""
        self.what = what
        self.started = time.perf_counter()
        self.longest = (0.0, "")
        self.shown = display(self._bar(0, None), display_id=True)

    def __call__(self, name: str, done: int, total: int, seconds: float) -> None:
        """One more step is done: its name, steps done, steps in all, seconds it took."""
        self.longest = max(self.longest, (seconds, name))
        self.shown.update(self._bar(done, total) if done < total else self._summary(total))

    def _elapsed(self) -> str:
        return f"{time.perf_counter() - self.started:.1f} s"

    def _bar(self, done: int, total: int | None) -> HTML:
        if total is None:
            return HTML(f"<progress></progress> The first of the {html.escape(self.what)} runs.")
        text = f"{done} of {total} {self.what}, {self._elapsed()}"
        return HTML(f'<progress value="{done}" max="{total}"></progress> {html.escape(text)}')

    def _summary(self, total: int) -> HTML:
        seconds, name = self.longest
        text = f"{total} {self.what} in {self._elapsed()}, the longest ({name}) in {seconds:.1f} s."
        return HTML(f"<small>{html.escape(text)}</small>")
