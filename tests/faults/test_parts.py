"""What an engine promised by itself survives every cut, whoever else syncs its folder or not."""

from __future__ import annotations

import shutil

import pytest

from tests.faults import parts
from tests.faults.report import tell


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("name", parts.PARTS)
def test_every_promise_of_an_engine_survives_every_cut(tmp_path, name):
    day = parts.record(tmp_path, name)
    assert day.ended == 0, day.said
    found = list(parts.verdicts(day, name))
    wrong = [each for each in found if each[1]]
    tell(f"{len(found)} states of {name} by itself, broken {len(wrong)}", states=len(found), broken=len(wrong))
    assert len(found) >= 8 and not wrong, wrong[:5]
