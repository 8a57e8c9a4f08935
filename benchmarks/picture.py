"""Draws bar charts as SVG, with no dependencies and the same look everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from attrs import frozen

WIDTH, ROW, LEFT, RIGHT, TOP = 760, 30, 190, 150, 64
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; }
  .small { font-size: 12px; fill: #59636e; }
  .ours { fill: #0969da; } .peer { fill: #a8b1bb; } .base { stroke: #cf222e; stroke-dasharray: 4; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .small { fill: #9198a1; } .ours { fill: #4493f8; }
    .peer { fill: #656c76; } .base { stroke: #f85149; }
  }
"""


@frozen
class Bar:
    """A bar, and the text at its end."""

    name: str
    value: float
    text: str
    ours: bool = False


def bars(title: str, subtitle: str, rows: Sequence[Bar], base: float = 1.0) -> str:
    """Return a chart of horizontal bars, with a dashed line at ``base``."""
    scale = (WIDTH - LEFT - RIGHT) / max(base, *(row.value for row in rows))
    height = TOP + ROW * len(rows) + 24
    line = LEFT + base * scale
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text class="title" x="12" y="26">{escape(title)}</text>',
        f'<text class="small" x="12" y="46">{escape(subtitle)}</text>',
    ]
    for number, row in enumerate(rows):
        top, width = TOP + ROW * number, max(1.0, row.value * scale)
        kind = "ours" if row.ours else "peer"
        parts += [
            f'<text x="{LEFT - 8}" y="{top + 19}" text-anchor="end">{escape(row.name)}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{top + 4}" width="{width:.1f}" height="22" />',
            f'<text class="small" x="{LEFT + width + 8:.1f}" y="{top + 19}">',
            f"{escape(row.text)}</text>",
        ]
    bottom = TOP + ROW * len(rows) + 4
    parts.append(f'<line class="base" x1="{line:.1f}" x2="{line:.1f}" y1="{TOP}" y2="{bottom}"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"
