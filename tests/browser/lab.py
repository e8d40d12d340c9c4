"""JupyterLab as `make lab` starts it."""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SETTINGS = {  # by plugin; what differs from JupyterLab's own settings, and why
    # Every cell is drawn, also out of sight: else neither axe nor a test finds what is below the
    # fold.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}
STARTS, STOPS = 120, 30  # seconds that the server may take


class Lab:
    """A JupyterLab server on a copy of the notebooks and exercises, with nobody's settings. To be
    closed by `close`.
    """

    def __init__(self, folder: Path):
        self.tree, self.log = folder / "tree", folder / "lab.log"
        for name in ("notebooks", "exercises"):
            shutil.copytree(ROOT / name, self.tree / name, ignore=shutil.ignore_patterns(".*"))
        for name in (".venv", "tools"):  # what `make lab` names
            (self.tree / name).symlink_to(ROOT / name)
        for plugin, settings in SETTINGS.items():
            file = folder / "settings" / f"{plugin}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(settings))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.token = secrets.token_hex(8)
        own = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        environment = os.environ | {name: str(folder / place) for name, place in own.items()}
        environment |= {"KDCOURSE_PROFILE": "smoke"}
        environment.pop("KDCOURSE_DATA", None)
        port = self.url.rpartition(":")[2]
        options = (
            f"--no-browser --port={port} --ServerApp.port_retries=0 "
            f"--IdentityProvider.token={self.token}"
        )
        options += " --allow-root" * (hasattr(os, "geteuid") and os.geteuid() == 0)
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", f"exec {command()} {options}"],
                cwd=self.tree,
                env=environment,
                stdout=log,
                stderr=log,
            )
        self._await()
        (said,) = (folder / "runtime").glob("jpserver-*.json")
        self.root = Path(json.loads(said.read_text())["root_dir"])

    def address(self, path: Path) -> str:
        """Where JupyterLab opens a file of the tree, and nothing that was open before."""
        assert path.is_relative_to(self.root), (
            f"`make lab` serves {self.root}, from where {path} cannot be opened"
        )
        return (
            f"{self.url}/lab/tree/{path.relative_to(self.root).as_posix()}?token={self.token}&reset"
        )

    def _await(self) -> None:
        end = time.monotonic() + STARTS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                return self.ask("api/status")
            except urllib.error.URLError:
                time.sleep(0.3)
        self.close()
        raise RuntimeError(f"JupyterLab did not start within {STARTS} s:\n{self.log.read_text()}")

    def ask(self, path: str, method: str = "GET") -> object:
        """The server's answer from its REST interface."""
        request = urllib.request.Request(f"{self.url}/{path}", method=method)
        request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def stop_kernels(self) -> None:
        for kernel in self.ask("api/kernels"):
            self.ask(f"api/kernels/{kernel['id']}", "DELETE")

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)  # it then stops its kernels
        try:
            self.process.wait(STOPS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def command() -> str:
    """What `make lab` runs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    said = subprocess.run(
        ["make", "--dry-run", "lab"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (line,) = re.findall(r"^.*jupyter lab .*$", said.replace("\\\n", " "), re.M)
    return line
