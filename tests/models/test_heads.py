import json

import numpy as np
import pytest
import torch

from esvit_plugin.engine import TeacherTempHook
from esvit_plugin.models import DINOViewHead, RegionMatchingHead

HEADS = [DINOViewHead, RegionMatchingHead]
K = 8


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


def view_inputs(batch=3):
    student = [torch.randn(batch, K, requires_grad=True) for _ in range(4)]
    return student, [torch.randn(batch, K) for _ in range(2)]


def region_inputs(batch=3):
    counts = [6, 6, 2, 2]
    student = [torch.randn(batch, n, K, requires_grad=True) for n in counts]
    teacher = [torch.randn(batch, 6, K) for _ in range(2)]
    student_feats = [torch.randn(batch, n, 5) for n in counts]
    return student, teacher, student_feats, [torch.randn(batch, 6, 5) for _ in '12']


CASES = [
    (DINOViewHead, view_inputs, plain_view_loss, 'loss_view'),
    (RegionMatchingHead, region_inputs, plain_region_loss, 'loss_region'),
]


@pytest.mark.parametrize(('head_type', 'make', 'plain', 'name'), CASES)
def test_loss_and_gradients_equal_the_plain_formula(head_type, make, plain, name):
    head = head_type(out_channels=K, student_temp=0.3, teacher_temp=0.2)
    head.center.normal_()
    center = head.center[0].clone()
    inputs = make()
    expected = plain(*inputs, center, 0.3, 0.2)
    theirs = torch.autograd.grad(expected, inputs[0])
    loss = head.loss(*inputs)[name]
    torch.testing.assert_close(loss, expected)
    for ours, other in zip(torch.autograd.grad(loss, inputs[0]), theirs):
        torch.testing.assert_close(ours, other)


@pytest.mark.parametrize(('head_type', 'make', 'plain', 'name'), CASES)
def test_the_center_moves_in_training_after_the_loss(head_type, make, plain, name):
    head = head_type(out_channels=K, center_momentum=0.7)
    inputs = make()
    first = head.loss(*inputs)[name]
    mean = torch.stack([t.flatten(0, -2).mean(0) for t in inputs[1]]).mean(0)
    torch.testing.assert_close(head.center[0], 0.3 * mean)
    assert head.loss(*inputs)[name] != first
    head.eval()
    before = head.center.clone()
    head.loss(*inputs)
    assert torch.equal(head.center, before)
    assert 'center' in head.state_dict()


def test_teacher_entropy_tells_uniform_from_certain():
    head = DINOViewHead(out_channels=K)
    student, _ = view_inputs()
    uniform = head.loss(student, [torch.zeros(3, K)] * 2)['teacher_entropy']
    assert uniform.item() == pytest.approx(np.log(K))
    head.center.zero_()
    certain = 100 * torch.eye(K)[:3]
    assert head.loss(student, [certain] * 2)['teacher_entropy'].item() < 1e-6


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
        loss = head.loss(s_cls.chunk(views), t_cls.chunk(2))['loss_view']
        if with_regions:
            t_total = 2 * cfg['NG'] * batch
            s_reg = normal(0, f's_reg-{step}', (total, classes), 0.5).requires_grad_()
            t_reg = normal(0, f't_reg-{step}', (t_total, classes), 0.5)
            s_fea = normal(0, f's_fea-{step}', (total, width))
            t_fea = normal(0, f't_fea-{step}', (t_total, width))
            losses = region_head.loss(*map(split, (s_reg, t_reg, s_fea, t_fea)))
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
