"""Pictures of what evaluations found; they need matplotlib, the extra [demo]."""

from .attention import draw_attention
from .correspondence import draw_correspondence, plot_correspondence
from .curves import draw_curves, draw_runs
from .embedding import draw_embedding
from .logs import read_run, read_scalars, run_names

__all__ = [
    'draw_attention',
    'draw_correspondence',
    'draw_curves',
    'draw_embedding',
    'draw_runs',
    'plot_correspondence',
    'read_run',
    'read_scalars',
    'run_names',
]
