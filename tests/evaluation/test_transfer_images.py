"""The images of the transfer evaluation: their size, their bits, and damaged ones."""

from types import SimpleNamespace

from mmengine.registry import init_default_scope
from support.made_up_data import write_image

from esvit_plugin.engine.config_checks import dicts
from esvit_plugin.engine.configs import load_config
from esvit_plugin.evaluation.transfer import SPLITS, config_path, evaluate, prepared_as


def test_steps_of_the_shared_size_alone_are_changed():
    sizes = dict(ResizeEdge='scale', CenterCrop='crop_size', Resize='scale')
    for name, expected in (
        ('dtd', {96}),
        ('mnist', {96}),
        ('transfer_folder', {96}),
        ('transfer_digits', {64}),
        ('transfer_photos', set()),
    ):
        cfg = load_config(config_path(name))
        before = cfg.pretty_text
        found, is_sized = prepared_as(cfg, 96, 12)
        steps = [step for part in SPLITS for _, step in dicts(found[part])]
        values = {s[sizes[s['type']]] for s in steps if s.get('type') in sizes}
        assert values == expected, name
        assert is_sized == (expected == {96})
        assert cfg.pretty_text == before
        loads = [step for step in steps if step.get('type') == 'LoadImage']
        depth = 12 if name == 'transfer_folder' else None
        # Pillow, for files of other kinds, reads no 16 bits in colour.
        assert all(step.get('bit_depth') == depth for step in loads)


def test_a_crop_out_of_a_larger_image_keeps_its_sizes():
    cfg = load_config(config_path('transfer_folder'))
    for _, step in dicts(cfg._cfg_dict):
        if step.get('type') == 'ResizeEdge':
            step['scale'] = 256
    found, is_sized = prepared_as(cfg, 96, None)
    crops = [s for _, s in dicts(found.train) if s.get('type') == 'CenterCrop']
    assert not is_sized and {step.crop_size for step in crops} == {224}


def test_labels_stay_with_the_images_where_damaged_ones_are_skipped(
    tmp_path, monkeypatch
):
    for part in ('train', 'val'):
        for number in range(12):
            kind = ('ant', 'bee')[number % 2]
            write_image(tmp_path / part / kind / f'{number}.jpg', number)
    path = tmp_path / 'train' / 'ant' / '2.jpg'
    path.write_bytes(path.read_bytes()[:200])
    cfg = load_config(config_path('transfer_folder'), {'data_root': str(tmp_path)})
    for _, step in dicts(cfg._cfg_dict):
        if step.get('type') == 'LoadImage':
            step.on_error = 'skip'
    seen = []

    def keep(*parts, metric):
        seen.extend(parts)
        return SimpleNamespace(value=1.0, best_c=1.0, sweep={})

    monkeypatch.setattr('esvit_plugin.evaluation.transfer.logistic_probe', keep)
    model = SimpleNamespace(
        data_preprocessor=lambda batch, training: batch,
        backbone=SimpleNamespace(img_size=32),
        bit_depth=None,
    )
    init_default_scope('mmpretrain')
    result = evaluate(
        model, lambda images: images.float().flatten(1), cfg, dict(batch_size=4)
    )
    # One of each class is held out.
    assert sum(result['images'][:2]) == 11 and result['images'][2] == 12
    for rows, classes in zip(seen[::2], seen[1::2]):
        assert rows.shape == (len(classes), 3 * 32 * 32)
    # All images differ, and those of test/ are those of the others.
    known = {row.tobytes(): label for row, label in zip(*seen[4:])}
    for rows, classes in (seen[:2], seen[2:4]):
        assert [known[row.tobytes()] for row in rows] == classes.tolist()
