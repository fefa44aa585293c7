"""Writing files whole or not at all."""

import os

import pytest

from jahslib import paths


@pytest.mark.parametrize("content", ["größer", b"\x00\xff"])
def test_what_is_written_is_there_with_its_folders_and_nothing_else(tmp_path, content):
    file = tmp_path / "a" / "b.txt"
    paths.write(file, content)
    assert file.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(file.parent.iterdir()) == [file]


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    file = tmp_path / "b.txt"
    paths.write(file, "old")

    def full_disk(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        paths.write(file, "new")
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]
