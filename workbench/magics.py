"""``%%mlx_profile`` and ``%mlx_profile``: the profiler as IPython magics."""

# mypy: disable-error-code="no-untyped-call,untyped-decorator"

from __future__ import annotations

import argparse
import ast
import asyncio
import contextlib
import os
from collections.abc import Awaitable, Coroutine, Iterator
from typing import Any, TypeVar

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import (
    Magics,
    cell_magic,
    line_cell_magic,
    magics_class,
    no_var_expand,
    output_can_be_silenced,
)
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring
from IPython.utils.process import arg_split  # type: ignore[attr-defined]

from .cell import Code, needs_await
from .display import in_notebook, live_view, mimebundle, show
from .profile import check_free, profile
from .recorder import Sink, engine, now_ns
from .recording import Lap, Recording

MAGIC = "mlx_profile"
AWAITED = "mlx_profile_awaited"
USAGE = "%%mlx_profile [-o NAME] [-q] [-n N] [-r R] [--save FILE] [--live|--no-live] [--device D]"
# Says which of several GPUs mx.gpu is.
GPU = "LAMINA_GPU"
T = TypeVar("T")


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics; loading twice changes nothing."""
    shell.register_magics(ProfileMagics)
    transforms = shell.input_transformers_post
    if not any(isinstance(transform, AwaitTransform) for transform in transforms):
        transforms.append(AwaitTransform(shell))


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take the magics away again."""
    transforms = shell.input_transformers_post
    transforms[:] = [t for t in transforms if not isinstance(t, AwaitTransform)]
    magics = shell.magics_manager.magics
    magics["line"].pop(MAGIC, None)
    for name in (MAGIC, AWAITED):
        magics["cell"].pop(name, None)


class AwaitTransform:
    """Awaits the magic when the cell it profiles uses top-level ``await``.

    A magic is an ordinary call and the kernel's event loop is already running, so the profiled
    code can only be awaited if the call itself is.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell

    def __call__(self, lines: list[str]) -> list[str]:
        call = f"get_ipython().run_cell_magic('{MAGIC}'"
        if not lines or not lines[0].startswith(call) or not self._shell.autoawait:
            return lines
        _, body = _literal_arguments("".join(lines))
        if not needs_await(self._shell, body):
            return lines
        awaited = f"await get_ipython().run_cell_magic('{AWAITED}'" + lines[0][len(call) :]
        return [awaited, *lines[1:]]


def _literal_arguments(call: str) -> tuple[str, str]:
    """Line and body out of ``get_ipython().run_cell_magic('name', 'line', 'body')``."""
    with contextlib.suppress(SyntaxError, ValueError, AttributeError, IndexError):
        expression = ast.parse(call, mode="eval").body
        assert isinstance(expression, ast.Call)
        line, body = (ast.literal_eval(value) for value in expression.args[1:3])
        return str(line), str(body)
    return "", ""


@magics_class
class ProfileMagics(Magics):
    """The profile magics."""

    shell: InteractiveShell

    @no_var_expand
    @output_can_be_silenced
    @magic_arguments()
    @argument("-o", metavar="NAME", help="keep the recording in the variable NAME")
    @argument("-q", action="store_true", help="show nothing")
    @argument("-n", metavar="N", type=int, help="run the code N times in each repeat")
    @argument("-r", metavar="R", type=int, help="repeat R times, after one warm-up run")
    @argument("--save", metavar="FILE", help="write the recording to FILE")
    @argument("--live", action="store_true", default=None, help="show a view that follows the run")
    @argument("--no-live", dest="live", action="store_false", help="show the view at the end only")
    @argument(
        "--device", metavar="D", help="device to run on: cpu, gpu, or a name such as soft_metal"
    )
    @argument("statement", nargs=argparse.REMAINDER, help="code to profile (line magic)")
    @line_cell_magic
    def mlx_profile(self, line: str, cell: str | None = None) -> Any:
        """Record what a statement or a cell evaluates and show where time and memory went.

        As a line magic it profiles one statement, evaluates the arrays of its value and returns
        it; as a cell magic it runs the cell as it would run without the magic.
        """
        options, statement = self._parse(line, cell)
        code = Code(self.shell, line, statement, cell)
        work = self._profiled(options, code)
        if not code.is_async:
            return drive(work)
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            work.close()
            raise UsageError(f"await is possible in a cell that starts with %%{MAGIC} only")
        return self.shell.loop_runner(work)

    @no_var_expand
    @cell_magic
    def mlx_profile_awaited(self, line: str, cell: str) -> Awaitable[Any]:
        """``%%mlx_profile`` for a cell with top-level await; the input transformer calls it."""
        options, _ = self._parse(line, cell)
        return self._profiled(options, Code(self.shell, line, "", cell))

    def _parse(self, line: str, cell: str | None) -> tuple[argparse.Namespace, str]:
        try:
            options, unknown = parse_argstring(self.mlx_profile, line, partial=True)
            if unknown:
                raise UsageError(f"unknown option {unknown[0]}")
        except UsageError as error:
            raise UsageError(f"{error}\nusage: {USAGE}") from None
        statement = _rest_of(line, len(options.statement))
        if cell is not None and statement:
            raise UsageError(f"unexpected {statement!r} after %%{MAGIC}\nusage: {USAGE}")
        if cell is None and not statement:
            raise UsageError(f"no statement to profile\nusage: {USAGE[1:]} STATEMENT")
        for name in ("n", "r"):
            if getattr(options, name) is not None and getattr(options, name) < 1:
                raise UsageError(f"-{name} must be at least 1, got {getattr(options, name)}")
        if options.o is not None and not options.o.isidentifier():
            raise UsageError(f"-o needs a variable name, got {options.o!r}")
        if options.save is not None:
            options.save = os.path.expanduser(options.save.strip("'\""))
            folder = os.path.dirname(os.path.abspath(options.save))
            if not os.path.isdir(folder):
                raise UsageError(f"--save: there is no folder {folder}")
        return options, statement

    async def _profiled(self, options: argparse.Namespace, code: Code) -> Any:
        """Run the code under a profile; show and keep the recording however the code ends."""
        __tracebackhide__ = True
        with _device(options.device), _usage_errors():
            check_free()
            live = _live_view(options)
            p = profile(code.source.name, view=live)
            p.variables = self.shell.user_ns
            p.__enter__()
        value = None
        try:
            with _device(options.device):
                value = await _laps(options, code, p)
        except BaseException as error:
            code.trim(error)
            p.cells = (code.source,)
            p.__exit__(type(error), error, error.__traceback__)
            self._deliver(options, p.recording, live)
            raise
        p.cells = (code.source,)
        p.__exit__(None, None, None)
        self._deliver(options, p.recording, live)
        return value

    def _deliver(
        self, options: argparse.Namespace, recording: Recording, live: Sink | None
    ) -> None:
        if options.o:
            self.shell.push({options.o: recording})
        if options.save:
            recording.save(options.save)
        if not options.q and live is None:
            if in_notebook():
                show(recording)
            else:
                self.shell.display_pub.publish(data=mimebundle(recording))


async def _laps(options: argparse.Namespace, code: Code, p: profile) -> Any:
    """Run once, or warm up and repeat; only the last run displays anything."""
    __tracebackhide__ = True
    if options.n is None and options.r is None:
        return await code.run(last=True)
    loops, repeats = options.n or 1, options.r or 1
    start = now_ns()
    await code.run(last=False)
    p.laps.append(Lap("warmup", start, now_ns()))
    value = None
    for repeat in range(repeats):
        start = now_ns()
        for loop in range(loops):
            value = await code.run(last=repeat == repeats - 1 and loop == loops - 1)
        p.laps.append(Lap("timed", start, now_ns(), loops))
    return value


def _live_view(options: argparse.Namespace) -> Sink | None:
    """The view that follows the run: in a notebook, unless not wanted."""
    if options.q or options.live is False or not in_notebook():
        return None
    return live_view(say_why_not=options.live is True)


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits."""
    __tracebackhide__ = True
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    work.close()
    raise RuntimeError(f"{MAGIC}: the code awaited outside an event loop")


def _rest_of(line: str, tokens: int) -> str:
    """The last ``tokens`` words of ``line`` as they were typed, spaces and quotes included."""
    words = arg_split(line, strict=False)
    position = 0
    for word in words[: len(words) - tokens]:
        position = line.index(word, position) + len(word)
    return line[position:].strip() if tokens else ""


@contextlib.contextmanager
def _usage_errors() -> Iterator[None]:
    """Misuse that only shows at the start (nested profiles, no engine) as one line."""
    try:
        engine()
        yield
    except (RuntimeError, ImportError) as error:
        raise UsageError(str(error)) from None


@contextlib.contextmanager
def _device(name: str | None) -> Iterator[None]:
    """Make the device called ``name`` the default one for the body: cpu, gpu, or a GPU by name."""
    if name is None:
        yield
        return
    import lamina.core as core

    kept = os.environ.get(GPU)
    if name not in ("cpu", "gpu"):
        os.environ[GPU] = name
    old = core.default_device()
    try:
        try:
            core.set_default_device(core.cpu if name == "cpu" else core.gpu)
        except core.DeviceError as error:
            why = str(error).splitlines()[0]
            raise UsageError(f"--device: {name} is not to be had: {why}") from None
        yield
    finally:
        core.set_default_device(old)
        if kept is None:
            os.environ.pop(GPU, None)
        else:
            os.environ[GPU] = kept
