"""That verl finds the plug-in by itself, and says why where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sent_rl.doctor import lines
from sent_rl.errors import UserError
from sent_rl.trainers.verl.plugin import check_version


def test_the_doctor_sees_the_plugin() -> None:
    assert any(line.startswith("verl plug-in") and "loaded, trainer mode 'sent' is there" in line for line in lines())


def test_a_plugin_that_is_switched_off_is_seen_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERL_USE_EXTERNAL_PLUGINS", "none")
    assert any(line.startswith("verl plug-in") and "NOT loaded" in line for line in lines())


def test_a_failure_is_said_aloud_though_verl_hides_it() -> None:
    script = "import sys; sys.modules['transfer_queue'] = None; import verl"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ), check=True)
    assert "the verl plug-in could not be loaded, trainer mode 'sent' is missing" in done.stderr


@pytest.mark.parametrize("version", ["0.8.0", "0.10.0", "1.0"])
def test_other_versions_of_verl_are_refused(version: str) -> None:
    with pytest.raises(UserError, match=r"needs verl >=0\.9\.0,<0\.10\.0"):
        check_version(version)


def test_versions_between_are_taken() -> None:
    check_version("0.9.7")
