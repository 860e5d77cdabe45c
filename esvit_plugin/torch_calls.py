"""What this package computes by calls that torch does not document, in one place.

Each is fast and has stayed for years, but may change with any release. Tests compare
each with its formula (``tests/test_torch_calls.py``). Besides, ``engine/dist_run.py``
replaces the signal handling of torch's launcher, and ``models/utils.py`` tells
``torch._dynamo`` which sizes are fixed.
"""

import torch

foreach_norm = torch._foreach_norm
foreach_mul_ = torch._foreach_mul_
foreach_add_ = torch._foreach_add_
foreach_clamp_max = torch._foreach_clamp_max
foreach_clamp_min_ = torch._foreach_clamp_min_
# As torch.nn.utils.weight_norm calls it: no copies of the weight in its backward pass.
weight_norm = torch._weight_norm
# Fused attention that also returns each query's log of the sum of its exponentials.
cpu_attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
# Backward passes, for autograd functions that compute the forward pass again.
softmax_backward = torch.ops.aten._softmax_backward_data
gelu_backward = torch.ops.aten.gelu_backward
silu_backward = torch.ops.aten.silu_backward
cpu_has_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported
