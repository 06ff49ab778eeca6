"""The person's own editor."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from s32s.core.errors import UsageError

#: What is there where no variable names one: what `editor` of Debian points to comes first.
_USUAL = ("editor", "nano", "vim", "vi", "notepad")


def edited(data: bytes, *, name: str) -> bytes:
    """Show a text in the editor that VISUAL or EDITOR names, and return what has become of it.

    Args:
        name: what the file is called; editors choose colours by its ending.

    Raises:
        UsageError: there is no editor, or it has failed.
    """
    chosen = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    command = shlex.split(chosen) if chosen else [found for found in map(shutil.which, _USUAL) if found][:1]
    if not command:
        raise UsageError("there is no editor", hint="name one in the variable EDITOR")
    with tempfile.TemporaryDirectory(prefix="s32s-edit-") as directory:
        file = Path(directory) / os.path.basename(name)
        file.write_bytes(data)
        try:
            status = subprocess.run([*command, str(file)], check=False).returncode
        except OSError as exc:
            raise UsageError(
                f"the editor {command[0]} cannot be started: {exc.strerror}", hint="name another in the variable EDITOR"
            ) from exc
        if status:
            raise UsageError(f"the editor {command[0]} has ended with status {status}", hint="nothing was uploaded")
        return file.read_bytes()
