"""A long cell shows where it is, prints nothing and leaves one line."""

from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell

from ppmlib.show.progress import Bar


def test_a_bar_moves_in_place_and_leaves_a_line(monkeypatch, capsys):
    shell = InteractiveShell.instance()
    published = CapturingDisplayPublisher()
    monkeypatch.setattr(shell, "display_pub", published)
    bar = Bar("tasks")
    bar("<b>facts</b>", 1, 2, 0.5)
    bar("orders", 2, 2, 0.25)
    first, second, last = (output["data"]["text/html"] for output in published.outputs)
    assert first.startswith("<progress>") and 'value="1" max="2"' in second
    assert "progress" not in last and "2 tasks in" in last
    assert "&lt;b&gt;facts&lt;/b&gt;) in 0.5 s" in last
    ids = {output["transient"]["display_id"] for output in published.outputs}
    assert len(ids) == 1
    assert capsys.readouterr() == ("", "")
    InteractiveShell.clear_instance()
