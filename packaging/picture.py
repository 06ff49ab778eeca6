"""Draw the picture of the README: what the demo really prints, as an SVG.

python packaging/picture.py > packaging/demo.svg
"""

from __future__ import annotations

import io
import re
import subprocess
import sys

from rich.console import Console
from rich.text import Text

_FIRST = "3. "
_LAST = "6. "


def main() -> None:
    """Run the demo and print the part from the first push to the second as SVG."""
    shown = subprocess.run([sys.executable, "-m", "s32s", "demo"], capture_output=True, text=True, check=True).stdout
    lines = re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:9000", shown).splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(_FIRST))
    end = next(number for number, line in enumerate(lines) if line.startswith(_LAST))
    console = Console(record=True, width=136, file=io.StringIO())
    for line in lines[begin:end]:
        style = "bold green" if "$ s32s" in line else "bold" if re.match(r"\d\. ", line) else ""
        console.print(Text(line, style=style), soft_wrap=True)
    picture = console.export_svg(title="s32s demo", font_aspect_ratio=0.6)
    # The reader's own monospace font will do; a README fetches nothing from elsewhere.
    picture = re.sub(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", "", picture, flags=re.DOTALL)
    print(picture.replace("Fira Code", "monospace"), end="")


if __name__ == "__main__":
    main()
