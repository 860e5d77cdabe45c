"""DeiT's hard distillation: two heads, one of them the teacher's."""

import pytest
import timm
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from support.mae import ARCH, GRID

IMAGES = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
# Of several colours, as the teacher shall tell them apart
IMAGES += torch.tensor([[3.0, 0, 0], [0, 3, 0], [-3, 0, 3]])[..., None, None]
SAMPLES = [DataSample().set_gt_label(label) for label in (0, 4, 2)]


@pytest.fixture
def teacher(tmp_path):
    """A classifier of timm, and its file."""
    torch.manual_seed(1)
    model = timm.create_model('test_resnet', num_classes=5).eval()
    features = model.forward_head(model.forward_features(IMAGES), pre_logits=True)
    # Its classes 1, 3 and 4 are these images.
    model.fc.weight.data[[1, 3, 4]] = 100 * F.normalize(features - features.mean(0))
    model.fc.bias.data[[1, 3, 4]] = -(model.fc.weight[[1, 3, 4]] @ features.mean(0))
    torch.save(model.state_dict(), tmp_path / 'teacher.pth')
    return model, tmp_path / 'teacher.pth'


def build(path, **head):
    torch.manual_seed(2)
    model = MODELS.build(
        dict(
            type='HardDistilledClassifier',
            backbone=dict(
                type='VisionTransformer',
                arch=dict(ARCH),
                out_type='raw',
                final_norm=False,
                **GRID,
            ),
            head=dict(
                type='DistilledLinearClsHead',
                num_classes=5,
                in_channels=48,
                loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=5),
                **head,
            ),
            teacher=dict(
                type='TIMMTeacher',
                checkpoint=str(path),
                model_name='test_resnet',
                num_classes=5,
            ),
        )
    )
    model.init_weights()
    return model


def test_losses_are_those_of_deit(teacher):
    network, path = teacher
    model = build(path)
    (tokens,) = model.backbone(IMAGES)
    head = model.head
    ours = head.fc(F.layer_norm(tokens[:, 1:].mean(1), (48,), eps=1e-6))
    theirs = head.fc_dist(F.layer_norm(tokens[:, 0], (48,), eps=1e-6))
    labels = network(IMAGES).argmax(1)
    assert labels.tolist() == [1, 3, 4]
    wanted = dict(
        loss_label=0.5
        * F.cross_entropy(ours, torch.tensor([0, 4, 2]), label_smoothing=0.1),
        loss_teacher=0.5 * F.cross_entropy(theirs, labels),
    )
    losses = model.loss(IMAGES, SAMPLES)
    assert losses.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(losses[name], value)
    mean = (ours + theirs) / 2
    torch.testing.assert_close(model(IMAGES), mean)
    scores = [sample.pred_score for sample in model.predict(IMAGES)]
    torch.testing.assert_close(torch.stack(scores), mean.softmax(1))
    assert build(path, distill_weight=0.0).loss(IMAGES, SAMPLES)['loss_teacher'] == 0


def test_the_teacher_stays_out_of_the_model(teacher):
    model = build(teacher[1])
    names = {name.split('.')[0] for name in model.state_dict()}
    assert names == {'backbone', 'head'}
    model.train()
    sum(model.loss(IMAGES, SAMPLES).values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    network = model.distill_teacher.network
    assert not network.training
    assert all(p.grad is None for p in network.parameters())


def test_both_heads_learn_fastest(teacher):
    model = build(teacher[1])
    for name in ('norm.weight', 'norm_dist.weight', 'fc.weight', 'fc_dist.bias'):
        assert model.get_layer_depth(f'head.{name}') == (3, 4), name
    assert model.get_layer_depth('backbone.layers.0.ln1.bias') == (1, 4)
