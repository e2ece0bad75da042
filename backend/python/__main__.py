"""`python -m lamina MODULE ARGS` runs a module, or a file, written for MLX on lamina."""

from __future__ import annotations

import os
import runpy
import sys

from lamina._mlx import install_as_mlx

USAGE = "usage: python -m lamina MODULE [ARGS...]\n       python -m lamina FILE.py [ARGS...]"


def main() -> None:
    """Installs lamina as MLX, then does what `python -m MODULE ARGS` does."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if len(sys.argv) > 1 else sys.stderr)
        raise SystemExit(0 if len(sys.argv) > 1 else 2)
    install_as_mlx()
    program = sys.argv[1]
    sys.argv = sys.argv[1:]
    if program.endswith(".py"):
        sys.path[0] = os.path.dirname(os.path.abspath(program))
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
