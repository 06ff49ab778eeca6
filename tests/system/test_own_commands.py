"""Commands of this machine: how their output arrives."""

from __future__ import annotations

import subprocess
import sys

import pytest

from s32s.system import processes


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        pytest.param("printf 'a\\nb'", ["a", "b"], id="a last line without its end"),
        pytest.param("printf 'a\\r\\n\\nb\\n'", ["a", "", "b"], id="an empty line and a carriage return"),
        pytest.param("printf '\\303'; sleep 0.2; printf '\\251\\n'", ["é"], id="a character in two pieces"),
        pytest.param("printf 'a\\377\\n' >&2", ["a\ufffd"], id="bytes that are not UTF-8, on standard error"),
        pytest.param("true", [], id="nothing"),
    ],
)
def test_output_arrives_line_by_line(command: str, expected: list[str]) -> None:
    """Whatever pieces it comes in."""
    lines: list[str] = []

    status = processes.run(command, on_line=lines.append)

    assert (status, lines) == (0, expected)


def test_a_line_without_end_is_cut_and_the_next_ones_follow() -> None:
    """A line has 8 KiB; what is left out is marked."""
    lines: list[str] = []

    processes.run("head -c 1000000 /dev/zero | tr '\\0' x; echo; echo next", on_line=lines.append)

    assert [line[:2] for line in lines] == ["xx", "ne"]
    assert lines[0].endswith("x … (cut)")
    assert len(lines[0]) < 8_300


def test_output_without_line_breaks_takes_no_memory() -> None:
    """A command that writes 300 MB of zeros leaves its reader small."""
    program = (
        "import pathlib, re\n"
        "from s32s.system import processes as commands\n"
        "commands.run('head -c 300000000 /dev/zero')\n"
        "print(re.search('VmHWM:\\\\s+([0-9]+)', pathlib.Path('/proc/self/status').read_text())[1])\n"
    )

    ended = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)

    assert int(ended.stdout) < 100_000  # KiB
