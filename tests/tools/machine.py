"""Says in one line each what this machine lacks, and fetches what the tests need where it may.

machine.py check    what a build needs; exit status 1 when something is missing
machine.py provide  apt-get install of what is missing, as root or through passwordless sudo;
                    where that may not be done, says loudly which tests are left out
machine.py objc     exit status 0 where the double of Metal can be built (tests/metal_double)

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
CLANGS = ("clang++-19", "clang++-18", "clang++-17", "clang++")
OBJC_PACKAGES = ("gobjc++", "libgnustep-base-dev", "libblocksruntime-dev")


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


def has_objc():
    """Whether Objective-C++ with blocks and a Foundation are here: on Linux clang and GNUstep's."""
    gcc = shutil.which("g++")
    if MAC or not gcc or not any(map(shutil.which, CLANGS)):
        return False
    command = [gcc, "-print-file-name=include"]
    folder = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    wanted = ("/usr/include/GNUstep/Foundation/Foundation.h", "/usr/include/Block.h")
    return all(Path(name).exists() for name in (*wanted, f"{folder}/objc/objc.h"))


def objc_packages():
    """Debian's names; of the compiler the newest that this release has."""
    known = [f"clang-{n}" for n in (19, 18, 17)]
    show = ["apt-cache", "show", "--no-all-versions"]
    there = [n for n in known if subprocess.run([*show, n], capture_output=True).returncode == 0]
    return [(there or known)[0], *OBJC_PACKAGES]


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
    if (packages or not has_objc()) and not MAC:
        prefix = as_root()
        if shutil.which("apt-get") and prefix is not None:
            quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
            subprocess.run([*prefix, *quiet, "update"], check=False, stdout=subprocess.DEVNULL)
            if not has_objc():
                packages += objc_packages()
            install = [*prefix, *quiet, "install", "-y", "--no-install-recommends", *packages]
            subprocess.run(install, check=False, stdout=subprocess.DEVNULL)
    left_out = []
    if not chromium():
        fix = "install Google Chrome" if MAC else "sudo apt-get install chromium"
        left_out.append(f"NO CHROMIUM, THE BROWSER TESTS ARE LEFT OUT: {fix}")
    if not MAC and not has_objc():
        fix = f"sudo apt-get install clang-19 {' '.join(OBJC_PACKAGES)}"
        left_out.append(f"NO OBJECTIVE-C++, THE TESTS OF THE METAL HOST ARE LEFT OUT: {fix}")
    for line in left_out:
        print(f"lamina: {line}", file=sys.stderr)
    return 1 if left_out and os.environ.get("CI") else 0


if __name__ == "__main__":
    commands = {"check": check, "provide": provide, "objc": lambda: 0 if has_objc() else 1}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(f"usage: machine.py {'|'.join(commands)}")
    sys.exit(commands[sys.argv[1]]())
