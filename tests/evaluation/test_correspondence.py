import matplotlib.image
import numpy as np
import pytest
import torch
from helpers import small_model
from PIL import Image

from esvit_plugin import get_model
from esvit_plugin.datasets import load_photo
from esvit_plugin.evaluation import (
    best_matches,
    match_accuracy,
    mirrored_copy,
    plot_correspondence,
    region_map,
)
from esvit_plugin.evaluation.images import open_images


def test_a_mirrored_map_corresponds_everywhere():
    source = torch.randn(4, 5, 8)
    assert match_accuracy(source, source.flip(1), 20) == (100.0, 0.0)


def test_errors_count_in_grid_steps():
    # One distinct feature per position; the copy is mirrored, then one row too low.
    source = torch.eye(12).view(3, 4, 12)
    shifted = source.flip(1).roll(1, 0)
    accuracy, error = match_accuracy(source, shifted, 12)
    assert accuracy == 0
    assert error == pytest.approx((8 * 1 + 4 * 2) / 12)  # the last row wraps around


def test_errors_count_in_pixels():
    source = torch.eye(12).view(3, 4, 12)
    shifted = source.flip(1).roll((1, 1), (0, 1))
    _, error = match_accuracy(source, shifted, 12, step=(20, 8))
    # Two of three rows are 20 px off, the last 40 px; of four columns one is 24 px.
    pairs = [(y, x) for y in (20, 20, 40) for x in (8, 8, 8, 24)]
    assert error == pytest.approx(np.mean([np.hypot(*pair) for pair in pairs]))


def test_the_copy_is_mirrored_and_grey():
    image = load_photo('astronaut')[:128, :128]
    copy, again, other = (
        mirrored_copy(image, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert copy.shape == image.shape and copy.dtype == np.uint8
    assert (copy == copy[..., :1]).all()
    assert (copy == again).all() and (copy != other).any()
    grey = image.mean(-1)
    like = [
        np.corrcoef(x.ravel(), copy[..., 0].ravel())[0, 1]
        for x in (grey, grey[:, ::-1])
    ]
    assert like[1] > 0.9 > like[0]


def test_the_map_has_the_regions_of_the_image_in_their_places():
    model = get_model(small_model())
    image = load_photo('astronaut')[:128, :128]
    found = region_map(model, image, 'student')
    bgr = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        plain = model.backbone(bgr)[-1][0].permute(1, 2, 0)
    assert found.shape == (4, 4, 128)
    torch.testing.assert_close(found, plain)


def test_images_are_files_and_bundled_photographs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    red = np.zeros((40, 30, 3), np.uint8) + np.array([200, 0, 0], np.uint8)
    Image.fromarray(red).save('one.png')
    (tmp_path / 'bad.png').write_bytes(b'no image')
    found = dict(open_images([str(tmp_path), 'coffee'], 28))
    assert list(found) == [str(tmp_path / 'one.png'), 'coffee']
    assert (found[str(tmp_path / 'one.png')] == [200, 0, 0]).all()
    assert all(image.shape == (28, 28, 3) for image in found.values())
    Image.fromarray(red).save('coffee', 'png')
    assert (dict(open_images(['coffee'], 28))['coffee'] == [200, 0, 0]).all()
    with pytest.raises(FileNotFoundError, match='no image or folder tea'):
        open_images(['tea'])


def test_the_most_similar_pairs_come_first():
    target = torch.eye(3)
    source = torch.tensor([[0.2, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.5, 1.0]])
    assert best_matches(source, target, 2).tolist() == [[1, 0], [0, 1]]


def test_the_picture_shows_right_and_wrong_matches(tmp_path):
    path = tmp_path / 'match.png'
    images = (np.zeros((40, 40, 3), np.uint8),) * 2
    right, wrong = torch.tensor([[0, 3]]), torch.tensor([[0, 0]])
    plot_correspondence(str(path), images, (4, 4), [('a', right), ('b', wrong)])
    picture = matplotlib.image.imread(path)[..., :3]
    upper, lower = np.array_split(picture, 2)

    def is_drawn(part, color):
        return bool((np.abs(part - np.array(color)).max(-1) < 0.05).any())

    assert is_drawn(upper, (0, 1, 0)) and not is_drawn(upper, (1, 0, 0))
    assert is_drawn(lower, (1, 0, 0)) and not is_drawn(lower, (0, 1, 0))
