"""Runs Python with the sanitizers' run-time libraries loaded first.

sanitized.py SITE ARGUMENTS...    as `python ARGUMENTS...` with SITE before everything else

LAMINA_SANITIZE says what the module in SITE was built with: address,undefined or thread.
"""

import os
import subprocess
import sys
from pathlib import Path

RUNTIMES = {"address": "asan", "undefined": "ubsan", "thread": "tsan"}
SUPPRESSIONS = Path(__file__).resolve().with_name("thread.supp")


def runtime(name: str) -> str:
    compiler = os.environ.get("CXX", "c++").split()[0]
    command = [compiler, f"-print-file-name=lib{name}.so"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    site, arguments = Path(sys.argv[1]).resolve(), sys.argv[2:]
    kinds = os.environ.get("LAMINA_SANITIZE", "address,undefined").split(",")
    libraries = [*(runtime(RUNTIMES[kind]) for kind in kinds), runtime("stdc++")]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep),
        "PYTHONMALLOC": "malloc",
        # The interpreter leaks on purpose; a refused allocation must reach us as a null pointer.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:abort_on_error=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        # Races are told when they happen; the process then ends with this status.
        "TSAN_OPTIONS": f"suppressions={SUPPRESSIONS}:exitcode=66:second_deadlock_stack=1",
        "LAMINA_SANITIZED": "1",
        "LD_PRELOAD": " ".join(path for path in libraries if os.path.isabs(path)),
    }
    os.execve(sys.executable, [sys.executable, *arguments], environment)


if __name__ == "__main__":
    main()
