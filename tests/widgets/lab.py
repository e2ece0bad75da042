"""JupyterLab on a free port and a page of headless Chromium in it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

READY = (
    "window.jupyterapp?.shell?.currentWidget?.context?.isReady && "
    "window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status === 'idle'"
)


def notebook(cells: Sequence[str]) -> dict[str, Any]:
    """A notebook that names its kernel, or Lab would wait in a dialog."""
    return {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{i}",
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": source,
            }
            for i, source in enumerate(cells)
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def settings(root: Path) -> dict[str, str]:
    """Variables that keep JupyterLab's settings in ``root`` and its news away."""
    quiet = root / "settings" / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True)
    (quiet / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    return {
        "JUPYTER_CONFIG_DIR": str(root / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(root / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(root / "workspaces"),
    }


@contextmanager
def server(root: Path) -> Iterator[str]:
    """Address of a JupyterLab that serves ``root``; settings are its own."""
    port = free_port()
    environment = dict(
        os.environ,
        **settings(root),
        PYTHONPATH=os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    )
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"),
        *("--ServerApp.token=", "--ServerApp.password=", f"--ServerApp.root_dir={root}"),
        *("--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None"),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with open(root / "server.log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            _wait_for(port, process, root / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"JupyterLab ended at once:\n{log.read_text()[-2000:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("JupyterLab did not open its port in a minute")


class Lab:
    """One browser page; remembers console errors and requests that leave the machine."""

    def __init__(self, page: Any, address: str, root: Path) -> None:
        self.page = page
        self.address = address
        self.root = root
        self.errors: list[str] = []
        self.external: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: Any) -> None:
        # What the server lacks (a favicon, a missing workspace) is not the views' doing.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.errors.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:", "blob:", "ws://127.0.0.1")):
            self.external.append(request.url)

    def open(self, name: str, cells: Sequence[str] | None = None) -> None:
        """Open a notebook, written anew from ``cells`` if given, and wait for its kernel."""
        if cells is not None:
            (self.root / name).write_text(json.dumps(notebook(cells)))
        self.page.goto(f"{self.address}/lab/tree/{name}?reset")
        self.page.wait_for_function(READY, timeout=90_000)
        self.run("application:close-all-but-current", optional=True)
        if self.page.evaluate("window.jupyterapp.shell.leftCollapsed") is False:
            self.run("application:toggle-left-area")

    def run(self, command: str, arguments: Any = None, optional: bool = False) -> None:
        """Run a command of JupyterLab without waiting for it."""
        has = self.page.evaluate("c => window.jupyterapp.commands.hasCommand(c)", command)
        if not has and optional:
            return
        self.page.evaluate(
            "([c, a]) => { window.jupyterapp.commands.execute(c, a ?? undefined); }",
            [command, arguments],
        )

    def run_all(self) -> None:
        self.run("notebook:run-all-cells")

    def show(self, name: str, cells: Sequence[str]) -> None:
        """Open a notebook of these cells, run it to its end, and wait for a view to be drawn."""
        self.open(name, cells)
        self.run_shown()

    def run_shown(self) -> None:
        """Run the open notebook to its end, and wait for a view to be drawn."""
        self.run_all()
        self.page.wait_for_selector(".lam-root canvas", timeout=90_000)
        self.wait_done()
        self.page.wait_for_timeout(500)

    def theme(self, name: str) -> None:
        """Switch the theme of the running page."""
        self.run("apputils:change-theme", {"theme": f"JupyterLab {name}"})
        light = "true" if name == "Light" else "false"
        self.page.wait_for_function(f"document.body.dataset.jpThemeLight === '{light}'")
        self.page.wait_for_timeout(800)

    def busy(self) -> bool:
        """Whether a cell waits or runs; the kernel's own status may be that of a subshell."""
        return "[*]:" in self.page.locator(".jp-InputPrompt").all_inner_texts()

    def wait_done(self, seconds: float = 120) -> None:
        """Wait for all cells to have run."""
        self.page.wait_for_function(
            "[...document.querySelectorAll('.jp-InputPrompt')]"
            ".every((prompt) => !prompt.textContent.includes('*'))",
            timeout=1000 * seconds,
        )
