import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / 'it'))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """The members' logs, while they are there, for a test that failed."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        from herd import Herd
        for herd in list(Herd.live):
            report.sections.append(("members", herd.logs()))
