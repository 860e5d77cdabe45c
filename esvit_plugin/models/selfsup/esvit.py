"""EsViT: self-distillation of views and regions with an EMA teacher."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ...torch_calls import (
    foreach_add_,
    foreach_clamp_max,
    foreach_clamp_min_,
    foreach_mul_,
)
from ...type_names import loads_weights
from ..backbones.timm_module import wrap_timm
from ..checks import check_normalised
from ..utils import mark_sizes, upcast
from ..view_and_regions import split_features
from .checkpoint_check import check_checkpoint
from .view_groups import ViewFeatures, group_views, project_groups


@MODELS.register_module()
class EsViT(BaseSelfSupervisor):
    """Efficient self-supervised vision transformer (arXiv 2106.09785, Section 3).

    A student sees all views of an image, a teacher only the global ones. The view
    head compares whole views, the region head regions matched by their backbone
    features. The teacher has no gradient: ``EMATeacherHook`` moves it after each
    step of the optimiser. In a state dict ``backbone.*`` is the student's backbone
    and ``teacher.backbone.*`` the teacher's, the one to evaluate.

    Any backbone of mmpretrain fits whose last output is a map (B, C, H, W), whose
    positions are the regions and whose mean is the view, or tokens (B, L, C), where
    the class token is the view: ``out_type='raw'`` of a ``VisionTransformer``.

    Args:
        backbone: Config of the backbone, or the backbone itself; a model of timm is
            one, too, without its classifier.
        neck: Config of the views' projection, a ``DINOProjection``, whose
            ``out_channels`` states the number of prototypes K of this task.
        head: Config of the view-level loss, a ``DINOViewHead``. It takes K from the
            neck; an ``out_channels`` of its own must agree.
        region_neck: Config of the regions' projection, which states their K.
            Defaults to None.
        region_head: Config of the region-level loss, a ``RegionMatchingHead``.
            Defaults to None; with both None training is view-only (L_V alone).
        region_weight: Weight of the region loss, in (0, 1]; the view loss has the
            rest, so that the losses sum to the paper's 0.5 L_V + 0.5 L_R. With 1, L_R
            alone, the views' neck is neither run nor trained. View-only training uses
            L_V with weight 1. Defaults to 0.5.
        compile_backbones: Compile the backbones of student and teacher with
            ``torch.compile``; a dict has its options, e.g. ``dict(dynamic=False)``.
            Defaults to False.
        data_preprocessor: Config of the normalisation; its type defaults to
            ``MultiCropDataPreprocessor``.
        pretrained: Path of a checkpoint of the whole model. Defaults to None.
        init_cfg: Initialisation of the whole model. Defaults to None.

    Raises:
        ValueError: If only one of the region parts is given, if ``region_weight``
            is outside (0, 1], or if the widths of backbone and necks, or the
            ``out_channels`` of necks and heads, differ; or if ``compile_backbones`` is
            neither a bool nor a dict.
    """

    teacher: nn.ModuleDict
    head: Any
    region_neck: Any
    region_head: Any
    region_weight: float

    def __init__(
        self,
        backbone: dict | nn.Module,
        neck: dict,
        head: dict,
        region_neck: dict | None = None,
        region_head: dict | None = None,
        region_weight: float = 0.5,
        compile_backbones: bool | dict = False,
        data_preprocessor: dict | None = None,
        pretrained: str | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if isinstance(data_preprocessor, dict) or data_preprocessor is None:
            data_preprocessor = dict(data_preprocessor or {})
            data_preprocessor.setdefault('type', 'MultiCropDataPreprocessor')
        if not isinstance(compile_backbones, bool | dict):
            raise ValueError(
                'EsViT: compile_backbones must be True, False or a dict of options of '
                f'torch.compile, got {compile_backbones!r}. On the command line: '
                'model.compile_backbones.fullgraph=True'
            )
        if (region_neck is None) != (region_head is None):
            raise ValueError(
                'EsViT: region_neck and region_head belong together; give both, or '
                'set both to None for view-only training. Got '
                f'region_neck={region_neck} and region_head={region_head}.'
            )
        if not 0 < region_weight <= 1:
            raise ValueError(
                f'EsViT: region_weight must be above 0 and at most 1, got '
                f'{region_weight}. For view-only training set region_neck and '
                'region_head to None.'
            )
        super().__init__(
            backbone=wrap_timm(backbone),
            neck=neck,
            pretrained=pretrained,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.head = _build_head(head, self.neck)
        self.region_neck = _build(region_neck)
        self.region_head = _build_head(region_head, self.region_neck)
        self.region_weight = region_weight if self.with_regions else 0.0
        self._check_widths()
        if not self.with_views:
            # Distributed training waits for the gradient of whatever is trained.
            self.neck.requires_grad_(False)
        self.teacher = nn.ModuleDict(
            {name: copy.deepcopy(part) for name, part in self._student_parts()}
        )
        self.teacher.requires_grad_(False)
        layers: list[Any] = list(self.teacher.modules())
        for layer in layers:
            # Stochastic depth is the student's alone (Section 3.2).
            if hasattr(layer, 'drop_prob'):
                layer.drop_prob = 0.0
        self.compiles_backbones = compile_backbones is not False
        if compile_backbones is not False:
            options = {} if compile_backbones is True else compile_backbones
            for source in ('student', 'teacher'):
                self.get_backbone(source).compile(**options)
        self.register_load_state_dict_pre_hook(check_checkpoint)

    @property
    def with_regions(self) -> bool:
        """Whether the region-level task is trained."""
        return self.region_neck is not None

    @property
    def with_views(self) -> bool:
        """Whether the view-level task is trained."""
        return self.region_weight < 1

    def _student_parts(self) -> Iterator[tuple[str, nn.Module]]:
        for name in ('backbone', 'neck', 'region_neck'):
            part = getattr(self, name)
            if part is not None:
                yield name, part

    def _check_widths(self) -> None:
        pairs = [('neck', 'head')]
        if self.with_regions:
            pairs.append(('region_neck', 'region_head'))
        # mmpretrain's Swin and others list the width of each stage.
        widths = getattr(self.backbone, 'num_features', None)
        width = None
        if isinstance(widths, (list, tuple)):
            # Maps come in the order of the stages.
            stages = getattr(self.backbone, 'out_indices', None) or (-1,)
            width = widths[max(i % len(widths) for i in stages)]
        for neck_name, head_name in pairs:
            neck, head = getattr(self, neck_name), getattr(self, head_name)
            if width is not None and neck.in_channels != width:
                raise ValueError(
                    f'EsViT: {neck_name}.in_channels={neck.in_channels}, but the last '
                    f'feature map of backbone {type(self.backbone).__name__} has '
                    f'{width} channels. Set model.{neck_name}.in_channels={width}.'
                )
            if neck.out_channels != head.out_channels:
                raise ValueError(
                    f'EsViT: {neck_name}.out_channels={neck.out_channels}, but '
                    f'{head_name}.out_channels={head.out_channels}; they are the '
                    'number of prototypes and must be equal; leave out '
                    f"model.{head_name}.out_channels to take the neck's."
                )

    def init_weights(self) -> None:
        """Initialise the student and start the teacher from the same weights.

        A checkpoint given by ``pretrained`` or ``init_cfg`` keeps its own teacher.
        """
        super().init_weights()
        if not loads_weights(self.init_cfg):
            for name, part in self._student_parts():
                _copy_state(part, self.teacher[name])

    @torch.no_grad()
    def update_teacher(self, momentum: float, skip: Tensor | None = None) -> None:
        """Move the teacher towards the student, t <- m t + (1 - m) s.

        Parameters only: batch-norm statistics are the teacher's own, it runs in
        training mode.

        Args:
            momentum: The weight m of the old teacher, in [0, 1].
            skip: Whether to leave the teacher alone, a bool of shape () on the device,
                which the host does not wait for. Defaults to None, False.
        """
        for name, part in self._student_parts():
            teacher: list[Tensor] = list(self.teacher[name].parameters())
            student: list[Tensor] = list(part.parameters())
            if skip is None:
                foreach_mul_(teacher, momentum)
                foreach_add_(teacher, student, alpha=1 - momentum)
                continue
            # Bounded, as 0 times infinity is not 0.
            limit = torch.finfo(torch.float32).max
            moved = foreach_clamp_max(student, limit)
            foreach_clamp_min_(moved, -limit)
            # Numbers, not tensors made of lists, which a GPU would be waited for.
            foreach_mul_(moved, torch.where(skip, 0.0, 1 - momentum))
            foreach_mul_(teacher, torch.where(skip, 1.0, momentum))
            foreach_add_(teacher, list(moved))

    def extract_feat(self, inputs: Tensor, source: str = 'teacher') -> Tensor:
        """Features of whole images, as k-NN evaluation uses them.

        Args:
            inputs: Normalised images, shape (B, 3, H, W).
            source: 'teacher', which the paper evaluates, or 'student'.
                Defaults to 'teacher'.

        Returns:
            Tensor of shape (B, C): the class token, or the mean of the regions.
        """
        return self.encode(inputs, source)[0]

    def extract_regions(self, inputs: Tensor, source: str = 'teacher') -> Tensor:
        """Features of the positions of the last map, row by row.

        Args:
            inputs: Normalised images, shape (B, 3, H, W).
            source: 'teacher' or 'student'. Defaults to 'teacher'.

        Returns:
            Tensor of shape (B, T, C).
        """
        return self.encode(inputs, source)[1]

    def encode(self, inputs: Tensor, source: str = 'teacher') -> tuple[Tensor, Tensor]:
        """Features of whole images and of their regions, in one forward pass.

        Args:
            inputs: Normalised images, shape (B, 3, H, W), as
                ``esvit_plugin.prepare_images`` makes them. Images in [0, 1] are warned
                of once.
            source: 'teacher' or 'student'. Defaults to 'teacher'.

        Returns:
            Views (B, C) and regions (B, T, C).

        Raises:
            ValueError: If ``source`` is neither, the images are uint8, or the
                backbone's last output is neither a map nor tokens.
        """
        check_normalised(type(self).__name__, inputs, self.data_preprocessor)
        return self._encode(inputs, source)

    def _encode(self, inputs: Tensor, source: str) -> tuple[Tensor, Tensor]:
        backbone = self.get_backbone(source)
        if self.compiles_backbones:
            mark_sizes(inputs)
        return split_features(backbone, backbone(inputs))

    def get_backbone(self, source: str = 'teacher') -> Any:
        """The teacher's backbone, or the student's.

        Args:
            source: 'teacher' or 'student'. Defaults to 'teacher'.

        Raises:
            ValueError: If ``source`` is neither.
        """
        if source not in ('teacher', 'student'):
            raise ValueError(f"source must be 'teacher' or 'student', got {source!r}.")
        return self.backbone if source == 'student' else self.teacher['backbone']

    def loss(
        self,
        inputs: Sequence[Tensor],
        data_samples: list[DataSample] | None = None,
    ) -> dict[str, Tensor]:
        """Losses of a batch of multi-crop views.

        Args:
            inputs: One tensor (B, n, 3, S, S) per size of view, largest first; all
                views of the first size are global. A list of single views
                (B, 3, S, S), as mmpretrain's ``MultiView`` gives, is taken too.
            data_samples: Unused.

        Returns:
            ``loss_view`` and, with regions, ``loss_region``, weighted so that
            their sum is the paper's loss, each where its weight is above 0; for the
            log the heads' ``teacher_entropy`` and ``prototypes_used``, for regions
            ``region_entropy`` and ``region_prototypes_used``; ``feature_spread``, the
            standard deviation of the teacher's unit-length view features over the
            batch, 0 when all images look alike to it and 1 at most; and, where views
            have several regions, ``region_spread``, that of its region features within
            a view, averaged.

        Raises:
            ValueError: If the views do not fit the model.
        """
        groups = group_views(inputs, self.backbone)
        student = [self.encode_group(group, 'student') for group in groups]
        with torch.no_grad():
            teacher = self.encode_group(groups[0], 'teacher')
        return self.score(student, teacher)

    def encode_group(self, images: Tensor, source: str) -> ViewFeatures:
        """Encode all views of one size in one forward pass.

        The backbone sees them view by view, so that layers that draw random numbers
        for a batch, such as stochastic depth, draw as the released program's do.

        Args:
            images: Normalised views (B, n, 3, S, S).
            source: 'teacher' or 'student'.

        Raises:
            ValueError: If the backbone's width is not the neck's.
        """
        num_views = images.shape[1]
        views, regions = self._encode(images.transpose(0, 1).flatten(0, 1), source)
        if views.shape[-1] != self.neck.in_channels:
            raise ValueError(
                f'EsViT: the backbone gives {views.shape[-1]} channels, but '
                f'neck.in_channels={self.neck.in_channels}.'
            )
        return ViewFeatures(
            views.unflatten(0, (num_views, -1)).transpose(0, 1),
            regions.unflatten(0, (num_views, -1)).transpose(0, 1),
        )

    def score(
        self, student: Sequence[ViewFeatures], teacher: ViewFeatures
    ) -> dict[str, Tensor]:
        """Losses of what the backbones give; see :meth:`loss`.

        Args:
            student: Features of the views of each size, the global ones first.
            teacher: Features of the global views.
        """
        losses = dict(feature_spread=_spread(teacher.views.flatten(0, 1)))
        if teacher.regions.shape[-2] > 1:
            losses['region_spread'] = _spread(teacher.regions.flatten(0, 1)).mean()
        if self.with_views:
            bottleneck = self._project(
                'neck', [group.views for group in student], teacher.views
            )
            losses.update(self.head.loss(**bottleneck))
            losses['loss_view'] = (1 - self.region_weight) * losses['loss_view']
        if self.with_regions:
            feats = [group.regions for group in student]
            bottleneck = self._project('region_neck', feats, teacher.regions)
            losses.update(
                self.region_head.loss(
                    student_feats=feats,
                    teacher_feats=teacher.regions,
                    **bottleneck,
                )
            )
            losses['loss_region'] = self.region_weight * losses['loss_region']
        return losses

    def _project(
        self, name: str, student: Sequence[Tensor], teacher: Tensor
    ) -> dict[str, Any]:
        """Bottleneck features and prototypes of both networks, as heads take them."""
        neck: Any = getattr(self, name)
        teacher_neck: Any = self.teacher[name]
        with torch.no_grad():
            (targets,) = project_groups(teacher_neck, [teacher])
        return dict(
            student=project_groups(neck, student),
            teacher=targets,
            prototypes=neck.prototypes(),
            teacher_prototypes=teacher_neck.prototypes(),
        )


def _build(cfg: dict | nn.Module | None) -> nn.Module | None:
    return MODELS.build(cfg) if isinstance(cfg, dict) else cfg


def _build_head(cfg: dict | nn.Module | None, neck: Any) -> Any:
    """A head with the neck's number of prototypes, where its config gives none."""
    if isinstance(cfg, dict):
        cfg = {'out_channels': neck.out_channels, **cfg}
    return _build(cfg)


@torch.no_grad()
def _copy_state(source: nn.Module, target: nn.Module) -> None:
    """Copy parameters and buffers; some backbones cannot load their own state."""
    for own, other in (
        (target.parameters(), source.parameters()),
        (target.buffers(), source.buffers()),
    ):
        for mine, theirs in zip(own, other, strict=True):
            mine.copy_(theirs)


def _spread(features: Tensor) -> Tensor:
    """Standard deviation over N of unit vectors (..., N, C), as a length (...)."""
    unit = nn.functional.normalize(upcast(features), dim=-1)
    return unit.var(dim=-2, correction=0).sum(-1).sqrt()
