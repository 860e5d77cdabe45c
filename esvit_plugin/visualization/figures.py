"""What all pictures of this package share."""

from typing import TYPE_CHECKING

import numpy as np

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


def figure_image(figure: 'Figure') -> np.ndarray:
    """The picture as an RGB uint8 array (H, W, 3), as mmengine's visualizer takes."""
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
