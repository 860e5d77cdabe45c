"""Views as a list, for methods of mmpretrain."""

import torch
from mmpretrain.registry import MODELS


def test_views_become_a_list():
    views = torch.arange(256).repeat(2, 3, 3, 3, 1)[..., :8].to(torch.uint8)
    views = [views + torch.arange(3).view(3, 1, 1, 1).to(torch.uint8)]
    cfg = dict(mean=[1.0, 2.0, 3.0], std=[2.0, 2.0, 2.0], to_rgb=True)
    one, many = (
        MODELS.build(dict(type=f'{kind}DataPreprocessor', **cfg))
        for kind in ('ViewList', 'MultiCrop')
    )
    split = one(dict(inputs=views))['inputs']
    assert [tuple(view.shape) for view in split] == [(2, 3, 3, 8)] * 3
    joined = many(dict(inputs=views))['inputs'][0]
    torch.testing.assert_close(torch.stack(split, 1), joined)
    assert one(dict(inputs=views[0][:, 0]))['inputs'].shape == (2, 3, 3, 8)
