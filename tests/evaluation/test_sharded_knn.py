"""k-NN of features that are spread over gloo processes, against one process."""

import pickle
from types import SimpleNamespace

import pytest
import torch
from mmpretrain.structures import DataSample
from support.training import join, spawn
from torch.utils.data import DataLoader

from esvit_plugin.datasets.loaders import build_eval_loader
from esvit_plugin.evaluation import extract_features, knn_accuracy, weighted_knn
from esvit_plugin.evaluation.extraction import extract_shard
from esvit_plugin.evaluation.sharded_knn import count_sharded_hits

pytestmark = pytest.mark.slow

KS = (1, 5, 20, 200)
MODEL = SimpleNamespace(data_preprocessor=lambda batch, training: batch)


def made_up(number, classes=7, channels=6, ties=False):
    """Features and labels. With ties, similarities are -1, -0.5, 0, 0.5 or 1."""
    features = torch.randn(number, channels)
    if ties:
        features = features[:, :4].sign()
    return features, torch.randint(classes, (number,))


def cases():
    """By name, the features and labels of voting images and of those to classify."""
    torch.manual_seed(0)
    return {
        'distinct': (*made_up(41), *made_up(23)),
        'tied': (*made_up(41, ties=True), *made_up(23, ties=True)),
        # Fewer images than processes, and fewer than neighbours.
        'few': (*made_up(2), *made_up(1)),
        'many': (*made_up(2000, channels=64), *made_up(12, channels=64)),
    }


def ks_of(name):
    # Lists of all neighbours would be as large as the features.
    return KS[:2] if name == 'many' else KS


def as_loader(features, labels, **options):
    """A loader whose images are features."""
    images = [
        dict(inputs=feature, data_samples=DataSample().set_gt_label(label))
        for feature, label in zip(features, labels)
    ]
    return build_eval_loader(
        dict(dataset=images, batch_size=4, num_workers=0, **options)
    )


DAMAGED = [0, 1, 8, 9, 10, 11, 12, 13, 14, 15, 22]


def damaged(loader):
    """The loader without some images, also without whole batches."""
    images = loader.dataset._dataset
    images[:] = [None if i in DAMAGED else one for i, one in enumerate(images)]
    return loader


def identity(images):
    return images


def loaders(case, **options):
    train, train_labels, test, test_labels = case
    return as_loader(train, train_labels, **options), as_loader(
        test, test_labels, **options
    )


class Traffic:
    """Counts what is gathered: tensors, and but a few names of damaged images."""

    def __init__(self):
        self.gather = torch.distributed.all_gather
        self.bytes = 0
        torch.distributed.all_gather = self.count
        self.gather_object = torch.distributed.all_gather_object
        torch.distributed.all_gather_object = self.refuse

    def count(self, received, sent, group=None):
        self.bytes += sum(tensor.nbytes for tensor in received)
        return self.gather(received, sent, group)

    def refuse(self, received, sent, group=None):
        if len(pickle.dumps(sent)) > 999:
            raise AssertionError('something large is pickled')
        return self.gather_object(received, sent, group)


def two(rank, port, folder):
    work(rank, port, folder, 2)


def three(rank, port, folder):
    work(rank, port, folder, 3)


def work(rank, port, folder, number):
    join(rank, port, number)
    traffic = Traffic()
    found = {}
    for name, case in cases().items():
        before = traffic.bytes
        found[name] = knn_accuracy(MODEL, loaders(case), ks_of(name), extract=identity)
        found[f'{name}, bytes'] = traffic.bytes - before
        shards = [extract_shard(MODEL, part, identity) for part in loaders(case)]
        found[f'{name}, shard'] = shards[0]._asdict()
        # Small blocks of many images take long.
        for sizes in () if name == 'many' else ((1, 9), (5, 7)):
            counts = count_sharded_hits(*shards, KS, 0.07, *sizes)
            found[f'{name}, blocks of {sizes}'] = counts
    case = cases()['few']
    # Some processes have no images at all here, and all of them have all of them there.
    parts = dict(sampler=dict(type='DefaultSampler', shuffle=False, round_up=False))
    uneven = loaders(case, **parts)
    same = [
        DataLoader(loader.dataset, 2, collate_fn=loader.collate_fn)
        for loader in loaders(cases()['distinct'])
    ]
    found['uneven'] = knn_accuracy(MODEL, uneven, (1,), extract=identity)
    found['the same'] = knn_accuracy(MODEL, same, KS[:2], extract=identity)
    found['features'] = extract_features(MODEL, uneven[0], identity)
    found['damaged'] = knn_accuracy(
        MODEL,
        [damaged(one) for one in loaders(cases()['distinct'])],
        KS,
        extract=identity,
    )
    some = damaged(as_loader(*cases()['distinct'][:2]))
    found['damaged features'] = extract_features(MODEL, some, identity)
    # 14 images are dealt to the first of 3 processes, 21 to that of 2.
    lossy = as_loader(*cases()['distinct'][:2], drop_last=True)
    with pytest.raises(ValueError, match='each of the 41 images .* left out. Set samp'):
        extract_shard(MODEL, lossy, identity)
    torch.save(found, f'{folder}/rank{rank}.pth')
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module', params=[two, three], ids=lambda p: p.__name__)
def results(request, tmp_path_factory):
    number = dict(two=2, three=3)[request.param.__name__]
    return spawn(request.param, tmp_path_factory.mktemp('knn'), number)


@pytest.mark.parametrize('name', cases())
def test_equals_one_process_whatever_the_blocks(results, name):
    train, train_labels, test, test_labels = cases()[name]
    expected = weighted_knn(train, train_labels, test, test_labels, KS)
    for found in results:
        assert found[name] == {k: expected[k] for k in ks_of(name)}
        for key in (key for key in found if key.startswith(f'{name}, blocks')):
            percent = 100 / len(test) * found[key].double()
            for row, k in zip(percent, KS, strict=True):
                assert tuple(row.tolist()) == pytest.approx(expected[k]), (key, k)


@pytest.mark.parametrize('name', cases())
def test_each_image_is_in_one_shard(results, name):
    features, labels, *_ = cases()[name]
    shards = [found[f'{name}, shard'] for found in results]
    indices = torch.cat([shard['indices'] for shard in shards])
    assert sorted(indices.tolist()) == list(range(len(labels)))
    for shard in shards:
        assert shard['sizes'] == [len(other['indices']) for other in shards]
        assert torch.equal(shard['features'], features[shard['indices']])
        assert torch.equal(shard['labels'], labels[shard['indices']])


def test_voting_features_stay_where_they_are(results):
    train, _, test, _ = cases()['many']
    for found in results:
        # 3 numbers of 4 or 8 bytes for each neighbour that a process finds, and what
        # fills up the shares of images.
        padded = len(test) + len(results)
        lists = padded * len(results) * 5 * 20
        limit = padded * (train.shape[1] * 4 + 8) + lists + 1000
        assert 0 < found['many, bytes'] <= limit < train.nbytes / 20


def test_samplers_that_deal_unevenly_or_not_at_all(results):
    few, distinct = cases()['few'], cases()['distinct']
    for found in results:
        assert found['uneven'] == weighted_knn(*few, (1,))
        assert found['the same'] == weighted_knn(*distinct, KS[:2])
        assert torch.equal(found['features'][0], few[0])
        assert torch.equal(found['features'][1], few[1])


def test_damaged_images_are_left_out_on_all_processes(results):
    train, train_labels, test, test_labels = cases()['distinct']
    kept, test_kept = (
        [i for i in range(len(labels)) if i not in DAMAGED]
        for labels in (train_labels, test_labels)
    )
    expected = weighted_knn(
        train[kept], train_labels[kept], test[test_kept], test_labels[test_kept], KS
    )
    for found in results:
        assert found['damaged'] == expected
        assert torch.equal(found['damaged features'][0], train[kept])
        assert torch.equal(found['damaged features'][1], train_labels[kept])
