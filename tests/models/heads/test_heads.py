import json

import numpy as np
import pytest
import torch

from esvit_plugin.engine import TeacherTempHook
from esvit_plugin.models import DINOViewHead, RegionMatchingHead
from esvit_plugin.models.heads import blockwise

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


def view_inputs(batch=3):
    return [features(batch) for _ in range(4)], [features(batch) for _ in '12'], ()


def region_inputs(batch=3):
    counts = [6, 6, 2, 2]
    feats = [torch.randn(batch, n, 5) for n in counts]
    teacher_feats = [torch.randn(batch, 6, 5) for _ in '12']
    student = [features(batch, n) for n in counts]
    return student, [features(batch, 6) for _ in '12'], (feats, teacher_feats)


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
    monkeypatch.setattr(blockwise, 'BLOCK_ELEMENTS', block)
    monkeypatch.setattr(blockwise, 'SLICE_ELEMENTS', rows)
    monkeypatch.setattr(blockwise, 'SLICE_PROTOTYPES', 3)
    head = head_type(out_channels=K, student_temp=0.3, teacher_temp=0.2)
    head.center.normal_()
    center = head.center[0].clone()
    student, teacher, feats = make()
    prototypes, theirs = features(K), features(K)
    logits = [s @ prototypes.T for s in student]
    targets = [t @ theirs.T for t in teacher]
    expected = plain(logits, targets, *feats, center, 0.3, 0.2)
    trained = [*student, prototypes]
    expected_grads = torch.autograd.grad(expected, trained)
    loss = head.loss(student, teacher, *feats, prototypes, theirs)[name]
    torch.testing.assert_close(loss, expected)
    grads = torch.autograd.grad(3 * loss, trained)
    for ours, other in zip(grads, expected_grads):
        torch.testing.assert_close(ours, 3 * other)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@each_head
def test_autocast_costs_only_the_precision_of_its_type(
    head_type, make, plain, name, dtype
):
    # So many images that float16 could not hold a row's gradient unscaled.
    student, teacher, feats = make(batch=2000)
    prototypes = features(K)
    trained = [*student, prototypes]

    def run():
        head = head_type(out_channels=K)
        loss = head.loss(student, teacher, *feats, prototypes, prototypes.detach())
        return loss[name], torch.autograd.grad(loss[name], trained)

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


@each_head
def test_no_product_of_all_rows_and_prototypes_is_kept(head_type, make, plain, name):
    batch, num_prototypes = 64, 2048
    student, teacher, feats = make(batch)
    weights = [features(num_prototypes) for _ in '12']
    head = head_type(out_channels=num_prototypes)
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        head.loss(student, teacher, *feats, *weights)
    assert kept
    assert max(kept) <= num_prototypes * D


@each_head
def test_the_center_moves_in_training_after_the_loss(head_type, make, plain, name):
    head = head_type(out_channels=K, center_momentum=0.7)
    student, teacher, feats = make()
    theirs = features(K)
    inputs = student, teacher, *feats, features(K), theirs
    first = head.loss(*inputs)[name]
    rows = torch.cat([t.flatten(0, -2) for t in teacher])
    torch.testing.assert_close(head.center[0], 0.3 * (rows @ theirs.T).mean(0))
    assert not head.center.requires_grad
    assert head.loss(*inputs)[name] != first
    head.eval()
    before = head.center.clone()
    head.loss(*inputs)
    assert torch.equal(head.center, before)
    assert 'center' in head.state_dict()


def test_teacher_entropy_tells_uniform_from_certain():
    head = DINOViewHead(out_channels=K)
    eye = torch.eye(K)
    student = [torch.randn(3, K) for _ in range(4)]

    def entropy(teacher):
        return head.loss(student, [teacher] * 2, eye, eye)['teacher_entropy'].item()

    assert entropy(torch.zeros(3, K)) == pytest.approx(np.log(K))
    head.center.zero_()
    assert entropy(100 * eye[:3]) < 1e-6


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

    def split(rows):
        parts = rows.split(
            [batch * n for n in regions][: 2 if len(rows) < total else None]
        )
        return [p.view(batch, -1, p.shape[-1]) for p in parts]

    for step in range(cfg['steps']):
        for each in (head, region_head):
            each.teacher_temp = schedule.temperature(4 * step)
        s_cls = normal(0, f's_cls-{step}', (views * batch, classes), 0.5)
        t_cls = normal(0, f't_cls-{step}', (2 * batch, classes), 0.5)
        s_cls.requires_grad_()
        loss = head.loss(s_cls.chunk(views), t_cls.chunk(2), eye, eye)['loss_view']
        if with_regions:
            t_total = 2 * cfg['NG'] * batch
            s_reg = normal(0, f's_reg-{step}', (total, classes), 0.5).requires_grad_()
            t_reg = normal(0, f't_reg-{step}', (t_total, classes), 0.5)
            s_fea = normal(0, f's_fea-{step}', (total, width))
            t_fea = normal(0, f't_fea-{step}', (t_total, width))
            inputs = map(split, (s_reg, t_reg, s_fea, t_fea))
            losses = region_head.loss(*inputs, eye, eye)
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
