"""Plots of how cost grows."""

import numpy as np

from skclean._files import replacing

_AXES = {"n": "rows", "d": "features", "C": "classes"}


def growth(records, path):
    """Seconds over rows, features and classes, on logarithmic axes, as an SVG file.

    Parameters
    ----------
    records : list of dict
        Of the benchmark growth.
    path : path-like

    Returns
    -------
    path-like or None
        None where matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        return None
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    axes = [axis for axis in _AXES if any(r["axis"] == axis for r in records)]
    kinds = sorted({r["suite"].partition(".")[0] for r in records}, reverse=True)
    figure = Figure(figsize=(4.2 * len(axes), 3.8 * len(kinds)), layout="constrained")
    FigureCanvasSVG(figure)
    panels = figure.subplots(len(kinds), len(axes), squeeze=False)
    colours = matplotlib.colormaps["tab20"].colors
    for row, kind in zip(panels, kinds, strict=True):
        names = [n for n in dict.fromkeys(r["suite"] for r in records) if n.startswith(kind)]
        for panel, axis in zip(row, axes, strict=True):
            for record in records:
                if record["axis"] != axis or record["suite"] not in names:
                    continue
                x = [size["ndC".index(axis)] for size in record["sizes"]]
                colour = colours[names.index(record["suite"]) % len(colours)]
                label = record["suite"].partition(".")[2]
                panel.loglog(x, record["seconds"], "o-", ms=3, lw=1, color=colour, label=label)
            low, high = np.array(panel.get_xlim())
            seconds = panel.get_ylim()[0] * 3
            panel.loglog([low, high], [seconds, seconds * high / low], ":", color="0.5", lw=1)
            panel.set_xlabel(_AXES[axis])
            panel.set_title(f"{kind}, dotted: proportional", fontsize=9)
        row[0].set_ylabel("seconds")
        row[-1].legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
    with matplotlib.rc_context({"svg.hashsalt": "skclean"}), replacing(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    return path
