"""A cell's code, compiled and run as IPython itself runs a cell."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import ast
import contextlib
import inspect
import sys
from types import CodeType, TracebackType
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.interactiveshell import InteractiveShell

from .recording import SourceCell


class Code:
    """The profiled code: parsed and compiled once, run any number of times.

    A body keeps the line numbers it has in the notebook, where the magic's line comes first, so
    tracebacks and recorded lines point to what the reader sees.  SyntaxError as plain execution
    would raise it.
    """

    def __init__(
        self, shell: InteractiveShell, line: str, statement: str, body: str | None
    ) -> None:
        self._shell = shell
        self._compiler: Any = shell.compile  # its stub knows of text only, not of trees
        raw = statement if body is None else f"%%mlx_profile {line}".rstrip() + "\n" + body
        source = statement if body is None else body
        transformed = shell.transform_cell(source)
        shifted = transformed if body is None else "\n" + transformed
        number = shell.displayhook.prompt_count  # of the cell that is running
        file = shell.compile.cache(shifted, number, raw_code=raw)
        self.source = SourceCell(file, f"Cell In[{number}]", raw)
        tree = shell.transform_ast(shell.compile.ast_parse(shifted, filename=file))
        self._silent = _ends_in_semicolon(transformed)
        self._value: CodeType | None = None
        if body is None and len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr):
            self._value = self._compile_value(tree.body[0].value, file)
            self._steps: list[tuple[CodeType, CodeType]] = []
        else:
            self._steps = self._compile(tree.body, file)

    @property
    def is_async(self) -> bool:
        codes = [plain for plain, _ in self._steps] + ([self._value] if self._value else [])
        return any(code.co_flags & inspect.CO_COROUTINE for code in codes)

    async def run(self, last: bool) -> Any:
        """Run once in the user's namespace; ``last`` displays what a plain cell would display.

        Returns the value of a single expression given to the line magic, its arrays evaluated.
        """
        __tracebackhide__ = True
        shell = self._shell
        if self._value is not None:
            value = eval(self._value, shell.user_global_ns, shell.user_ns)
            if self._value.co_flags & inspect.CO_COROUTINE:
                value = await value
            _force(value)
            return value
        with shell.display_trap:
            for plain, interactive in self._steps:
                code = interactive if last else plain
                waiting = eval(code, shell.user_global_ns, shell.user_ns)
                if code.co_flags & inspect.CO_COROUTINE:
                    await waiting
        return None

    def trim(self, error: BaseException) -> None:
        """Make IPython show the traceback from the user's own frame on, as without the magic."""
        own = Code.run.__code__
        shell = self._shell

        def render() -> Any:
            trace = _after(error.__traceback__, own)
            return shell.InteractiveTB.structured_traceback(type(error), error, trace, tb_offset=0)

        if isinstance(error, Exception) and not isinstance(error, SyntaxError):
            with contextlib.suppress(AttributeError, TypeError):
                error._render_traceback_ = render  # type: ignore[attr-defined]

    def _compile_value(self, value: ast.expr, file: str) -> CodeType:
        with self._flags():
            code: CodeType = self._compiler(ast.Expression(value), file, "eval")
            return code

    def _compile(self, body: list[ast.stmt], file: str) -> list[tuple[CodeType, CodeType]]:
        """(silent, displaying) code of each statement, as ``ast_node_interactivity`` says."""
        mode = self._shell.ast_node_interactivity
        nodes = list(body)
        if mode == "last_expr_or_assign" and nodes:
            nodes += _show_assigned(nodes[-1])
        shown = set()
        if mode == "all":
            shown = set(range(len(nodes)))
        elif nodes and (mode == "last" or (mode != "none" and isinstance(nodes[-1], ast.Expr))):
            shown = {len(nodes) - 1}
        if self._silent:
            shown.discard(len(nodes) - 1)
        steps = []
        with self._flags():
            for i, node in enumerate(nodes):
                plain = self._compiler(ast.Module([node], []), file, "exec")
                loud = plain
                if i in shown:
                    loud = self._compiler(ast.Interactive([node]), file, "single")
                steps.append((plain, loud))
        return steps

    def _flags(self) -> contextlib.AbstractContextManager[None]:
        allowed = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if self._shell.autoawait else 0
        return self._shell.compile.extra_flags(allowed)


def needs_await(shell: InteractiveShell, body: str) -> bool:
    """Whether a cell uses top-level await.  False for code that does not parse."""
    try:
        return bool(shell.should_run_async(body, transformed_cell=shell.transform_cell(body)))
    except Exception:  # the cell itself will say what is wrong with it
        return False


def _ends_in_semicolon(source: str) -> bool:
    try:
        return bool(DisplayHook.semicolon_at_end_of_expression(source))
    except Exception:  # not tokenizable; compiling will say so
        return False


def _show_assigned(node: ast.stmt) -> list[ast.stmt]:
    """``x`` after ``x = ...``, for the interactivity that shows assigned values."""
    target: ast.expr | None = None
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        target = node.target
    if not isinstance(target, ast.Name):
        return []
    return [ast.fix_missing_locations(ast.Expr(ast.Name(target.id, ast.Load())))]


def _after(trace: TracebackType | None, code: CodeType) -> TracebackType | None:
    """The traceback below the last frame that runs ``code``; whole where there is none."""
    found, step = trace, trace
    while step is not None:
        if step.tb_frame.f_code is code and step.tb_next is not None:
            found = step.tb_next
        step = step.tb_next
    return found


def _force(value: Any) -> None:
    """Evaluate the arrays in a value, so that a lazy result is measured and not just built."""
    core = sys.modules.get("lamina.core")
    if core is not None:
        arrays = [item for item in _leaves(value) if isinstance(item, core.array)]
        if arrays:
            core.eval(*arrays)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]
