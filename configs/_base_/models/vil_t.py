"""EsViT with ViL-T and both tasks (28M parameters in the backbone).

For the authors' random neighbours set ``backbone.random_neighbor=True`` and add
``dict(type='RandomNeighborHook', switch_at=1.0)`` to ``custom_hooks``; their
command's switch to all neighbours (0.75) is never performed by their program.
"""

_base_ = ['./swin_t.py']

model = dict(
    backbone=dict(
        _delete_=True, type='ViL', arch='tiny', img_size=224, drop_path_rate=0.1
    )
)
