"""Which files of a data set's repository are fetched for which configurations."""

import pytest

from ppmlib.offline.dataset_files import find_needed_files, read_configurations

README = """---
license: mit
configs:
- config_name: first
  data_files:
  - split: test
    path: first/test-*
- config_name: second
  data_files:
  - split: train
    path: [second/train-*, second/more.parquet]
- config_name: third
  data_dir: third
  data_files: {test: "*.jsonl", train: ./a/b.jsonl}
- config_name: by-folder
  data_dir: other
---
# A data set
"""
NAMES = [
    *(".gitattributes", "README.md", "dataset_infos.json", "loader.py", "data.tar"),
    *("first/test-0.parquet", "second/train-0.parquet", "second/more.parquet"),
    *("third/x.jsonl", "third/a/b.jsonl", "other/test.csv"),
]
ALWAYS = ["README.md", "dataset_infos.json", "first/test-0.parquet"]
ALL = [name for name in NAMES if name not in (".gitattributes", "loader.py")]


@pytest.mark.parametrize(
    ("configs", "more"),
    [
        (["first"], []),
        (["second"], ["second/train-0.parquet", "second/more.parquet"]),
        (["third", "first"], ["third/x.jsonl", "third/a/b.jsonl"]),
    ],
)
def test_only_the_files_of_the_configurations_are_needed(configs, more):
    assert find_needed_files(NAMES, README, configs) == [*ALWAYS, *more]


@pytest.mark.parametrize("configs", [["by-folder"], ["unknown"], [None], ["first", "by-folder"]])
def test_everything_is_needed_where_the_card_does_not_say(configs):
    assert find_needed_files(NAMES, README, configs) == ALL


@pytest.mark.parametrize("readme", ["", "# No header", "---\nlicense: mit\n---\n", "---\n---\n"])
def test_a_card_without_configurations_leaves_nothing_out(readme):
    assert read_configurations(readme) == []
    assert find_needed_files(NAMES, readme, ["first", None]) == ALL


def test_the_configuration_marked_as_default_is_taken_where_none_is_named():
    marked = README.replace("- config_name: second\n", "- config_name: second\n  default: true\n")
    second = ["second/train-0.parquet", "second/more.parquet"]
    assert find_needed_files(NAMES, marked, [None]) == [*ALWAYS, *second]
    named = README.replace("config_name: second", "config_name: default")
    assert find_needed_files(NAMES, named, [None]) == [*ALWAYS, *second]
