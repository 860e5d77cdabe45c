"""Pictures of what evaluations found; they need matplotlib, the extra [demo]."""

from .attention import draw_attention
from .correspondence import draw_correspondence, plot_correspondence
from .curves import draw_curves, draw_runs
from .embedding import draw_embedding
from .layers import draw_attention_spread, draw_cka
from .logs import read_run, read_scalars, run_names
from .neighbours import draw_neighbours
from .schedules import draw_schedules, read_schedules
from .views import draw_views, sample_views

__all__ = [
    'draw_attention',
    'draw_attention_spread',
    'draw_cka',
    'draw_correspondence',
    'draw_curves',
    'draw_embedding',
    'draw_runs',
    'draw_schedules',
    'draw_views',
    'draw_neighbours',
    'plot_correspondence',
    'read_run',
    'read_scalars',
    'read_schedules',
    'run_names',
    'sample_views',
]
