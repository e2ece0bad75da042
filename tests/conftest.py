"""What every test shares: golden texts, hypothesis profiles, a browser, and the rule on skips.

A skip whose reason starts with "not applicable" states a fact of the platform. Any other skip means
that something was left out: it is listed at the end, and fails the run where CI is set.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

try:
    from hypothesis import HealthCheck, settings
except ImportError:
    settings = None

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
STRICT = bool(os.environ.get("CI"))
left_out: list[str] = []

# A test may import helpers that lie beside it or in tools/, by name.
sys.path += [str(p) for p in sorted(TESTS.iterdir()) if p.is_dir() and p.name[0] not in "._"]

if settings is not None:
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large]
    settings.register_profile("dev", deadline=None, max_examples=50, suppress_health_check=quiet)
    settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, database=None)
    settings.register_profile("sanitized", settings.get_profile("ci"), max_examples=10)
    settings.register_profile("long", settings.get_profile("dev"), max_examples=2000)
    usual = "sanitized" if "LAMINA_SANITIZED" in os.environ else "ci" if STRICT else "dev"
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", usual))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden texts")


def pytest_configure(config: pytest.Config) -> None:
    left_out.clear()


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str | None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return None
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")


def note(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = skip_reason(report)
    if reason is not None and not reason.startswith("not applicable"):
        left_out.append(f"{report.nodeid}: {reason}")


@pytest.fixture(scope="session", autouse=True)
def grammars() -> None:
    """Every graph and plan of the tests is checked against its grammar."""
    from lamina import _core

    _core._options(verify=True)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    note(report)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    is_worker = hasattr(session.config, "workerinput")
    if STRICT and left_out and not is_worker and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if left_out:
        word = "FAILED: nothing may be left out in CI" if STRICT else "LEFT OUT"
        terminalreporter.section(f"{word} ({len(left_out)})", red=STRICT, yellow=not STRICT)
        for line in sorted(set(left_out)):
            terminalreporter.line(line)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """golden("plan/softmax.txt", text) compares with tests/golden/...; --update-golden rewrites."""

    def compare(name: str, text: str) -> None:
        path = TESTS / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        assert path.exists(), f"no golden text {name}: run pytest --update-golden once"
        assert text == path.read_text(encoding="utf-8"), f"{name} differs from its golden text"

    return compare


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Where screenshots and the like are left for a person to look at."""
    folder = ROOT / "artifacts"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Chromium or Chrome. Without one the test is left out, or fails in CI."""
    import machine

    path = machine.chromium()
    if path is None:
        pytest.skip("no Chromium: sudo apt-get install chromium, or set LAMINA_CHROMIUM")
    return path
