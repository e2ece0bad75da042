"""Says in one line each what this machine lacks, and fetches what the tests need where it may.

machine.py check    what a build needs; exit status 1 when something is missing
machine.py provide  apt-get install of what is missing, as root or through passwordless sudo;
                    where that may not be done, says loudly which tests are left out

Runs on any Python 3, before anything is installed.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

CHROMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC_CHROME = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
MAC = sys.platform == "darwin"


def chromium():
    """Path of a Chromium or Chrome, or None. LAMINA_CHROMIUM overrides."""
    named = os.environ.get("LAMINA_CHROMIUM")
    if named:
        return named
    found = next(filter(None, map(shutil.which, CHROMES)), None)
    return found or (MAC_CHROME if Path(MAC_CHROME).exists() else None)


def compiler():
    named = os.environ.get("CXX", "").split()[:1]
    return any(shutil.which(name) for name in named or ["c++", "g++", "clang++"])


def needs():
    """(is it there, fact, how to get it, Debian packages) of each thing a build needs."""
    version = ".".join(map(str, sys.version_info[:2]))
    header = Path(sysconfig.get_paths()["include"], "Python.h")
    apt = "sudo apt-get install "
    return [
        (sys.version_info >= (3, 10), f"Python {version} is too old, 3.10 is needed", [],
         "brew install python" if MAC else "install a newer python3"),
        (importlib.util.find_spec("ensurepip") is not None, "Python has no venv module",
         [f"python{version}-venv"], f"{apt}python{version}-venv"),
        (compiler(), "no C++ compiler", ["g++"],
         "xcode-select --install" if MAC else apt + "g++"),
        (header.exists(), "Python's headers are missing", [f"libpython{version}-dev"],
         "brew install python" if MAC else f"{apt}python3-dev"),
    ]  # fmt: skip


def check():
    missing = [(fact, fix) for there, fact, _, fix in needs() if not there]
    for fact, fix in missing:
        print(f"lamina: {fact}: {fix}", file=sys.stderr)
    if not missing and not shutil.which("dot"):
        fix = "brew install graphviz" if MAC else "sudo apt-get install graphviz"
        print(f"lamina: no `dot`, static graphs use the view's own layout (optional: {fix})")
    return 1 if missing else 0


def as_root():
    """The prefix that makes a command run as root, or None where that may not be done."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True).returncode == 0:
        return [sudo, "-n"]
    return None


def provide():
    packages = [name for there, _, names, _ in needs() if not there for name in names]
    if not chromium():
        packages.append("chromium")
    if not shutil.which("dot"):
        packages.append("graphviz")
    if packages and not MAC:
        prefix = as_root()
        if shutil.which("apt-get") and prefix is not None:
            quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
            subprocess.run([*prefix, *quiet, "update"], check=False, stdout=subprocess.DEVNULL)
            install = [*prefix, *quiet, "install", "-y", "--no-install-recommends", *packages]
            subprocess.run(install, check=False, stdout=subprocess.DEVNULL)
    if not chromium():
        fix = "install Google Chrome" if MAC else "sudo apt-get install chromium"
        print(f"lamina: NO CHROMIUM, THE BROWSER TESTS ARE LEFT OUT: {fix}", file=sys.stderr)
        if os.environ.get("CI"):
            return 1
    return 0


if __name__ == "__main__":
    commands = {"check": check, "provide": provide}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(f"usage: machine.py {'|'.join(commands)}")
    sys.exit(commands[sys.argv[1]]())
