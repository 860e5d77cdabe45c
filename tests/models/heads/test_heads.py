import copy
import json

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from esvit_plugin.engine import TeacherTempHook
from esvit_plugin.models import DINOViewHead, RegionMatchingHead, plain_twins
from esvit_plugin.models.heads import blocks, blockwise
from esvit_plugin.models.heads.blockwise import blockwise_cross_entropy
from esvit_plugin.models.heads.region_matching_head import match_regions

HEADS = [DINOViewHead, RegionMatchingHead]
K = 8  # prototypes
D = 6  # width of the bottleneck


def plain_view_loss(student, teacher, center, student_temp, teacher_temp):
    """L_V by loops over pairs, images and prototypes."""
    losses = []
    for t in range(len(teacher)):
        for s in range(len(student)):
            if s == t:
                continue
            for b in range(len(teacher[t])):
                p = ((teacher[t][b] - center) / teacher_temp).exp()
                q = (student[s][b] / student_temp).exp()
                p, q = p / p.sum(), q / q.sum()
                losses.append(-sum(p[k] * q[k].log() for k in range(len(p))))
    return sum(losses) / len(losses)


def plain_region_loss(
    student, teacher, student_feats, teacher_feats, center, student_temp, teacher_temp
):
    """L_R by loops over pairs, images and regions."""
    losses = []
    for t in range(len(teacher)):
        for s in range(len(student)):
            if s == t:
                continue
            for b in range(len(teacher[t])):
                regions = []
                for i, feature in enumerate(student_feats[s][b]):
                    cosines = [
                        torch.dot(feature, other) / feature.norm() / other.norm()
                        for other in teacher_feats[t][b]
                    ]
                    best = max(range(len(cosines)), key=lambda j: cosines[j])
                    p = (teacher[t][b, best] - center) / teacher_temp
                    q = student[s][b, i] / student_temp
                    regions.append(-(p.softmax(0) * q.log_softmax(0)).sum())
                losses.append(sum(regions) / len(regions))
    return sum(losses) / len(losses)


def features(*shape):
    return torch.randn(*shape, D, requires_grad=True)


def prototypes(number=K):
    return dict(prototypes=features(number), teacher_prototypes=features(number))


def view_inputs(batch=3):
    student = [features(batch, 2), features(batch, 3)]
    return dict(student=student, teacher=features(batch, 2))


def region_inputs(batch=3):
    sizes = (2, 6), (3, 2)
    return dict(
        student=[features(batch, *size) for size in sizes],
        teacher=features(batch, *sizes[0]),
        student_feats=[torch.randn(batch, *size, 5) for size in sizes],
        teacher_feats=torch.randn(batch, *sizes[0], 5),
    )


def split(groups):
    """The views (B, ...) of tensors (B, n, ...), one per size, or of one tensor."""
    groups = [groups] if isinstance(groups, torch.Tensor) else groups
    return [view for group in groups for view in group.unbind(1)]


CASES = [
    (DINOViewHead, view_inputs, plain_view_loss, 'loss_view'),
    (RegionMatchingHead, region_inputs, plain_region_loss, 'loss_region'),
]
each_head = pytest.mark.parametrize(('head_type', 'make', 'plain', 'name'), CASES)


# Blocks of all images, of one, of a part of one; slices of one row and of all.
@pytest.mark.parametrize(('block', 'rows'), [(10**6, 10**6), (150, 1), (30, 1)])
@each_head
def test_loss_and_gradients_equal_the_plain_formula(
    head_type, make, plain, name, block, rows, monkeypatch
):
    monkeypatch.setattr(blocks, 'BLOCK_ELEMENTS', block)
    monkeypatch.setattr(blocks, 'SLICE_ELEMENTS', rows)
    monkeypatch.setattr(blocks, 'SLICE_PROTOTYPES', 3)
    head = head_type(out_channels=K, student_temp=0.3, teacher_temp=0.2)
    head.center.normal_()
    twin = copy.deepcopy(head)
    inputs, matrices = make(), prototypes()
    logits = [view @ matrices['prototypes'].T for view in split(inputs['student'])]
    targets = [
        view @ matrices['teacher_prototypes'].T for view in split(inputs['teacher'])
    ]
    feats = [
        split(inputs[n]) for n in ('student_feats', 'teacher_feats') if n in inputs
    ]
    expected = plain(logits, targets, *feats, head.center[0].clone(), 0.3, 0.2)
    trained = [*inputs['student'], matrices['prototypes']]
    expected_grads = torch.autograd.grad(expected, trained)
    losses = head.loss(**inputs, **matrices)
    torch.testing.assert_close(losses[name], expected)
    grads = torch.autograd.grad(3 * losses[name], trained)
    for ours, other in zip(grads, expected_grads):
        torch.testing.assert_close(ours, 3 * other)
    with plain_twins():
        theirs = twin.loss(**inputs, **matrices)
    torch.testing.assert_close(theirs, losses)
    torch.testing.assert_close(twin.center, head.center)
    for ours, other in zip(torch.autograd.grad(theirs[name], trained), expected_grads):
        torch.testing.assert_close(ours, other)


class LargestProducts(TorchDispatchMode):
    """Keeps the rows of each product with the prototypes."""

    def __init__(self, num_prototypes):
        super().__init__()
        self.num_prototypes = num_prototypes
        self.rows = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        if func is torch.ops.aten.mm.out and out.shape[1] == self.num_prototypes:
            self.rows.append(len(out))
        return out


def test_a_gpu_reads_all_prototypes_a_few_times_only():
    # 64 images of 2 x 49 and 8 x 9 regions; nothing is computed.
    batch, num_student, num_teacher, num_prototypes = 64, 170, 98, 65536
    fake = FakeTensorMode()
    with fake, torch.device('cuda'):
        student = torch.empty(batch, num_student, 256)
        teacher = torch.empty(batch, num_teacher, 256)
        matrix = torch.empty(num_prototypes, 256)
        targets = torch.empty(batch, num_student, 2, dtype=torch.long)
        center, weights = torch.empty(1, num_prototypes), torch.empty(targets.shape)
    inputs = student, matrix, teacher, matrix, center, targets, weights, 0.1, 0.04
    with fake, torch.no_grad(), LargestProducts(num_prototypes) as products:
        blockwise_cross_entropy(*inputs)
    # 12 images at once: 2040 rows of the student.
    assert products.rows == 5 * [12 * 98, 12 * 170] + [4 * 98, 4 * 170]


@each_head
def test_the_plain_twin_knows_the_entropy_and_holds_all_logits(
    head_type, make, plain, name
):
    head = head_type(out_channels=K).eval()
    inputs = dict(make(), **prototypes())
    expected = head.loss(**inputs)
    kept = []
    with (
        plain_twins(),
        torch.autograd.graph.saved_tensors_hooks(
            lambda x: kept.append(tuple(x.shape)), lambda _: None
        ),
    ):
        losses = head.loss(**inputs)
    torch.testing.assert_close(losses, expected)
    assert len(losses) == 3
    shapes = {view.shape[:-1] + (K,) for view in split(inputs['student'])}
    assert shapes <= set(kept)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@each_head
def test_autocast_costs_only_the_precision_of_its_type(
    head_type, make, plain, name, dtype
):
    # So many images that float16 could not hold a row's gradient unscaled.
    inputs, matrix = make(batch=2000), features(K)
    trained = [*inputs['student'], matrix]
    inputs |= dict(prototypes=matrix, teacher_prototypes=matrix.detach())

    def run():
        loss = head_type(out_channels=K).loss(**inputs)[name]
        return loss, torch.autograd.grad(loss, trained)

    expected, expected_grads = run()
    with torch.autocast('cpu', dtype=dtype):
        loss, grads = run()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=0.01)
    for ours, other in zip(grads, expected_grads):
        assert ours.dtype == torch.float32
        assert (ours - other).norm() < 0.05 * other.norm()


def test_gradcheck():
    def double(*shape):
        return torch.randn(*shape, dtype=torch.float64)

    targets, weights = torch.randint(5, (3, 4, 2)), double(3, 4, 2).abs()
    others = double(3, 5, D), double(K, D), double(1, K), targets, weights, 0.3, 0.2
    student, prototypes = (x.requires_grad_() for x in (double(3, 4, D), double(K, D)))
    assert torch.autograd.gradcheck(
        lambda *inputs: blockwise.blockwise_cross_entropy(*inputs, *others)[0],
        (student, prototypes),
    )


def test_autocast_does_not_change_the_matches():
    # So close that bfloat16 could not tell the regions apart.
    student = torch.randn(2, 5, 16)
    teacher = torch.randn(2, 1, 16) + 1e-3 * torch.randn(2, 9, 16)
    expected = match_regions(student, teacher)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(match_regions(student, teacher), expected)


@each_head
def test_no_product_of_all_rows_and_prototypes_is_kept(head_type, make, plain, name):
    batch, num_prototypes = 64, 2048
    inputs = dict(make(batch), **prototypes(num_prototypes))
    head = head_type(out_channels=num_prototypes)
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        head.loss(**inputs)
    assert kept
    assert max(kept) <= num_prototypes * D


@each_head
def test_the_center_moves_in_training_after_the_loss(head_type, make, plain, name):
    head = head_type(out_channels=K, center_momentum=0.7)
    inputs = dict(make(), **prototypes())
    first = head.loss(**inputs)[name]
    rows = inputs['teacher'].flatten(0, -2)
    mean = (rows @ inputs['teacher_prototypes'].T).mean(0)
    torch.testing.assert_close(head.center[0], 0.3 * mean)
    assert not head.center.requires_grad
    assert head.loss(**inputs)[name] != first
    head.eval()
    before = head.center.clone()
    head.loss(**inputs)
    assert torch.equal(head.center, before)
    assert 'center' in head.state_dict()


def test_teacher_entropy_tells_uniform_from_certain():
    head = DINOViewHead(out_channels=K)
    eye = torch.eye(K)
    student = [torch.randn(3, n, K) for n in (2, 2)]

    def entropy(teacher):
        teacher = teacher[:, None].expand(-1, 2, -1)
        losses = head.loss(
            student=student, teacher=teacher, prototypes=eye, teacher_prototypes=eye
        )
        return losses['teacher_entropy'].item()

    assert entropy(torch.zeros(3, K)) == pytest.approx(np.log(K))
    head.center.zero_()
    assert entropy(100 * eye[:3]) < 1e-6


@pytest.mark.parametrize('plain', [False, True])
@pytest.mark.parametrize(
    ('head_type', 'shape', 'name'),
    [
        (DINOViewHead, (), 'prototypes_used'),
        (RegionMatchingHead, (5,), 'region_prototypes_used'),
    ],
)
def test_prototypes_in_use_are_counted(head_type, shape, name, plain):
    head = head_type(out_channels=K).eval()
    inputs = region_inputs() if shape else view_inputs()
    inputs['student'] = [torch.randn(3, n, *shape, K) for n in (2, 2)]
    if shape:
        inputs['student_feats'] = inputs['student']
        inputs['teacher_feats'] = inputs['student'][0]

    def used(targets):
        """With one certain prototype for each image."""
        teacher = 100 * torch.eye(K)[torch.tensor(targets)]
        inputs['teacher'] = teacher.view(3, 1, *[1 for _ in shape], K).expand(
            3, 2, *shape, K
        )
        matrices = dict(prototypes=torch.eye(K), teacher_prototypes=torch.eye(K))
        with plain_twins(plain):
            return head.loss(**inputs, **matrices)[name].item()

    assert used([1, 1, 1]) == pytest.approx(1, rel=1e-4)
    assert used([0, 3, 5]) == pytest.approx(3, rel=1e-4)
    # Two thirds and one third.
    expected = np.exp(np.log(3) - 2 / 3 * np.log(2))
    assert used([2, 2, 7]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize('head_type', HEADS)
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(student_temp=0), 'student_temp=0'),
        (dict(teacher_temp=-1), 'teacher_temp=-1'),
        (dict(center_momentum=1), r'center_momentum must be in \[0, 1\), got 1'),
    ],
)
def test_bad_options_are_refused(head_type, options, message):
    with pytest.raises(ValueError, match=message):
        head_type(out_channels=K, **options)


@pytest.mark.parametrize('with_regions', [False, True])
def test_matches_the_authors_program(golden, with_regions):
    from golden import normal

    case = 'loss_region' if with_regions else 'loss_view'
    cfg = json.loads((golden / f'{case}.json').read_text())
    reference = np.load(golden / f'{case}.npz')
    classes, batch, views, width = cfg['K'], cfg['B'], cfg['ncrops'], cfg['P']
    regions = [cfg['NG']] * 2 + [cfg['NL']] * (views - 2)
    total = batch * sum(regions)
    eye = torch.eye(classes)  # prototypes that make features the logits
    head = DINOViewHead(out_channels=classes)
    region_head = RegionMatchingHead(out_channels=classes)
    schedule = TeacherTempHook(warmup_epochs=cfg['warmup_teacher_temp_epochs'])

    matrices = dict(prototypes=eye, teacher_prototypes=eye)

    def group(rows, regions=(1, 1)):
        """Rows in the released order, view by view, as (B, n, [T,] ...) per size."""
        num_views = [2, views - 2]
        counts = [n * batch * t for n, t in zip(num_views, regions)]
        parts = rows.split(counts[: 2 if len(rows) == sum(counts) else 1])
        return [
            part.view(n, batch, *([t] if regions != (1, 1) else []), -1).transpose(0, 1)
            for part, n, t in zip(parts, num_views, regions)
        ]

    for step in range(cfg['steps']):
        for each in (head, region_head):
            each.teacher_temp = schedule.temperature(4 * step)
        s_cls = normal(0, f's_cls-{step}', (views * batch, classes), 0.5)
        t_cls = normal(0, f't_cls-{step}', (2 * batch, classes), 0.5)
        s_cls.requires_grad_()
        (teacher,) = group(t_cls)
        losses = head.loss(student=group(s_cls), teacher=teacher, **matrices)
        loss = losses['loss_view']
        if with_regions:
            t_total = 2 * cfg['NG'] * batch
            s_reg = normal(0, f's_reg-{step}', (total, classes), 0.5).requires_grad_()
            t_reg = normal(0, f't_reg-{step}', (t_total, classes), 0.5)
            s_fea = normal(0, f's_fea-{step}', (total, width))
            t_fea = normal(0, f't_fea-{step}', (t_total, width))
            num_regions = cfg['NG'], cfg['NL']
            losses = region_head.loss(
                student=group(s_reg, num_regions),
                teacher=group(t_reg, num_regions)[0],
                student_feats=group(s_fea, num_regions),
                teacher_feats=group(t_fea, num_regions)[0],
                **matrices,
            )
            loss = 0.5 * loss + 0.5 * losses['loss_region']
        loss.backward()
        assert loss.item() == pytest.approx(float(reference[f'loss_{step}']), rel=1e-5)
        found = {'grad_view': s_cls.grad, 'center_view': head.center}
        if with_regions:
            found |= {'grad_region': s_reg.grad, 'center_region': region_head.center}
        for name, value in found.items():
            expected = reference[f'{name}_{step}']
            scale = np.abs(expected).max()
            np.testing.assert_allclose(value / scale, expected / scale, atol=1e-5)
