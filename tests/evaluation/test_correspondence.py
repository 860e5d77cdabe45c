import numpy as np
import pytest
import torch
from PIL import Image
from support.training import small_model

from esvit_plugin import get_model
from esvit_plugin.datasets import load_photo
from esvit_plugin.evaluation import (
    Placement,
    cropped_copy,
    match_accuracy,
    match_regions,
    mirrored_copy,
    open_pairs,
    region_map,
)
from esvit_plugin.evaluation.images import find_sources, open_images
from esvit_plugin.evaluation.view_pairs import change_light


def test_a_mirrored_map_corresponds_everywhere():
    source = torch.randn(4, 5, 8)
    assert match_accuracy(source, source.flip(1), 20) == (100, pytest.approx(0))


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


def plain_hit(source_cell, target_cell, grid, other, box, mirrored=False):
    """Whether the target region's centre lies in the source region, and how far off.

    ``box`` is (top, left, height, width) of the target in the source.
    """
    y, x = ((cell + 0.5) / n for cell, n in zip(target_cell, other, strict=True))
    x = 1 - x if mirrored else x
    y, x = box[0] + y * box[2], box[1] + x * box[3]
    rows, cols = grid
    inside = (
        source_cell[0] / rows <= y < (source_cell[0] + 1) / rows
        and source_cell[1] / cols <= x < (source_cell[1] + 1) / cols
    )
    centre = (source_cell[0] + 0.5) / rows, (source_cell[1] + 0.5) / cols
    return inside, np.hypot((y - centre[0]) * rows * 3, (x - centre[1]) * cols * 5)


@pytest.mark.parametrize('mirrored', [False, True])
@pytest.mark.parametrize(
    ('grid', 'other', 'box'),
    [((4, 4), (4, 4), (0.11, 0.27, 0.7, 0.6)), ((3, 5), (4, 2), (0, 0.4, 1, 0.5))],
)
def test_matches_are_judged_by_where_the_second_view_lies(grid, other, box, mirrored):
    source, target = torch.randn(*grid, 8), torch.randn(*other, 8)
    place = Placement(*box, mirrored)
    found = match_regions(source, target, 9, step=(3, 5), place=place)
    assert len(found.pairs) == 9
    hits, errors, cosines = [], [], []
    for left, right in found.pairs.tolist():
        cells = divmod(left, grid[1]), divmod(right, other[1])
        inside, error = plain_hit(*cells, grid, other, box, mirrored)
        hits.append(inside)
        errors.append(error)
        a, b = source[cells[0]], target[cells[1]]
        cosines.append(float(a @ b / a.norm() / b.norm()))
    assert found.right.tolist() == hits
    assert found.accuracy == pytest.approx(100 * np.mean(hits))
    assert found.error == pytest.approx(np.mean(errors), rel=1e-4)
    assert found.similarity == pytest.approx(np.mean(cosines), rel=1e-4)


def test_the_regions_of_a_crop_lie_in_those_of_the_image():
    # One distinct feature per position; the crop is rows 0-1 and columns 1-2 of 4x4,
    # so that each region of the image is four of the crop.
    source = torch.eye(16).view(4, 4, 16)
    crop = source[:2, 1:3].repeat_interleave(2, 0).repeat_interleave(2, 1)
    place = Placement(0, 0.25, 0.5, 0.5)
    found = match_regions(source, crop, 4, place=place)
    assert found.accuracy == 100
    assert found.similarity == pytest.approx(1)
    # Centres of quarters of a region, at a quarter of a step in both directions.
    assert found.error == pytest.approx(0.25 * 2**0.5)
    wrong = match_regions(source, crop, 4, place=Placement(0.25, 0.25, 0.5, 0.5))
    assert wrong.accuracy == 0


def test_two_images_have_only_similarity():
    source = torch.randn(3, 3, 8)
    found = match_regions(source, -source, 2, place=None)
    assert found.right is found.accuracy is found.error is None
    assert -1 <= found.similarity < 1


def test_a_crop_shows_what_its_placement_says():
    image = load_photo('astronaut')[:256, :256]
    grey, mirrored = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        view, place = cropped_copy(image, rng, jitter_prob=0)
        assert 0.39 < place.height * place.width < 0.61
        top, left = round(place.top * 256), round(place.left * 256)
        height, width = round(place.height * 256), round(place.width * 256)
        part = Image.fromarray(image[top : top + height, left : left + width])
        plain = part.resize((256, 256), Image.BICUBIC)
        grey.append((view == view[..., :1]).all())
        mirrored.append(place.mirrored)
        if grey[-1]:
            plain = plain.convert('L').convert('RGB')
        shown = np.asarray(plain)[:, ::-1] if place.mirrored else np.asarray(plain)
        assert view.shape == image.shape
        assert np.abs(shown.astype(int) - view).mean() < 3
    # As in the authors' program
    assert 2 <= sum(grey) <= 16 and 12 <= sum(mirrored) <= 28


def test_brightness_does_not_find_the_place_of_misleading_copies():
    (mirrored,) = open_pairs(['astronaut'], 64)
    (inverted,) = open_pairs(['astronaut'], 64, 'inverted')
    (relit,) = open_pairs(['astronaut'], 64, 'relit')
    assert (inverted.views[0] == mirrored.views[0]).all()
    assert (inverted.views[1] == 255 - mirrored.views[1]).all()
    assert inverted.place == mirrored.place

    def by_brightness(pair):
        """The angle of a feature says how bright a patch of 8 x 8 pixels is."""
        patches = [view.reshape(8, 8, 8, 8, 3).mean((1, 3, 4)) for view in pair.views]
        angles = [torch.tensor(patch) / 255 for patch in patches]
        features = [torch.stack([a.cos(), a.sin()], -1) for a in angles]
        return match_regions(*features, place=pair.place).accuracy_all

    assert by_brightness(mirrored) > 5 * by_brightness(inverted)
    assert by_brightness(mirrored) > 2 * by_brightness(relit)
    # Light and dark by as many stops at opposite sides; nothing else is changed.
    grey = np.full((8, 8, 3), 64, np.uint8)
    lit = change_light(grey, np.random.default_rng(0), stops=1).astype(float) / 64
    assert lit.min() == 0.5 and lit.max() == 2
    np.testing.assert_allclose(lit * lit[::-1, ::-1], 1, atol=0.05)


def test_all_matches_count_beside_the_most_confident_ones():
    eye = torch.eye(4).view(2, 2, 4)
    # The true places of two regions, not quite as sure as the others.
    target = eye.flip(1).clone()
    target[0] = eye[0] + 0.1
    found = match_regions(eye, target, 2)
    assert found.accuracy == 100 and found.accuracy_all == 50
    assert match_regions(eye, target, 4).accuracy == 50
    assert match_regions(eye, target, place=None).accuracy_all is None


def test_colours_are_jittered_in_four_of_five_copies():
    image = load_photo('astronaut')[:64, :64]
    plain = mirrored_copy(image, np.random.default_rng(0), jitter_prob=0)
    copies = [mirrored_copy(image, np.random.default_rng(seed)) for seed in range(200)]
    same = sum((copy == plain).all() for copy in copies)
    assert 20 <= same <= 60


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
    # A folder is gone through once, whatever the size then is.
    sources = find_sources([str(tmp_path), 'coffee'])
    (tmp_path / 'late.png').write_bytes((tmp_path / 'one.png').read_bytes())
    for size in (14, 28):
        again = dict(open_images(sources, size))
        assert list(again) == list(found)
        assert all(image.shape == (size, size, 3) for image in again.values())
    assert all((again[name] == found[name]).all() for name in found)
    Image.fromarray(red).save('coffee', 'png')
    assert (dict(open_images(['coffee'], 28))['coffee'] == [200, 0, 0]).all()
    with pytest.raises(FileNotFoundError, match='no image or folder tea'):
        open_images(['tea'])
