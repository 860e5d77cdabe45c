"""Pictures of what evaluations found; they need matplotlib, the extra [demo]."""

from .attention import draw_attention
from .correspondence import draw_correspondence, plot_correspondence
from .curves import draw_curves, read_scalars, run_names
from .embedding import draw_embedding
from .neighbours import draw_neighbours

__all__ = [
    'draw_attention',
    'draw_correspondence',
    'draw_curves',
    'draw_embedding',
    'draw_neighbours',
    'plot_correspondence',
    'read_scalars',
    'run_names',
]
