"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os

import pytest

from parhelion.errors import WriteError
from parhelion.files import atomic_path


def test_writes_and_makes_folders(tmp_path):
    target = tmp_path / "a" / "b" / "c.txt"
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".txt"
        assert temporary.parent == target.parent
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["c.txt"]


def write_and_fail(target, failure):
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        raise failure


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_failure_leaves_the_old_file(tmp_path, failure):
    target = tmp_path / "c.txt"
    target.write_text("old")
    with pytest.raises(failure):
        write_and_fail(target, failure())
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["c.txt"]


def test_full_disk_is_a_write_error(tmp_path):
    failure = OSError(errno.ENOSPC, "some library's words")
    with pytest.raises(WriteError, match=r"c\.txt: cannot be written \(No space left on device\)"):
        write_and_fail(tmp_path / "c.txt", failure)
    assert os.listdir(tmp_path) == []


def test_place_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(WriteError, match="cannot be written"):
        write_and_fail(tmp_path / "file" / "a.txt", AssertionError())
    with pytest.raises(WriteError, match="Is a directory"), atomic_path(tmp_path) as temporary:
        temporary.write_text("never")
    assert (tmp_path / "file").read_text() == "x"
