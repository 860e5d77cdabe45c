"""EsViT, ViL-T, L_V alone on ImageNet-1K, 300 epochs, batch 1024.

    tools/dist_train.sh configs/esvit_vil_t_view_b1024.py 8

The first phase of esvit_vil_t.py, and the run of the paper's linear accuracy; that of its
k-NN accuracy, and the released checkpoint, is esvit_vil_t_view.py (batch 512). Each chunk
attends to itself and one random neighbour throughout, most likely; see esvit_vil_t.py.

Published: 77.3 % linear top-1 (arXiv 2106.09785, Table 1).
"""

_base_ = ['./esvit_vil_t.py']

model = dict(region_neck=None, region_head=None)
