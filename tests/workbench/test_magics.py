"""The magics in a real in-process shell: a profiled cell must behave as the plain cell does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from builder import ReplayEngine
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from lamina.workbench import Recording, recorder
from lamina.workbench import profile as profile_class
from traitlets.config import Config

CELLS = {
    "expression": "1 + 1",
    "silent expression": "1 + 1;",
    "silent with comment": "1 + 1;  # quiet",
    "assignment": "a = 3",
    "last of several": "a = 3\na * 2",
    "expression in a block": "if True:\n    5",
    "print": "print('hello')",
    "function and call": "def f(n):\n    return n + 1\n\nf(41)",
    "class": "class C:\n    x = 1\nC.x",
    "await": "import asyncio\nawait asyncio.sleep(0, result=7)",
    "await assigned": "import asyncio\nb = await asyncio.sleep(0, result=7)\nb + 1",
    "await silent": "import asyncio\nawait asyncio.sleep(0, result=7);",
    "async for": "async def g():\n    yield 1\nasync for i in g():\n    last = i\nlast",
    "async with": (
        "import contextlib\n@contextlib.asynccontextmanager\nasync def m():\n    yield 4\n"
        "async with m() as four:\n    pass\nfour"
    ),
    "await in a function only": "async def h():\n    await None\n1",
    "exception": "1 / 0",
    "exception after work": "a = 1\nraise ValueError('the message')",
    "await then exception": "import asyncio\nawait asyncio.sleep(0)\nraise KeyError('k')",
    "own exception class": "class E(Exception):\n    pass\nraise E('x')",
    "syntax error": "a = = 1",
    "unclosed bracket": "f(1,",
    "bad indentation": "  a = 1\n b = 2",
    "return outside": "return 3",
    "name error": "undefined_name",
    "line magic": "%config InteractiveShell.autocall = 0\n5",
    "system call": "!true",
    "nested line magic": "%timeit -n1 -r1 -q pass\n6",
    "nested cell magic": "%%capture\nx = 9",
    "help": "len?",
    "leading blank lines": "\n\n8",
    "comment only": "# nothing",
    "multi-line string": "s = '''a\nb'''\ns",
    "del": "z = 1\ndel z",
    "global in function": "def f():\n    global q\n    q = 5\nf()\nq",
    "lambda closure": "k = 2\n(lambda v: v * k)(4)",
    "comprehension sees names": "k = 3\n[k * i for i in range(3)]",
    "starred": "head, *tail = [1, 2, 3]\ntail",
    "unicode": "é = 'ü'\né",
    "semicolons inside": "a = 1; b = 2; a + b",
    "none value": "None",
    "future import": "from __future__ import annotations\n1",
    "underscore": "_ is not None",
    "sys exit": "import sys\nsys.exit(0)",
}


class Shell:
    """A fresh shell with captured output, and the same names whatever was run before."""

    def __init__(self) -> None:
        config = Config()
        config.HistoryManager.enabled = False
        self.ip = InteractiveShell(config=config)
        self.ip.colors = "nocolor"
        self.ip.display_pub = CapturingDisplayPublisher(parent=self.ip)
        from lamina.workbench.magics import load_ipython_extension

        load_ipython_extension(self.ip)

    def run(self, code: str) -> Any:
        self.ip.display_pub.outputs.clear()
        return self.ip.run_cell(code, store_history=True)

    @property
    def shown(self) -> list[str]:
        return [out["data"]["text/plain"] for out in self.ip.display_pub.outputs]

    def names(self) -> dict[str, str]:
        hidden = ("_", "In", "Out", "get_ipython", "exit", "quit", "open")
        names = {n: v for n, v in self.ip.user_ns.items() if not n.startswith(hidden)}
        return {n: v if isinstance(v, int | str | list) else type(v) for n, v in names.items()}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> ReplayEngine:
    fake = ReplayEngine()
    monkeypatch.setattr(recorder, "engine", lambda: fake)
    monkeypatch.setattr("lamina.workbench.magics.engine", lambda: fake)
    monkeypatch.setattr(recorder, "ceilings", lambda measure_if_missing=True: None)
    return fake


@pytest.fixture
def shell(engine: ReplayEngine) -> Iterator[Shell]:
    made = Shell()
    made.ip.user_ns["engine"] = engine
    yield made
    InteractiveShell.clear_instance()
    made.ip.restore_sys_module_state()


def outcome(shell: Shell, code: str, capsys: Any) -> tuple[Any, ...]:
    shell.run("41")
    capsys.readouterr()
    result = shell.run(code)
    out = capsys.readouterr()
    error = result.error_in_exec or result.error_before_exec
    kind = (type(error).__name__, str(error)) if error else None
    return out.out, kind, shell.names(), shell.ip.user_ns.get("_")


@pytest.mark.parametrize("name", CELLS)
def test_cell_behaves_as_without_the_magic(
    name: str, shell: Shell, engine: Any, capsys: Any
) -> None:
    plain_shell = Shell()
    plain_shell.ip.user_ns["engine"] = engine
    plain = outcome(plain_shell, CELLS[name], capsys)
    profiled = outcome(shell, "%%mlx_profile -q\n" + CELLS[name], capsys)
    if plain[1] is None:
        assert profiled == plain
    else:
        assert profiled[1][0] == plain[1][0]
        assert profiled[2] == plain[2]


def test_traceback_is_the_users_own(shell: Shell, capsys: Any) -> None:
    shell.run("def broken():\n    raise ValueError('the message')")
    capsys.readouterr()
    shell.run("%%mlx_profile -q\na = 1\nbroken()")
    printed = "".join(capsys.readouterr())
    assert "ValueError: the message" in printed
    assert "workbench" not in printed and "run_cell_magic" not in printed
    assert "----> 3 broken()" in printed  # counted with the magic's own line, as in the notebook


def test_partial_recording_of_a_failing_cell_is_shown_and_kept(shell: Shell, capsys: Any) -> None:
    result = shell.run("%%mlx_profile -o r\nengine.evaluate()\n1 / 0")
    assert isinstance(result.error_in_exec, ZeroDivisionError)
    recording = shell.ip.user_ns["r"]
    assert len(recording.runs) == 1
    assert recording.failure.type == "ZeroDivisionError"
    assert "ended by ZeroDivisionError" in shell.shown[0]


def test_await_runs_on_the_shells_loop(shell: Shell) -> None:
    shell.run(
        "import asyncio\nasync def work():\n    engine.evaluate()\n    await asyncio.sleep(0)"
    )
    result = shell.run("%%mlx_profile -o r\nawait work()\nawait work()")
    assert result.success
    assert len(shell.ip.user_ns["r"].runs) == 2


def test_shows_a_summary_with_its_own_cost(shell: Shell) -> None:
    shell.run("%%mlx_profile\nengine.evaluate()")
    (text,) = shell.shown
    assert "1 evaluations, 2 launches" in text
    assert "recording cost" in text
    assert "<script" not in shell.ip.display_pub.outputs[0]["data"]["text/html"]


def test_nothing_evaluated_says_so(shell: Shell) -> None:
    shell.run("%%mlx_profile\nx = 1")
    assert "nothing was evaluated" in shell.shown[0]


def test_quiet_shows_nothing(shell: Shell, capsys: Any) -> None:
    shell.run("%%mlx_profile -q\nengine.evaluate()")
    assert shell.shown == []
    assert capsys.readouterr().out == ""


def test_repeats_report_the_warm_up_apart(shell: Shell) -> None:
    shell.run("%%mlx_profile -n 3 -r 2 -o r\nengine.evaluate()\n5")
    recording: Recording = shell.ip.user_ns["r"]
    assert [(lap.kind, lap.loops) for lap in recording.laps] == [
        ("warmup", 1),
        ("timed", 3),
        ("timed", 3),
    ]
    assert len(recording.runs) == 7
    text = shell.shown[-1]
    assert text.startswith("profile:") and "6 evaluations" in text
    assert "warm-up" in text and "best of 2 x 3" in text


def test_repeats_display_the_last_value_once(shell: Shell, capsys: Any) -> None:
    shell.run("%%mlx_profile -q -n 3\n5")
    assert capsys.readouterr().out.count("5") == 1


def test_save_writes_a_recording(shell: Shell, tmp_path: Any) -> None:
    path = tmp_path / "a name with spaces.lamina"
    shell.run(f"%%mlx_profile -q --save '{path}'\nengine.evaluate()")
    assert len(Recording.load(path).runs) == 1


def test_recording_holds_the_cell(shell: Shell) -> None:
    shell.run("%%mlx_profile -q -o r\nengine.evaluate()")
    cell = shell.ip.user_ns["r"].cells[0]
    assert cell.text == "%%mlx_profile -q -o r\nengine.evaluate()\n"
    assert cell.name.startswith("Cell In[")


def test_line_magic_returns_the_value(shell: Shell) -> None:
    assert shell.run("%mlx_profile -q 40 + 2").result == 42
    assert shell.run("v = %mlx_profile -q 40 + 2").success
    assert shell.ip.user_ns["v"] == 42
    assert shell.run("%mlx_profile -q 40 + 2;").result is None


def test_line_magic_keeps_the_statement_as_typed(shell: Shell) -> None:
    assert shell.run("%mlx_profile -q 'two  spaces' + \" -q -n x\"").result == "two  spaces -q -n x"
    assert shell.run("%mlx_profile -q -n 2 y = {'a': 1}").success
    assert shell.ip.user_ns["y"] == {"a": 1}


MISUSE = {
    "unknown option": "%%mlx_profile --bogus\n1",
    "value missing": "%%mlx_profile -n\n1",
    "not a number": "%%mlx_profile -n many\n1",
    "zero loops": "%%mlx_profile -n 0\n1",
    "negative repeats": "%%mlx_profile -r -3\n1",
    "bad variable": "%%mlx_profile -o 1x\n1",
    "no such folder": "%%mlx_profile --save /nowhere/at/all/x.lamina\n1",
    "statement and cell": "%%mlx_profile x = 1\n1",
    "empty line": "%mlx_profile",
    "options only": "%mlx_profile -q",
    "unbalanced quote": "%%mlx_profile -o 'x\n1",
    "empty cell": "%%mlx_profile",
    "await in line": "%mlx_profile -n x await y",
    "nested cell": "%%mlx_profile -q\n%mlx_profile 1",
    "nested with await": "%%mlx_profile -q\nimport asyncio\nawait asyncio.sleep(0)\n%mlx_profile 1",
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_answers_with_a_usage_line(name: str, shell: Shell, capsys: Any) -> None:
    result = shell.run(MISUSE[name])
    printed = "".join(capsys.readouterr())
    assert type(result.error_in_exec).__name__ == "UsageError"
    assert printed.startswith("UsageError: ")
    assert "Traceback" not in printed
    assert shell.run("%%mlx_profile -q -o r\nengine.evaluate()").success  # still usable
    assert len(shell.ip.user_ns["r"].runs) == 1


def test_magic_inside_a_python_profile_is_misuse(shell: Shell, capsys: Any) -> None:
    with profile_class(ceilings=False):
        shell.run("%mlx_profile 1")
    assert "another profile is running" in capsys.readouterr().err


def test_missing_engine_is_one_line(shell: Shell, monkeypatch: Any, capsys: Any) -> None:
    def none() -> Any:
        raise ImportError("No module named 'lamina._core'")

    monkeypatch.setattr("lamina.workbench.magics.engine", none)
    shell.run("%%mlx_profile\n1")
    assert capsys.readouterr().err.startswith("UsageError: No module named")


@pytest.mark.parametrize("name", ["cpu", "gpu", "apart"])
def test_device_is_the_default_of_the_cell(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """`gpu` is what LAMINA_GPU says it is; any other name is the GPU of that name."""
    monkeypatch.setenv("LAMINA_GPU", "apart")
    shell.run("import lamina.core as mx, os\nbefore = mx.default_device()")
    code = "inside = mx.default_device(), os.environ['LAMINA_GPU']"
    assert shell.run(f"%%mlx_profile -q --device {name}\n{code}").success
    core = shell.ip.user_ns["mx"]
    assert shell.ip.user_ns["inside"] == (
        core.Device(core.cpu if name == "cpu" else core.gpu, 0),
        "apart",
    )
    assert core.default_device() == shell.ip.user_ns["before"]


def test_a_device_that_is_not_there_is_misuse(shell: Shell, capsys: Any) -> None:
    shell.run("import lamina.core as mx, os\nbefore = mx.default_device()")
    shell.run("%%mlx_profile -q --device abacus\nran = True")
    said = capsys.readouterr().err
    assert said.startswith("UsageError: --device: abacus is not to be had")
    assert 'unknown name "abacus"; this build has cpu' in said
    assert "ran" not in shell.ip.user_ns
    core = shell.ip.user_ns["mx"]
    assert core.default_device() == shell.ip.user_ns["before"]


def test_help_text(shell: Shell) -> None:
    docs = shell.ip.find_line_magic("mlx_profile").__doc__
    for option in ("-o NAME", "-q", "-n N", "-r R", "--save FILE", "--live", "--device"):
        assert option in docs


def test_unload_and_reload(shell: Shell) -> None:
    from lamina.workbench.magics import load_ipython_extension, unload_ipython_extension

    before = len(shell.ip.input_transformers_post)
    load_ipython_extension(shell.ip)
    assert len(shell.ip.input_transformers_post) == before
    unload_ipython_extension(shell.ip)
    assert len(shell.ip.input_transformers_post) == before - 1
    assert shell.ip.find_cell_magic("mlx_profile") is None


def test_no_thread_is_left_behind(shell: Shell) -> None:
    assert shell.run("%%mlx_profile -q\nengine.evaluate()").success
    assert "lamina-recorder" not in {thread.name for thread in threading.enumerate()}


def test_lines_of_cells_are_named_as_the_notebook_names_them(
    shell: Shell, engine: ReplayEngine, monkeypatch: Any
) -> None:
    monkeypatch.setattr("IPython.get_ipython", lambda: shell.ip)
    shell.run("import sys\ndef where():\n    return sys._getframe(1).f_code.co_filename")
    shell.run("%%mlx_profile -q\nfile = where()")
    row = {"file": shell.ip.user_ns["file"], "line": 2, "function": "", "module": "", "phase": ""}
    monkeypatch.setattr(engine, "_origin", lambda origin_id: row)
    shell.run("%%mlx_profile -q -o r\nengine.evaluate()")
    recording: Recording = shell.ip.user_ns["r"]
    assert recording.origin(7, 3).where == "In[2]:2"
    assert recording.origin(7, 3).text == "file = where()"
    assert [cell.name for cell in recording.cells] == ["Cell In[3]", "Cell In[2]"]
