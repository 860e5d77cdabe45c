"""What all pictures of this package share."""

from typing import TYPE_CHECKING

import numpy as np

from ..datasets.paths import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_matplotlib() -> None:
    """Say what to install where pictures cannot be drawn.

    Raises:
        ImportError: If matplotlib is missing.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'Pictures need matplotlib, which is not installed: '
            'pip install "esvit_plugin[demo]"'
        ) from error


def new_figure(width: float, height: float, dpi: float = 110) -> 'Figure':
    """A figure that needs no window system and is freed like any other object.

    Args:
        width: In inches.
        height: In inches.
        dpi: Pixels per inch. Defaults to 110.

    Raises:
        ImportError: If matplotlib is missing.
    """
    check_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def figure_text(text: object) -> str:
    r"""A text with names of files, as matplotlib draws it.

    Names may have characters that no font takes, or dollars, between which matplotlib
    reads formulas and fails at what is none.

    Args:
        text: A name, or lines with names.

    Example:
        >>> figure_text('5$ or 6$')
        '5\\$ or 6\\$'
    """
    lines = (printable(line) for line in str(text).split('\n'))
    return '\n'.join(lines).replace('$', r'\$')


def picture_name(name: str) -> str:
    """The name of a file, in that of a picture of it: printable, at most 150 bytes.

    What comes before and after it must fit into the 255 bytes of a file system, too.
    """
    return printable(name).encode()[:150].decode(errors='ignore')


def figure_image(figure: 'Figure') -> np.ndarray:
    """The picture as an RGB uint8 array (H, W, 3), as mmengine's visualizer takes."""
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
