"""The ratios of a comparison as one SVG picture: a row a case, a bar a tool, shorter is better."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

_COLOURS = {"s32s": "#0a7d5a", "s5cmd": "#9aa5b1", "rclone": "#b8c1ca", "aws": "#d3d9de"}
_NAMES = {
    "cold-pull": "first pull, 10,000 files",
    "cold-push": "first push, 10,000 files",
    "noop-pull": "nothing new, pull, 10,000 files",
    "noop-push": "nothing new, push, 10,000 files",
    "noop-pull-100k": "nothing new, pull, 100,000 files",
    "noop-pull-plain-100k": "the same without a manifest",
    "noop-push-100k": "nothing new, push, 100,000 files",
    "changed-pull-100k": "1 % changed, pull, 100,000 files",
    "changed-push-100k": "1 % changed, push, 100,000 files",
    "large-pull": "two files of 256 MiB, pull",
    "large-push": "two files of 256 MiB, push",
}
_WIDTH, _LEFT, _BAR, _GAP = 860, 270, 11, 16
#: A bar that is longer than this ratio is cut, and its number says how long it is.
_MOST = 4.0


def drawn(results: Sequence[dict[str, Any]]) -> str:
    """The picture as SVG text."""
    scale = (_WIDTH - _LEFT - 90) / _MOST
    parts: list[str] = []
    top = 54.0
    for result in results:
        tools: dict[str, dict[str, Any]] = result["tools"]
        name = _NAMES.get(result["case"], result["case"])
        middle = top + _BAR * len(tools) / 2 + 4
        parts.append(
            f'<text x="{_LEFT - 12}" y="{middle:.0f}" text-anchor="end" class="case">{html.escape(name)}</text>'
        )
        for tool, figures in tools.items():
            ratio = float(figures["wall_ratio"])
            length = min(ratio, _MOST) * scale
            seconds = sorted(figures["wall_s"])[len(figures["wall_s"]) // 2]
            parts.append(
                f'<rect x="{_LEFT}" y="{top:.0f}" width="{length:.1f}" height="{_BAR - 2}" rx="1.5" '
                f'fill="{_COLOURS.get(tool, "#cccccc")}"/>'
                f'<text x="{_LEFT + length + 5:.1f}" y="{top + 8:.0f}" class="number">{ratio:.2f}'
                f"{' …' if ratio > _MOST else ''} ({seconds:.2g} s)</text>"
            )
            top += _BAR
        top += _GAP
    line = _LEFT + scale
    shown = [tool for tool in _COLOURS if any(tool in result["tools"] for result in results)]
    legend = "".join(
        f'<rect x="{_LEFT + 90 * at}" y="14" width="12" height="12" rx="2" fill="{_COLOURS[tool]}"/>'
        f'<text x="{_LEFT + 90 * at + 17}" y="24" class="case">{tool}</text>'
        for at, tool in enumerate(shown)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top:.0f}" role="img" '
        'aria-label="Wall time of s32s and its peers, as a ratio to the best peer">\n'
        "<style>text{font-family:system-ui,sans-serif;fill:#39424e}.case{font-size:13px}.number{font-size:9.5px}"
        "@media(prefers-color-scheme:dark){text{fill:#c9d1d9}}</style>\n"
        f"{legend}\n"
        f'<line x1="{line:.1f}" y1="40" x2="{line:.1f}" y2="{top - _GAP:.0f}" stroke="#c0392b" stroke-dasharray="3 3"/>'
        f'<text x="{line:.1f}" y="38" text-anchor="middle" class="number">the best peer</text>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
