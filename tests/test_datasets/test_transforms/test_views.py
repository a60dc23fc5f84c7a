import copy

import numpy as np
import pytest
import torch
from mmpretrain.datasets.transforms import PackInputs
from PIL import Image

from mmpretrain_mps.datasets import DualView, LoadRGBImage
from mmpretrain_mps.datasets.transforms import with_views
from mmpretrain_mps.models.loading import clip_loader

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (7, 5, 3), dtype=np.uint8)


@pytest.fixture
def model(monkeypatch):
    """Let every model have the preprocessing that the test sets."""

    def use(image_size=224, interpolation='bicubic', resize_mode='shortest'):
        preprocess = clip_loader.ClipPreprocess(image_size, (0.5,) * 3, (0.5,) * 3, interpolation, resize_mode)
        monkeypatch.setattr(clip_loader, 'clip_preprocess', lambda architecture, pretrained: preprocess)

    use()
    return use


class TestDualView:
    def test_a_picture_is_decoded_once_and_its_views_differ(self, model, tmp_path, monkeypatch):
        model(16)
        Image.fromarray(RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(tmp_path / 'a.png')
        opened = []
        real = Image.open
        monkeypatch.setattr(Image, 'open', lambda file, **formats: opened.append(file) or real(file, **formats))
        augmented = []

        def count(results):
            augmented.append(results['img'].shape)
            return results

        views = DualView([count, dict(type='CLIPTrainTransform', architecture='any')])
        pipeline = [LoadRGBImage(), views, PackInputs()]
        results = dict(img_path=str(tmp_path / 'a.png'), gt_label=3)
        for transform in pipeline:
            results = transform(results)
        assert len(opened) == 1
        assert augmented == [(40, 30, 3)] * 2
        assert isinstance(results['inputs'], list) and [view.shape for view in results['inputs']] == [(3, 16, 16)] * 2
        assert all(view.dtype == torch.uint8 for view in results['inputs'])
        assert not torch.equal(*results['inputs'])
        assert results['data_samples'].img_shape == (16, 16) and results['data_samples'].ori_shape == (40, 30)
        assert results['data_samples'].gt_label.tolist() == [3]

    def test_a_view_cannot_spoil_the_picture_for_the_next(self):

        def blacken(results):
            results['img'][:] += 1
            return results

        views = DualView([blacken], num_views=3)(dict(img=np.zeros((2, 2, 3), np.uint8)))['img']
        assert len(views) == 3 and all((view == 1).all() for view in views)

    @pytest.mark.parametrize('num_views', [0, 1.5, True])
    def test_the_number_of_views_is_checked(self, num_views):
        with pytest.raises(ValueError, match='num_views is .*, expected a whole number of at least 1'):
            DualView([], num_views=num_views)

    def test_the_picture_without_augmentation_comes_last(self, model):
        model((8, 8), 'bicubic')
        views = DualView(
            [dict(type='CLIPTrainTransform', architecture='any')],
            num_views=3,
            reference=[dict(type='CLIPTestTransform', architecture='any', resize_mode='squash')],
        )
        images = views(dict(img=NOISE.copy()))['img']
        assert len(images) == 4 and {image.shape for image in images} == {(8, 8, 3)}
        np.testing.assert_array_equal(images[3], np.array(Image.fromarray(NOISE).resize((8, 8), Image.Resampling.BICUBIC)))
        assert not any(np.array_equal(images[3], image) for image in images[:3])
        assert views.has_reference and not DualView([]).has_reference
        again = views(dict(img=NOISE.copy()))['img']
        np.testing.assert_array_equal(images[3], again[3])
        assert not np.array_equal(images[0], again[0])


class TestWithViews:
    PIPELINE = [
        dict(type='LoadRGBImage'),
        dict(
            type='DualView',
            num_views=2,
            transforms=[dict(type='CLIPTrainTransform', architecture='ViT-B-16', pretrained='openai', scale=(0.3, 1.0))],
        ),
    ]

    def test_other_views_leave_the_pipeline_itself_alone(self):
        before = copy.deepcopy(self.PIPELINE)
        views = with_views(self.PIPELINE, num_views=4, scale=(0.4, 1.0))[1]
        assert views['num_views'] == 4 and views['transforms'][0]['scale'] == (0.4, 1.0) and 'reference' not in views
        assert before == self.PIPELINE

    def test_a_reference_is_made_for_the_model_of_the_augmentation(self):
        views = with_views(self.PIPELINE, reference='squash')[1]
        assert views['num_views'] == 2 and views['reference'] == [
            dict(type='CLIPTestTransform', architecture='ViT-B-16', pretrained='openai', resize_mode='squash')
        ]
        assert DualView(**{key: value for key, value in views.items() if key != 'type'}).has_reference

    @pytest.mark.parametrize(
        'arguments, message',
        [
            (dict(num_views=3), 'views need a DualView in the pipeline'),
            (dict(reference='squash'), r"views need a DualView of CLIPTrainTransform in the pipeline, but it has \['Plain'\]"),
        ],
    )
    def test_a_pipeline_without_such_views_is_refused(self, arguments, message):
        pipeline = (
            [dict(type='LoadRGBImage')] if 'num_views' in arguments else [dict(type='DualView', transforms=[dict(type='Plain')])]
        )
        with pytest.raises(ValueError, match=message):
            with_views(pipeline, **arguments)
