"""Names and shapes of weights as the authors' program saves them."""

Shapes = dict[str, tuple[int, ...]]


def _layer(name: str, *shape: int) -> Shapes:
    return {f'{name}.weight': shape, f'{name}.bias': shape[:1]}


def _mlp(name: str, dim: int, *ones: int) -> Shapes:
    return {
        **_layer(f'{name}.0', 4 * dim, dim, *ones),
        **_layer(f'{name}.2', dim, 4 * dim, *ones),
    }


def swin(dims=(16, 32), depths=(1, 1), heads=(1, 2), window=4) -> Shapes:
    """Swin with patch size 4; the window is the same in all stages."""
    shapes = {
        **_layer('patch_embed.proj', dims[0], 3, 4, 4),
        **_layer('patch_embed.norm', dims[0]),
        **_layer('norm', dims[-1]),
    }
    for i, dim in enumerate(dims):
        for j in range(depths[i]):
            block = f'layers.{i}.blocks.{j}.'
            shapes |= _layer(f'{block}attn.qkv', 3 * dim, dim)
            shapes |= _layer(f'{block}attn.proj', dim, dim)
            shapes |= _layer(f'{block}mlp.fc1', 4 * dim, dim)
            shapes |= _layer(f'{block}mlp.fc2', dim, 4 * dim)
            shapes |= _layer(f'{block}norm1', dim) | _layer(f'{block}norm2', dim)
            table = f'{block}attn.relative_position_bias_table'
            shapes[table] = ((2 * window - 1) ** 2, heads[i])
        if i < len(dims) - 1:
            merge = f'layers.{i}.downsample.'
            shapes[f'{merge}reduction.weight'] = (2 * dim, 4 * dim)
            shapes |= _layer(f'{merge}norm', 4 * dim)
    return shapes


def vil(dims=(8, 16), depths=(1, 2), heads=(1, 2), window=4, grid=3) -> Shapes:
    """ViL with chunks in the first stage only, and one global token there."""
    shapes: Shapes = _layer('norm', dims[-1])
    for i, dim in enumerate(dims):
        stage, chunks = f'layer{i + 1}.', i == 0
        patch = 4 if chunks else 2
        shapes |= _layer(
            f'{stage}0.proj', dim, 3 if chunks else dims[i - 1], patch, patch
        )
        shapes |= _layer(f'{stage}0.norm_embed', dim)
        if chunks:
            shapes[f'{stage}0.cls_token'] = (1, 1, dim)
        for j in range(depths[i]):
            attn, mlp = f'{stage}{2 * j + 1}.', f'{stage}{2 * j + 2}.'
            shapes |= _layer(f'{attn}norm', dim) | _layer(f'{mlp}norm', dim)
            side = 4 * window - 1 if chunks else 2 * grid - 1
            table = f'{attn}attn.local_relative_position_bias_table'
            shapes[table] = (side**2, heads[i])
            if chunks:
                shapes[f'{attn}attn.g2l_relative_position_bias'] = (2, heads[i], 1)
                shapes[f'{attn}attn.g2g_relative_position_bias'] = (heads[i], 1, 1)
            for suffix in ('', '_global') if chunks else ():
                shapes |= _layer(f'{attn}attn.query{suffix}', dim, dim)
                shapes |= _layer(f'{attn}attn.kv{suffix}', 2 * dim, dim)
                shapes |= _layer(f'{attn}attn.proj{suffix}', dim, dim)
            if not chunks:
                shapes |= _layer(f'{attn}attn.qkv', 3 * dim, dim)
                shapes |= _layer(f'{attn}attn.proj', dim, dim)
            shapes |= _layer(f'{mlp}mlp.fc1', 4 * dim, dim)
            shapes |= _layer(f'{mlp}mlp.fc2', dim, 4 * dim)
    return shapes


def cvt(dims=(64, 192, 384, 768), depths=(2, 2, 6, 2)) -> Shapes:
    """CvT-T."""
    shapes: Shapes = _layer('norm', dims[-1])
    for i, dim in enumerate(dims):
        kernel = 3 if i else 7
        before = dims[i - 1] if i else 3
        shapes |= _layer(f'stage{i}.0.proj', dim, before, kernel, kernel)
        shapes |= _layer(f'stage{i}.0.norm', dim)
        for j in range(depths[i]):
            block = f'stage{i}.1.layers.{j}.'
            shapes |= _layer(f'{block}0.norm', dim) | _layer(f'{block}1.norm', dim)
            shapes[f'{block}0.fn.qkv.dw.weight'] = (dim, 1, 3, 3)
            shapes |= _layer(f'{block}0.fn.qkv.bn', dim)
            shapes[f'{block}0.fn.qkv.bn.running_mean'] = (dim,)
            shapes[f'{block}0.fn.qkv.bn.running_var'] = (dim,)
            shapes |= _layer(f'{block}0.fn.qkv.pw', 3 * dim, dim, 1, 1)
            shapes |= _layer(f'{block}0.fn.proj_out', dim, dim, 1, 1)
            shapes |= _mlp(f'{block}1.fn.net', dim, 1, 1)
    return shapes


def vit(dim=192, depth=12, patch=16, grid=2) -> Shapes:
    """DeiT-Tiny, by default on images of 32 px."""
    shapes: Shapes = {'cls_token': (1, 1, dim), 'pos_embed': (1, grid**2 + 1, dim)}
    shapes |= _layer('patch_embed.proj', dim, 3, patch, patch) | _layer('norm', dim)
    for i in range(depth):
        block = f'blocks.{i}.'
        shapes |= _layer(f'{block}norm1', dim) | _layer(f'{block}norm2', dim)
        shapes |= _layer(f'{block}attn.qkv', 3 * dim, dim)
        shapes |= _layer(f'{block}attn.proj', dim, dim)
        shapes |= _layer(f'{block}mlp.fc1', 4 * dim, dim)
        shapes |= _layer(f'{block}mlp.fc2', dim, 4 * dim)
    return shapes


def head(name: str, in_channels: int, number: int = 12) -> Shapes:
    """Projection head with a hidden width of 24 and a bottleneck of 8."""
    return {
        **_layer(f'{name}.mlp.0', 24, in_channels),
        **_layer(f'{name}.mlp.2', 24, 24),
        **_layer(f'{name}.mlp.4', 8, 24),
        f'{name}.last_layer.weight_g': (number, 1),
        f'{name}.last_layer.weight_v': (number, 8),
    }
