"""EsViT with CvT-T and both tasks (29M parameters in the backbone).

It has batch norms; ``sync_bn`` of the runtime's config joins those of all GPUs.
"""

_base_ = ['./swin_t.py']

model = dict(backbone=dict(_delete_=True, type='CvT', arch='tiny', drop_path_rate=0.1))
