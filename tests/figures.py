"""Checks of what is written on figures: inside them, apart, and not in the data's room."""

from itertools import combinations

from matplotlib.text import Annotation

# A column of print, mm.
NARROW = (85.0, 58.0)
LONG = "a name that is longer than anybody would like to read beside a figure for $5, number"
# A pixel of 150 to the inch, for boxes that only touch.
_TOUCH = 1.0


def texts(ax):
    """What is written on axes and beside them, where it is seen."""
    found = [ax.xaxis.label, ax.yaxis.label, *ax.texts]
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        found += [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
    legend = ax.get_legend()
    if legend is not None:
        found += [legend.get_title(), *legend.get_texts()]
    return [t for t in found if t.get_visible() and t.get_text().strip()]


def box_of(text):
    """Box of the words, in pixels; of an annotation without the line that leads to them."""
    if isinstance(text, Annotation):
        return super(Annotation, text).get_window_extent()
    return text.get_window_extent()


def readable(owner):
    """Draw Axes or all of a Figure, and check that words are inside and apart; return the owner."""
    figure = owner.get_figure(root=True)
    figure.set_dpi(150)
    figure.draw_without_rendering()
    axes = [owner] if hasattr(owner, "get_legend") else owner.axes
    written = [t for ax in axes for t in texts(ax)]
    written += [t for legend in figure.legends for t in legend.get_texts()]
    boxes = [(t.get_text(), box_of(t)) for t in written]
    for words, box in boxes:
        assert box.x0 >= -_TOUCH, words
        assert box.y0 >= -_TOUCH, words
        assert box.x1 <= figure.bbox.x1 + _TOUCH, words
        assert box.y1 <= figure.bbox.y1 + _TOUCH, words
    for (one, a), (other, b) in combinations(boxes, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        upright = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(across, upright) <= _TOUCH, (one, other)
    # The data have at least a third of the figure's width.
    whole = sum(ax.get_window_extent().width for ax in axes if ax.get_position().y0 == min(
        one.get_position().y0 for one in axes))  # fmt: skip
    assert whole > figure.bbox.width / 3.0
    return owner


def legend(owner):
    """Words of the legend of Axes, or of a Figure."""
    found = owner.get_legend() if hasattr(owner, "get_legend") else owner.legends[0]
    return [t.get_text() for t in found.get_texts()]


def title(ax):
    """Title of the legend."""
    return ax.get_legend().get_title().get_text()


def rows_named(ax):
    """Names of rows, from the first."""
    return [t.get_text() for t in ax.get_yticklabels()]
