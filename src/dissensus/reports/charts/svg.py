"""Drawing with matplotlib into inline SVG that follows the page's colours and needs no style of its own."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dissensus.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# matplotlib draws in these stand-ins; each becomes a variable of the page, so that figures follow light and dark.
INK, MUTED, GRID = "#010101", "#020202", "#030303"
SERIES = tuple(f"#0000{16 + k:02x}" for k in range(8))
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)"} | {
    colour: f"var(--series-{k})" for k, colour in enumerate(SERIES)
}
MARKERS = "osD^vPX*"

_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "path.simplify": True,
}


# Mid-tones of the Okabe-Ito palette that show on white and on black.
SHADES = (
    (120, 128, 140),
    (30, 120, 190),
    (213, 94, 0),
    (0, 158, 115),
    (190, 110, 160),
    (205, 145, 10),
    (86, 160, 210),
    (150, 140, 60),
)


def colour_of(models: Sequence[str], model: str) -> str:
    """Give a model's stand-in colour, by its place among the models."""
    return SERIES[models.index(model) % len(SERIES)]


def marker_of(models: Sequence[str], model: str) -> str:
    """Give a model's marker, which tells it apart without colours."""
    return MARKERS[models.index(model) % len(MARKERS)]


@contextmanager
def drawing(name: str, width: float, height: float) -> Iterator[tuple[Axes, Callable[[], str]]]:
    """Give axes of a new figure, in inches, and a function that returns it as SVG once it is drawn."""
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", extra="report", need="the report") from error
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        drawn: list[str] = []
        yield figure.subplots(), lambda: drawn[0]
        drawn.append(_inline(_save(figure)))


def _save(figure: Figure) -> str:
    out = io.BytesIO()
    nothing: dict[str, object] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with warnings.catch_warnings():
        # The browser draws the text, with its own fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(out, format="svg", metadata=nothing)
    return out.getvalue().decode("utf-8")


def _inline(svg: str) -> str:
    """Make a file's SVG part of a page: no prologue, no addresses, no ids but the ones in use, colours by name."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    # Texts are left as they are: only what stands in a tag is of matplotlib.
    svg = re.sub(r"<[^<>]*>", lambda tag: _without_style(tag[0]), svg)
    return re.sub(r"\s*\n\s*", "\n", svg)


def _without_style(tag: str) -> str:
    """Turn a tag's style into attributes, which a strict policy allows, and stand-ins into variables."""
    style = re.search(r' style="([^"]*)"', tag)
    if style is not None:
        settings = dict(part.split(":", 1) for part in style[1].split(";") if ":" in part)
        attributes = "".join(f' {name.strip()}="{value.strip()}"' for name, value in settings.items())
        tag = tag[: style.start()] + attributes + tag[style.end() :]
    return re.sub(r"#[0-9a-f]{6}", lambda found: _VARIABLES.get(found[0], found[0]), tag)
