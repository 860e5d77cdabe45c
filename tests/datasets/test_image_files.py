"""Images that are cut to one size for evaluations."""

import numpy as np
from PIL import Image

from esvit_plugin.datasets import ImageFiles


def test_images_too_long_to_be_resized_are_left_out(tmp_path):
    for name, shape in dict(line=(1, 20000), long=(4, 200)).items():
        image = np.full((*shape, 3), 99, np.uint8)
        Image.fromarray(image).save(tmp_path / f'{name}.png')
    images = ImageFiles([str(tmp_path)], 224)
    found = {path.rsplit('/')[-1]: images[i] for i, path in enumerate(images.paths)}
    assert found['line.png'] is None
    assert found['long.png'][1].shape == (3, 224, 224)
    # Of smaller images it is not too long.
    images.cut_to(32)
    assert images[images.paths.index(str(tmp_path / 'line.png'))] is not None
