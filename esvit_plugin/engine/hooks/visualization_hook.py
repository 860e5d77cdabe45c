"""Pictures of what the teacher has learnt, while it is trained."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn

from ...evaluation.attention import (
    BlockAttention,
    Query,
    has_attention,
    last_attention,
)
from ...evaluation.correspondence import match_views
from ...evaluation.images import model_inputs
from ...evaluation.view_pairs import ViewPair, open_pairs
from ...models.utils import picture_size
from ...visualization.attention import draw_attention
from ...visualization.correspondence import draw_correspondence
from ...visualization.figures import check_matplotlib, figure_image, picture_name
from ..variables import find_bit_depth
from .utils import unwrap_model


@HOOKS.register_module()
class EsViTVisualizationHook(Hook):
    """Draws the teacher's region correspondence and attention during training.

    For each image ``correspondence_...`` shows the most similar regions of the image
    and of its flipped, jittered and grey copy, and ``attention_...`` where the heads
    of the last block look; without the latter for backbones that have no attention.
    The pictures go to every backend of mmengine's visualizer, by default into
    ``vis_data/vis_image`` of the run. Training goes on as if there were no hook.

    Args:
        images: Files or folders of images, or names of the photographs that
            scikit-image and scikit-learn bring. Defaults to four of these.
        size: Side of the images in pixels. Defaults to None, what the backbone was made
            for, but at least 224.
        interval: Epochs between pictures; the last epoch always has some.
            Defaults to 1.
        num_matches: Matches to draw. Defaults to 10.
        queries: Positions (row, column) of the last map whose attention is drawn, or
            'cls' for the class token. Defaults to None, five positions and the class
            token if there is one.
        seed: Of the copies' colours, the same in every epoch. Defaults to 0.

    Raises:
        ValueError: If a number is not positive, or there are no images.
    """

    def __init__(
        self,
        images: Sequence[str] = ('astronaut', 'chelsea', 'coffee', 'china'),
        size: int | None = None,
        interval: int = 1,
        num_matches: int = 10,
        queries: Sequence[Query] | None = None,
        seed: int = 0,
    ) -> None:
        numbers = dict(size=size, interval=interval, num_matches=num_matches)
        for name, value in numbers.items():
            if value is not None and value < 1:
                raise ValueError(
                    f'EsViTVisualizationHook: {name} must be >= 1, got {value}.'
                )
        if isinstance(images, str) or not images:
            raise ValueError(
                'EsViTVisualizationHook: images must be a list of files, folders or '
                f'bundled photographs, got {images!r}.'
            )
        self.sources = list(images)
        self.size = size
        self.interval = interval
        self.num_matches = num_matches
        self.queries = list(queries or [])
        self.seed = seed
        self._pairs: list[ViewPair] = []

    def before_train(self, runner: Runner) -> None:
        """Read the images, so that what is missing shows before training.

        Raises:
            ImportError: If matplotlib is missing.
            FileNotFoundError: If an image does not exist.
            ValueError: If there is no image, or the map has no such query.
        """
        check_matplotlib()
        model = unwrap_model(runner)
        if not hasattr(model, 'teacher'):
            raise ValueError(
                'EsViTVisualizationHook draws the teacher of an EsViT, and a '
                f'{type(model).__name__} has none: leave it out of custom_hooks, and '
                'draw checkpoints with esvit attention and esvit correspondence.'
            )
        size = self.size or picture_size(model.teacher['backbone'])
        depth = find_bit_depth(runner.cfg)
        pairs = open_pairs(self.sources, size, seed=self.seed, bit_depth=depth)
        self._pairs = list(pairs)
        if not self._pairs:
            raise ValueError(
                'EsViTVisualizationHook: none of the images could be read: '
                f'{", ".join(self.sources)}.'
            )
        if self.queries and has_attention(model.teacher['backbone']):
            with _evaluating(model.teacher):
                attention = _attention(model, self._pairs[0].views[0])
            for query in self.queries:
                attention.of_query(query)

    def after_train_epoch(self, runner: Runner) -> None:
        """Draw, if it is time."""
        last = runner.epoch + 1 == runner.max_epochs
        if last or self.every_n_epochs(runner, self.interval):
            self._draw(runner)

    @master_only
    def _draw(self, runner: Runner) -> None:
        model = unwrap_model(runner)
        with _evaluating(model.teacher):
            for number, pair in enumerate(self._pairs):
                name = f'{number}_{picture_name(Path(pair.paths[0]).stem)}'
                step = runner.epoch + 1
                matches = match_views(model, pair, self.num_matches)
                rows = [(f'teacher, epoch {step}', matches)]
                figure = draw_correspondence(pair, rows)
                pictures = {f'correspondence_{name}': figure}
                if has_attention(model.teacher['backbone']):
                    image = pair.views[0]
                    attention = _attention(model, image)
                    queries = self.queries or attention.default_queries()
                    title = f'{Path(pair.paths[0]).stem}, epoch {step}'
                    pictures[f'attention_{name}'] = draw_attention(
                        image, attention, queries, title=title
                    )
                for tag, figure in pictures.items():
                    runner.visualizer.add_image(tag, figure_image(figure), step=step)


def _attention(model: Any, image: np.ndarray) -> BlockAttention:
    return last_attention(model.teacher['backbone'], model_inputs(model, image))


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, and back to each part's own mode."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode
